"""Suspicions from the sound alone, for audits without --reencode: warnings, under the names of the
causes they point to.

All of it presumes that the codec follows the waveform; where source and reconstruction are not
alike at all, nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipelines.auditing.measure.measures import SILENT_RMS
from pipelines.auditing.measure.pairs import Block
from pipelines.auditing.results import FindingName, Remark, Severity
from pipelines.system.words import fixed

ALIKE = 0.5
"""correlation from which two signals are taken for the same"""
SIDE_SHARE = 1e-3
"""of the energy that the difference of the channels needs before it says which is which"""
STEADY_DB, LOUDER_DB = 1.0, 3.0
"""a level difference that is the same in every segment, and that large, is a factor"""
GONE_DB = -40.0


class HeardMeter:
    """Sums per segment; a segment is held to be compared with the next one's."""

    def __init__(self) -> None:
        self._energy: list[tuple[float, float, float]] = []
        """per segment: of the source, of the reconstruction, and their product"""
        self._side = np.zeros(3)
        """source's, reconstruction's, product: of left minus right"""
        self._late = np.zeros(3)
        """the source's segment with the reconstruction's next"""
        self._early = np.zeros(3)
        self._before: tuple[Block, Block] | None = None

    def add(self, source: Block, decoded: Block) -> None:
        """Take in the next segment of both."""
        moments = _moments(source, decoded)
        self._energy.append((float(moments[0]), float(moments[1]), float(moments[2])))
        if source.shape[0] == 2:
            self._side += _moments(source[:1] - source[1:], decoded[:1] - decoded[1:])
        if self._before is not None and self._before[0].shape == source.shape:
            self._late += _moments(self._before[0], decoded)
            self._early += _moments(source, self._before[1])
        self._before = (source.copy(), decoded.copy())

    def remarks(self) -> Iterator[Remark]:
        """What the sums suggest."""
        energy = np.array(self._energy).reshape(-1, 3)
        audible = energy[energy[:, 0] > SILENT_RMS**2]
        if not len(audible):
            return
        here = _correlation(energy.sum(axis=0))
        yield from self._shift(here)
        if here < ALIKE:
            return
        levels = 10 * np.log10(np.maximum(audible[:, 1], 1e-30) / audible[:, 0])
        yield from self._gone(energy, float(np.median(levels)))
        yield from _factor(levels, here)
        total = energy.sum(axis=0)
        enough = self._side[0] > SIDE_SHARE * total[0] and self._side[1] > SIDE_SHARE * total[1]
        if enough and _correlation(self._side) < -ALIKE:
            yield _warning(
                FindingName.CHANNEL_SWAP,
                "left sounds like the source's right, and right like its left",
            )

    def _shift(self, here: float) -> Iterator[Remark]:
        for sums, how in ((self._late, "late"), (self._early, "early")):
            there = _correlation(sums)
            if there > ALIKE and there > 2 * abs(here):
                yield _warning(
                    FindingName.SHIFTED,
                    f"the reconstruction comes one chunk {how} (correlation {fixed(there, 2)} "
                    f"against {fixed(here, 2)})",
                )

    def _gone(self, energy: np.ndarray, usual: float) -> Iterator[Remark]:
        levels = 10 * np.log10(np.maximum(energy[:, 1], 1e-30) / np.maximum(energy[:, 0], 1e-30))
        gone = np.flatnonzero(
            (energy[:, 0] > SILENT_RMS**2) & (levels < min(GONE_DB, usual + GONE_DB))
        )
        if gone.size:
            detail = f"{gone.size} chunks are silent where the source has sound"
            yield _warning(FindingName.ZEROED, detail, tuple(gone[:8].tolist()))


def _factor(levels: np.ndarray, alike: float) -> Iterator[Remark]:
    """A codec that loses part of a signal gives the rest back: the level falls to the square of the
    correlation, no further."""
    middle = float(np.median(levels))
    beyond = middle > LOUDER_DB or middle < 20 * np.log10(alike) - LOUDER_DB
    if beyond and float(np.median(np.abs(levels - middle))) < STEADY_DB:
        yield _warning(
            FindingName.WRONG_SCALE,
            f"every chunk is {fixed(middle, 1, sign=True)} dB off: x{10 ** (middle / 20):.3g}",
        )


def _moments(a: Block, b: Block) -> np.ndarray:
    """Mean energy of each, and of their product."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    return np.array([(x * x).mean(), (y * y).mean(), (x * y).mean()])


def _correlation(sums: np.ndarray) -> float:
    return float(sums[2] / np.sqrt(sums[0] * sums[1])) if sums[0] > 0 and sums[1] > 0 else 0.0


def _warning(name: FindingName, detail: str, chunks: tuple[int, ...] = ()) -> Remark:
    said = f"sounds like it: {detail} (--reencode tells for certain)"
    return Remark(name, said, chunks, Severity.WARNING)
