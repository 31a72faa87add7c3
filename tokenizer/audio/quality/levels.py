"""What the levels of short frames say: how much is silence, and how far the recording stands above
its own pauses."""

from __future__ import annotations

import math
import threading

import numpy as np
from numpy.typing import NDArray

from tokenizer.audio.quality.base import Block, Measure

FRAMES = 50
"""a second: 20 ms each"""
SILENCE = -60.0
"""dBFS"""
_FLOOR, _CEILING, _BIN = -120.0, 80.0, 0.1
"""dBFS: levels are counted in steps of a tenth; samples are at most 80 dB above full scale"""
_QUIET = 0.1
_LEAST_FRAMES = 25


_Powers = tuple[NDArray[np.float64], NDArray[np.int64]]
_LAST = threading.local()
"""the block that was cut into frames last, which the next measure is given too"""


class _Levels(Measure):
    """Cuts blocks into frames of 20 ms."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        super().__init__(sample_rate, channels)
        self._starts = (np.arange(FRAMES + 1) * sample_rate) // FRAMES

    def _powers(self, block: Block) -> _Powers:
        """Mean square of each frame over all channels, and its samples; the last frame of a
        recording may be shorter."""
        known: tuple[Block, int, _Powers] | None = getattr(_LAST, "known", None)
        if known is not None and known[0] is block and known[1] == self.sample_rate:
            return known[2]
        starts = self._starts[self._starts < block.shape[1]]
        lengths = np.diff(starts, append=block.shape[1])
        squares = np.einsum("cn,cn->n", block, block)
        found = np.add.reduceat(squares, starts) / (lengths * float(self.channels)), lengths
        _LAST.known = block, self.sample_rate, found
        return found


class Silence(_Levels):
    """Counts samples of frames below a level."""

    unit = ""
    what = f"share of time (0 to 1) in frames of 20 ms below {SILENCE:g} dBFS (RMS)"

    def __init__(self, sample_rate: int, channels: int) -> None:
        super().__init__(sample_rate, channels)
        self._silent = self._samples = 0

    def add(self, block: Block) -> None:
        powers, lengths = self._powers(block)
        self._silent += int(lengths[powers < 10.0 ** (SILENCE / 10.0)].sum())
        self._samples += block.shape[1]

    def result(self) -> float | None:
        return self._silent / self._samples if self._samples else None


class Snr(_Levels):
    """The noise is what remains in pauses: the level that a tenth of all frames do not exceed. The
    signal is the mean power without it. Frames of digital silence say nothing of a recording's
    noise, and are left out."""

    unit = "dB"
    what = (
        "estimated signal-to-noise ratio: mean power above that of the quietest tenth of frames of "
        "20 ms; needs pauses, and is low without; null under half a second of sound, or if nothing "
        "is louder than the noise"
    )

    def __init__(self, sample_rate: int, channels: int) -> None:
        super().__init__(sample_rate, channels)
        self._counts = np.zeros(round((_CEILING - _FLOOR) / _BIN) + 1, np.int64)
        self._power = 0.0

    def add(self, block: Block) -> None:
        powers, lengths = self._powers(block)
        whole = 2 * lengths * FRAMES > self.sample_rate
        heard = powers[whole & (powers > 10.0 ** (_FLOOR / 10.0))]
        steps = np.rint((10.0 * np.log10(heard) - _FLOOR) / _BIN).astype(np.int64)
        np.add.at(self._counts, np.minimum(steps, len(self._counts) - 1), 1)
        self._power += float(heard.sum())

    def result(self) -> float | None:
        frames = int(self._counts.sum())
        if frames < _LEAST_FRAMES:
            return None
        quiet = int(np.searchsorted(self._counts.cumsum(), _QUIET * frames))
        noise = 10.0 ** ((_FLOOR + quiet * _BIN) / 10.0)
        above = self._power / frames / noise - 1.0
        return 10.0 * math.log10(above) if above > 0 else None
