"""What samples say one by one: the highest, their mean, and those at full scale."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tokenizer.audio.quality.base import Block, Measure

CLIPPED_LEVEL = 0.9999
"""what counts as full scale: 16-bit audio ends at 0.99997"""
CLIPPED_RUN = 3
"""samples at full scale in a row from which on they are clipped; single ones are ordinary
mastering"""


class Peak(Measure):
    """The highest sample of any channel."""

    unit = "dBFS"
    what = "highest sample (not true peak: nothing is oversampled); null for digital silence"

    def __init__(self, sample_rate: int, channels: int) -> None:
        super().__init__(sample_rate, channels)
        self._peak = 0.0

    def add(self, block: Block) -> None:
        self._peak = max(self._peak, float(block.max()), -float(block.min()))

    def result(self) -> float | None:
        return 20.0 * math.log10(self._peak) if self._peak > 0 else None


class DcOffset(Measure):
    """The mean of the channel whose mean is farthest from zero."""

    unit = ""
    what = "mean of the samples, full scale is 1; of two channels the one farther from 0"

    def __init__(self, sample_rate: int, channels: int) -> None:
        super().__init__(sample_rate, channels)
        self._sums = np.zeros(channels)
        self._samples = 0

    def add(self, block: Block) -> None:
        self._sums += block.sum(axis=1)
        self._samples += block.shape[1]

    def result(self) -> float | None:
        if not self._samples:
            return None
        return float(max(self._sums / self._samples, key=abs))


class Clipping(Measure):
    """Counts runs, which go on from block to block."""

    unit = ""
    what = (
        f"share of samples (0 to 1) at full scale (from {CLIPPED_LEVEL} on), {CLIPPED_RUN} or more "
        "in a row, over all channels"
    )

    def __init__(self, sample_rate: int, channels: int) -> None:
        super().__init__(sample_rate, channels)
        self._open = [0] * channels
        """samples of the run at the end of each channel"""
        self._clipped = 0
        self._samples = 0

    def add(self, block: Block) -> None:
        self._samples += block.size
        for channel, samples in enumerate(block):
            if max(float(samples.max()), -float(samples.min())) < CLIPPED_LEVEL:
                self._close(channel)
            else:
                self._count(channel, np.abs(samples) >= CLIPPED_LEVEL)

    def _count(self, channel: int, full: NDArray[np.bool_]) -> None:
        """Runs of one channel of a block: those that touch its ends may be parts of longer ones."""
        edges = np.flatnonzero(np.diff(full, prepend=False, append=False))
        starts, lengths = edges[::2], edges[1::2] - edges[::2]
        if full[0]:
            lengths[0] += self._open[channel]
            self._open[channel] = 0
        else:
            self._close(channel)
        if full[-1]:
            self._open[channel] = int(lengths[-1])
            starts, lengths = starts[:-1], lengths[:-1]
        self._clipped += int(lengths[lengths >= CLIPPED_RUN].sum())

    def _close(self, channel: int) -> None:
        if self._open[channel] >= CLIPPED_RUN:
            self._clipped += self._open[channel]
        self._open[channel] = 0

    def result(self) -> float | None:
        for channel in range(self.channels):
            self._close(channel)
        return self._clipped / self._samples if self._samples else None
