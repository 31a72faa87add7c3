"""All measures of one recording, fed with its blocks as they come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import soxr

from tokenizer.audio.quality import MEASURES, measure
from tokenizer.audio.quality.base import Block, Measure, as_float32
from tokenizer.errors import FailureKind, RecordingError


class QualityMeter:
    """Hands every measure the same seconds, wherever the borders of the blocks that come are: so
    its numbers do not depend on them, to the last bit."""

    def __init__(self, names: Sequence[str], name: str) -> None:
        """`names` of the measures; `name` of the recording, for errors.

        Raises:
            UsageError: a measure that is not there.
        """
        self._kinds = {one: measure(one) for one in names}
        self._name = name
        self._measures: dict[str, Measure] = {}
        self._seconds: dict[int, _Seconds] = {}
        """by the rate that is wanted"""

    def add(self, block: Block, sample_rate: int) -> None:
        """Take in the next block, float32 `[channels, n]`; rate and channels stay the same.

        Raises:
            RecordingError: a measure of another package has failed (MEASURE).
        """
        if not self._measures:
            self._begin(block.shape[0], sample_rate)
        for rate, seconds in self._seconds.items():
            for second in seconds.add(block):
                self._feed(rate, second)

    def result(self) -> dict[str, float | None]:
        """Every measure's number as a float32 holds it, None where it has none.

        Raises:
            RecordingError: a measure of another package has failed (MEASURE).
        """
        for rate, seconds in self._seconds.items():
            for second in seconds.end():
                self._feed(rate, second)
        return {
            name: as_float32(self._asked(name, one.result)) for name, one in self._measures.items()
        }

    def _begin(self, channels: int, sample_rate: int) -> None:
        for name, kind in self._kinds.items():
            rate = kind.rate or sample_rate
            if rate not in self._seconds:
                self._seconds[rate] = _Seconds(channels, sample_rate, rate)
            self._measures[name] = self._asked(name, kind, rate, channels)

    def _feed(self, rate: int, second: Block) -> None:
        for name, one in self._measures.items():
            if one.sample_rate == rate:
                self._asked(name, one.add, second)

    def _asked(self, name: str, what: Any, *arguments: Any) -> Any:
        """What a measure says. One of another package may raise anything, which is this recording's
        failure, never the run's."""
        if name in MEASURES:
            return what(*arguments)
        try:
            return what(*arguments)
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else ""
            raise RecordingError(
                FailureKind.MEASURE,
                f"{self._name}: the quality measure {name} failed: {type(error).__name__}: "
                f"{reason}",
                "measure",
            ) from error


class _Seconds:
    """Blocks of any length to blocks of a second, at the rate that is wanted."""

    def __init__(self, channels: int, sample_rate: int, rate: int) -> None:
        self._held = np.empty((channels, rate), np.float32)
        self._count = 0
        self._stream: Any = None
        if rate != sample_rate:
            self._stream = soxr.ResampleStream(
                sample_rate, rate, channels, dtype="float32", quality="HQ"
            )

    def add(self, block: Block) -> list[Block]:
        """Whole seconds, each read before the next block is added."""
        if self._stream is not None:
            block = self._stream.resample_chunk(np.ascontiguousarray(block.T)).T
        return self._cut(block)

    def end(self) -> list[Block]:
        """What is left."""
        last = []
        if self._stream is not None:
            channels = len(self._held)
            rest = self._stream.resample_chunk(np.zeros((0, channels), np.float32), last=True)
            last = self._cut(rest.T)
        return [*last, self._held[:, : self._count].copy()] if self._count else last

    def _cut(self, block: Block) -> list[Block]:
        rate = self._held.shape[1]
        found, at = [], 0
        while self._count + block.shape[1] - at >= rate:
            if self._count:
                taken = rate - self._count
                self._held[:, self._count :] = block[:, at : at + taken]
                found.append(self._held.copy())
            else:
                taken = rate
                found.append(block[:, at : at + rate].copy())
            at, self._count = at + taken, 0
        rest = block.shape[1] - at
        self._held[:, self._count : self._count + rest] = block[:, at:]
        self._count += rest
        return found
