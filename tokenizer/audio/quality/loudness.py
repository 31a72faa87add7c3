"""Integrated loudness as ITU-R BS.1770-4 defines it: K-weighting, blocks of 400 ms that overlap by
three quarters, an absolute gate and a relative one."""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray

from tokenizer.audio.quality.base import Block, Measure

STEPS = 10
"""a second: a gating block begins every 100 ms, and is four of these steps long"""
_BLOCK_STEPS = 4
_OFFSET = -0.691
_ABSOLUTE_GATE = -70.0
_RELATIVE_GATE = 10.0 ** (-10.0 / 10.0)
LOWEST_RATE = 4_000
"""Hz, below which K-weighting's shelf has no place"""

# The two filters of BS.1770-4, given there at 48 kHz, as analogue prototypes for any rate: the
# values of libebur128 (J. Kokemüller), which give the standard's coefficients at 48 kHz.
_SHELF_HZ, _SHELF_GAIN, _SHELF_Q = 1681.974450955533, 3.999843853973347, 0.7071752369554196
_HIGH_PASS_HZ, _HIGH_PASS_Q = 38.13547087602444, 0.5003270373238773


class Loudness(Measure):
    """Keeps the energy of each 100 ms: 80 bytes a second of the recording."""

    unit = "LUFS"
    what = (
        "integrated loudness (ITU-R BS.1770-4, both gates); null under 400 ms, where all is below "
        "-70 LUFS, and below 4 kHz of sample rate"
    )

    def __init__(self, sample_rate: int, channels: int) -> None:
        super().__init__(sample_rate, channels)
        self._coefficients = k_weighting(sample_rate)
        self._state = np.zeros((channels, 6))
        self._energies = array("d")
        self._ends = (np.arange(1, STEPS + 1) * sample_rate) // STEPS

    def add(self, block: Block) -> None:
        if self.sample_rate < LOWEST_RATE:
            return
        from tokenizer.audio.quality.kernels import k_weighted_energies

        energies = np.zeros(int((self._ends <= block.shape[1]).sum()))
        k_weighted_energies(block, self._coefficients, self._state, self._ends, energies)
        self._energies.extend(energies)

    def result(self) -> float | None:
        energies = np.frombuffer(self._energies) if self._energies else np.zeros(0)
        if len(energies) < _BLOCK_STEPS:
            return None
        lengths = np.resize(np.diff(self._ends, prepend=0), len(energies)).astype(np.float64)
        powers = _over_blocks(energies) / _over_blocks(lengths)
        powers = powers[powers > 10.0 ** ((_ABSOLUTE_GATE - _OFFSET) / 10.0)]
        if not len(powers):
            return None
        powers = powers[powers > _RELATIVE_GATE * powers.mean()]
        return _OFFSET + 10.0 * float(np.log10(powers.mean()))


def _over_blocks(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over four steps, for each step but the last three."""
    return steps[:-3] + steps[1:-2] + steps[2:-1] + steps[3:]


def k_weighting(sample_rate: int) -> NDArray[np.float64]:
    """Coefficients of the shelf and the high-pass, `b0 b1 b2 a1 a2` of the one and `a1 a2` of the
    other, whose numerator is `1 -2 1`."""
    gain, half = 10.0 ** (_SHELF_GAIN / 20.0), 10.0 ** (_SHELF_GAIN / 20.0 * 0.4996667741545416)
    k = np.tan(np.pi * _SHELF_HZ / sample_rate)
    a0 = 1.0 + k / _SHELF_Q + k * k
    shelf = [
        (gain + half * k / _SHELF_Q + k * k) / a0,
        2.0 * (k * k - gain) / a0,
        (gain - half * k / _SHELF_Q + k * k) / a0,
        2.0 * (k * k - 1.0) / a0,
        (1.0 - k / _SHELF_Q + k * k) / a0,
    ]
    k = np.tan(np.pi * _HIGH_PASS_HZ / sample_rate)
    a0 = 1.0 + k / _HIGH_PASS_Q + k * k
    return np.array([*shelf, 2.0 * (k * k - 1.0) / a0, (1.0 - k / _HIGH_PASS_Q + k * k) / a0])
