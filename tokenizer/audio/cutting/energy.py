"""Pauses by level: no network, no package, and as fast as samples are decoded.

A frame is 10 ms, its level the mean of the samples' magnitudes in the channel where that is
greatest. It is a pause where the level is at most the lower threshold of Rabiner and Sambur, "An
Algorithm for Determining the Endpoints of Isolated Utterances" (Bell System Technical Journal 54,
1975):

    min(0.03 (peak - noise) + noise, 4 noise)

with the loudest frame as the peak and the noise taken from 100 ms of silence. Here both come from
the 60 s around a frame, in order that a quiet speaker or a louder room later in the recording is
judged by what is near: the peak is the 99th percentile of the levels, the noise the 5th. Digital
silence, below -80 dBFS, is always a pause, and says nothing about the noise, unless all else is
within 20 dB of the peak: then that is sound alone, and the silence is the noise. A pause takes
0.2 s at least, and sounds shorter than 20 ms, such as clicks, do not end one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tokenizer.audio.cutting.activity import Activity, without_short

FRAMES_A_SECOND = 100
NOTHING = 1e-4
"""level of digital silence, -80 dBFS: dither and codecs' rounding are below"""
PEAK_SHARE, NOISE_TIMES = 0.03, 4.0
_NEAR_THE_PEAK = 0.1
_NOISE, _PEAK = 5.0, 99.0
_AROUND, _STEP = 60 * FRAMES_A_SECOND, 10 * FRAMES_A_SECOND
"""frames from which thresholds are taken, and for how many frames one holds"""
SHORTEST_PAUSE = FRAMES_A_SECOND // 5
_SHORTEST_SOUND = FRAMES_A_SECOND // 50


class EnergyListener:
    """Keeps 4 bytes for each 10 ms."""

    def __init__(self, sample_rate: int) -> None:
        self._hop = max(1, sample_rate // FRAMES_A_SECOND)
        self._levels: list[NDArray[np.float32]] = []
        self._rest: NDArray[np.float32] | None = None
        self._samples = 0

    def add(self, block: NDArray[np.float32]) -> None:
        """As `Listener.add`."""
        self._samples += block.shape[1]
        held = block if self._rest is None else np.concatenate([self._rest, block], axis=1)
        whole = held.shape[1] - held.shape[1] % self._hop
        self._levels.append(_levels(held[:, :whole], self._hop))
        self._rest = held[:, whole:].copy()

    def result(self) -> Activity:
        """As `Listener.result`."""
        if self._rest is not None and self._rest.shape[1]:
            self._levels.append(_levels(self._rest, self._rest.shape[1]))
            self._rest = None
        level = np.concatenate(self._levels) if self._levels else np.zeros(0, np.float32)
        return Activity(level, heard(level), float(self._hop), self._samples)


def heard(level: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which frames are no pause, by their levels."""
    loud = level > thresholds(level)
    loud = without_short(loud, _SHORTEST_SOUND)
    return ~without_short(~loud, SHORTEST_PAUSE)


def thresholds(level: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a frame's level must exceed to be heard."""
    found = np.empty_like(level)
    for start in range(0, len(level), _STEP):
        middle = start + _STEP // 2
        near = level[max(0, middle - _AROUND // 2) : middle + _AROUND // 2]
        found[start : start + _STEP] = _threshold(near)
    return found


def _threshold(near: NDArray[np.float32]) -> float:
    count, near = len(near), near[near > NOTHING]
    if not near.size:
        return NOTHING
    noise, peak = (float(np.percentile(near, share)) for share in (_NOISE, _PEAK))
    if near.size < count and noise > _NEAR_THE_PEAK * peak:
        noise = NOTHING
    return max(NOTHING, min(PEAK_SHARE * (peak - noise) + noise, NOISE_TIMES * noise))


def _levels(samples: NDArray[np.float32], hop: int) -> NDArray[np.float32]:
    """`[channels, frames * hop]` to `[frames]`."""
    each = np.abs(samples).reshape(samples.shape[0], -1, hop).mean(axis=2)
    loudest: NDArray[np.float32] = each.max(axis=0).astype(np.float32)
    return loudest
