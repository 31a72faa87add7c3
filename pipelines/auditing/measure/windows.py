"""Measures that need some seconds of sound at once: computed over windows of 10 s, averaged by
their lengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.auditing.measure.pairs import Block
from pipelines.auditing.measure.registry import MEASURES, WINDOW_SECONDS
from pipelines.auditing.results import Figure

WindowMeasure = Callable[[NDArray[np.float64], NDArray[np.float64], int], Figure]
"""of mono source and reconstruction at a sample rate"""


class Windowed:
    """One such measure over a recording."""

    def __init__(self, metric: str, measure: WindowMeasure, sample_rate: int, segment: int) -> None:
        self.metric = metric
        self.series: list[float | None] = []
        self._measure, self._sample_rate = measure, sample_rate
        self._most = max(1, round(WINDOW_SECONDS * sample_rate / segment))
        self._held: list[tuple[Block, Block]] = []
        self._values: list[tuple[float, int]] = []
        self._reason: str | None = None

    def add(self, source: Block, decoded: Block) -> None:
        """Take in the next segment of both."""
        self._held.append((source.copy(), decoded.copy()))
        if len(self._held) == self._most:
            self._close()

    @property
    def closed(self) -> bool:
        """Whether every segment so far has a value."""
        return not self._held

    def figure(self) -> Figure:
        """The mean over the windows where the measure applies; call it once, at the end."""
        if self._held:
            self._close()
        if not self._values:
            return Figure.none(self._reason or "no samples to compare")
        return Figure(sum(value * n for value, n in self._values) / sum(n for _, n in self._values))

    def _close(self) -> None:
        pairs, self._held = self._held, []
        # Mono is the mean of the channels: what these measures are defined on.
        source, decoded = (
            np.concatenate([pair[i] for pair in pairs], axis=1).mean(axis=0, dtype=np.float64)
            for i in (0, 1)
        )
        figure = self._measure(source, decoded, self._sample_rate)
        self._reason = self._reason or figure.reason
        if figure.value is not None:
            self._values.append((figure.value, len(source)))
        self.series += [figure.value] * len(pairs)


def open_windowed(metrics: Sequence[str], sample_rate: int, segment: int) -> list[Windowed]:
    """The windowed measures among `metrics`.

    Raises:
        UsageError: one that needs a package which is not installed.
    """
    rows = (MEASURES[metric] for metric in metrics)
    return [
        Windowed(row.name, row.open_window(), sample_rate, segment)
        for row in rows
        if row.open_window is not None
    ]
