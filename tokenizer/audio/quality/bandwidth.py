"""Up to which frequency there is anything."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tokenizer.audio.quality.base import Block, Measure

BELOW_MAXIMUM = 75.0
"""dB below the spectrum's maximum, under which there is nothing. What resamplers leave above half
the old rate is lower, and so is what lossy codecs leave above their low-pass"""
FLOOR = -90.0
"""dBFS: noise of this power over the whole spectrum is nothing either; 16-bit audio with dither has
-96 of its own"""
_EVERY = 2
"""frames: every second one is looked at, and each of two channels in turn"""


class Bandwidth(Measure):
    """The long-term spectrum: mean power spectra of frames of 25 to 50 ms, in a window that
    leaks nothing as far down as it is looked."""

    unit = "Hz"
    what = (
        f"highest frequency at which the long-term spectrum is less than {BELOW_MAXIMUM:g} dB "
        "below its maximum, and above 16-bit noise; null under 50 ms, and for silence"
    )

    def __init__(self, sample_rate: int, channels: int) -> None:
        super().__init__(sample_rate, channels)
        self._size = 1 << max(4, int(np.log2(sample_rate / 20)))
        self._window = _blackman_harris(self._size)
        self._spectrum = np.zeros(self._size // 2 + 1)
        self._frames = 0

    def add(self, block: Block) -> None:
        size, hop = self._size, self._size * _EVERY
        count = max(0, (block.shape[1] - size) // hop + 1)
        if not count:
            return
        frames = np.empty((count, size), np.float32)
        for number in range(count):
            samples = block[(self._frames + number) % self.channels]
            np.multiply(samples[number * hop : number * hop + size], self._window, frames[number])
        lines: NDArray[np.float32] = np.fft.rfft(frames).view(np.float32)
        np.multiply(lines, lines, out=lines)
        self._spectrum += (lines[:, ::2] + lines[:, 1::2]).sum(axis=0)
        self._frames += count

    def result(self) -> float | None:
        if not self._frames:
            return None
        # Power of each line, such that all of them add up to the signal's mean square.
        energy = self._frames * self._size * float(np.einsum("n,n->", self._window, self._window))
        lines = self._spectrum * (2.0 / energy)
        lowest = max(
            10.0 ** (-BELOW_MAXIMUM / 10.0) * lines.max(), 10.0 ** (FLOOR / 10.0) / len(lines)
        )
        there = np.flatnonzero(lines > lowest)
        return float(there[-1]) * self.sample_rate / self._size if len(there) else None


def _blackman_harris(size: int) -> NDArray[np.float32]:
    """F. Harris's minimum of four terms (1978), whose side lobes are 92 dB down."""
    phases = 2.0 * np.pi * np.arange(size) / size
    terms = (0.35875, -0.48829, 0.14128, -0.01168)
    return sum((t * np.cos(k * phases) for k, t in enumerate(terms)), np.zeros(size)).astype(
        np.float32
    )
