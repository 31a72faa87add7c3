"""What a quality measure is: one number of a recording, found while its waveform passes by."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Block = NDArray[np.float32]
"""float32 `[channels, n]`, full scale is 1.0"""


class Measure(ABC):
    """One of these is made for each recording. It becomes a column of the shards, float32 and null
    where the measure says nothing.

    A new one is a subclass and a row in `tokenizer.audio.quality`, or an entry point of another
    package in `codecshards.quality`.
    """

    unit: ClassVar[str]
    """of the number; empty for shares and the like"""
    what: ClassVar[str]
    """it means, in a line; also when it is null"""
    rate: ClassVar[int | None] = None
    """Hz at which it wants the samples; None is the recording's own, without resampling"""

    def __init__(self, sample_rate: int, channels: int) -> None:
        """Of what `add` is given. `channels` is 1 or 2."""
        self.sample_rate = sample_rate
        self.channels = channels

    @abstractmethod
    def add(self, block: Block) -> None:
        """Take in the next block: float32 `[channels, sample_rate]`, exactly a second, and only the
        last one is shorter. It must not be changed or kept."""

    @abstractmethod
    def result(self) -> float | None:
        """The number, once all blocks were added; None, or what is not finite, becomes null."""


class ExcerptMeasure(Measure):
    """For a measure that wants samples all at once, as a neural network does: the beginning of the
    recording, as far as `seconds` go."""

    seconds: ClassVar[float] = 30.0
    """longest excerpt, which bounds the memory"""

    def __init__(self, sample_rate: int, channels: int) -> None:
        super().__init__(sample_rate, channels)
        self._left = round(self.seconds * sample_rate)
        self._blocks: list[Block] = []

    def add(self, block: Block) -> None:
        if self._left > 0:
            self._blocks.append(block[:, : self._left].copy())
            self._left -= block.shape[1]

    def result(self) -> float | None:
        return self.measure(np.concatenate(self._blocks, axis=1)) if self._blocks else None

    @abstractmethod
    def measure(self, samples: Block) -> float | None:
        """The number of an excerpt, float32 `[channels, n]`."""


def as_float32(value: Any) -> float | None:
    """A number as float32 holds it, in as few digits as tell it from its neighbours: the same from
    every format. None for what is not finite."""
    if value is None:
        return None
    single = np.float32(value)
    return float(str(single)) if math.isfinite(single) else None
