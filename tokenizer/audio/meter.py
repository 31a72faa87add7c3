"""Flags for signals that a codec encodes without complaint and that are probably not what was
meant."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SILENT_PEAK = 1e-6
"""-120 dBFS: below one step of 16-bit audio (-90 dBFS) and of 20-bit"""
ANTIPHASE_RATIO = 1e-4
"""mono power over mean channel power: -40 dB; EnCodec normalises by the mono mix, which then says
nothing"""
CLIPPED_LEVEL = 0.9999
CLIPPED_RUNS = 4
CLIPPED_SHARE = 1e-5
"""of samples that sit at full scale right after another that does; single peaks at full scale are
ordinary mastering"""


class SignalMeter:
    """Sums over a stream of blocks, float32 `[channels, n]`."""

    def __init__(self, copies: int = 1) -> None:
        """`copies` is how often each channel of the blocks stands in the waveform that is
        judged."""
        self._copies = copies
        self._samples = 0
        self._peak = 0.0
        self._mono = 0.0
        self._power = 0.0
        self._clipped = 0

    def add(self, block: NDArray[np.float32]) -> None:
        """Take in the next block."""
        if not block.size:
            return
        self._samples += block.shape[1]
        self._peak = max(self._peak, float(block.max()), -float(block.min()))
        mono = block.sum(axis=0) / np.float32(block.shape[0]) if block.shape[0] > 1 else block[0]
        self._mono += _power(mono)
        self._power += sum(_power(channel) for channel in block) / block.shape[0]
        if self._peak >= CLIPPED_LEVEL:
            full = np.abs(block) >= CLIPPED_LEVEL
            self._clipped += self._copies * int(np.count_nonzero(full[:, 1:] & full[:, :-1]))

    def flags(self) -> tuple[str, ...]:
        """The flags that the whole stream earns: "silent", "antiphase", "clipped"."""
        if self._peak < SILENT_PEAK:
            return ("silent",)
        found = []
        if self._mono < ANTIPHASE_RATIO * self._power:
            found.append("antiphase")
        if self._clipped >= CLIPPED_RUNS and self._clipped >= CLIPPED_SHARE * self._samples:
            found.append("clipped")
        return tuple(found)


def _power(samples: NDArray[np.float32]) -> float:
    """The sum of squares, in float32: its rounding is nothing beside the thresholds. Not BLAS,
    whose threads wait by spinning."""
    return float(np.einsum("n,n->", samples, samples))
