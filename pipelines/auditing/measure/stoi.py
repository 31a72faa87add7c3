"""STOI, short-time objective intelligibility of speech (Taal, Hendriks, Heusdens & Jensen 2011), in
NumPy.

At 10 kHz: silent frames of the source are cut from both, 15 third-octave bands from 150 Hz,
segments of 30 frames (384 ms); each band's envelope is normalised and clipped at -15 dB SDR, and
correlated with the source's. 1 is best. It says nothing of music, which it was not made for.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import soxr
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pipelines.auditing.measure.measures import SILENT_RMS, SILENT_SOURCE
from pipelines.auditing.results import Figure

RATE = 10_000
FRAME, HOP, FFT = 256, 128, 512
BANDS, LOWEST = 15, 150.0
SEGMENT = 30
CLIP_DB = -15.0
RANGE_DB = 40.0
"""frames this far below the loudest one are silence"""
_EPS = np.finfo(np.float64).eps

Mono = NDArray[np.float64]


def stoi(source: Mono, decoded: Mono, sample_rate: int) -> Figure:
    """Of mono float64 `[n]` signals of one length."""
    if not (np.isfinite(source).all() and np.isfinite(decoded).all()):
        return Figure.none("samples that are not finite")
    if not source.size or np.sqrt(np.mean(np.square(source))) < SILENT_RMS:
        return Figure.none(SILENT_SOURCE)
    x, y = (soxr.resample(signal, sample_rate, RATE, "VHQ") for signal in (source, decoded))
    if len(x) <= FRAME:
        return Figure.none("shorter than one frame of 25.6 ms")
    x, y = remove_silence(x, y)
    bands_x, bands_y = _bands(x), _bands(y)
    if bands_x.shape[1] < SEGMENT:
        return Figure.none(f"less than {SEGMENT * HOP / RATE:g} s of sound that is not silence")
    return Figure(_intelligibility(bands_x, bands_y))


def remove_silence(x: Mono, y: Mono) -> tuple[Mono, Mono]:
    """Both without the frames in which `x` is more than 40 dB below its loudest; the rest joined by
    overlap-add."""
    window = _hann()
    frames_x, frames_y = (
        sliding_window_view(signal, FRAME)[: len(x) - FRAME : HOP] * window for signal in (x, y)
    )
    energies = 20 * np.log10(np.linalg.norm(frames_x, axis=1) + _EPS)
    kept = energies > energies.max() - RANGE_DB
    return _join(frames_x[kept]), _join(frames_y[kept])


def _join(frames: Mono) -> Mono:
    joined = np.zeros((len(frames) - 1) * HOP + FRAME)
    for i, frame in enumerate(frames):
        joined[i * HOP : i * HOP + FRAME] += frame
    return joined


def _bands(signal: Mono) -> Mono:
    """Third-octave magnitudes `[bands, frames]`."""
    if len(signal) <= FRAME:
        return np.zeros((BANDS, 0))
    frames = sliding_window_view(signal, FRAME)[: len(signal) - FRAME : HOP] * _hann()
    power = np.square(np.abs(np.fft.rfft(frames, FFT, axis=1)))
    magnitudes: Mono = np.sqrt(_third_octaves() @ power.T)
    return magnitudes


def _intelligibility(x: Mono, y: Mono) -> float:
    a = sliding_window_view(x, SEGMENT, axis=1)
    b = sliding_window_view(y, SEGMENT, axis=1)
    # [bands, segments, 30]
    gain = np.linalg.norm(a, axis=2, keepdims=True) / (
        np.linalg.norm(b, axis=2, keepdims=True) + _EPS
    )
    clipped = np.minimum(b * gain, a * (1 + 10 ** (-CLIP_DB / 20)))
    return float(np.mean(np.sum(_normal(a) * _normal(clipped), axis=2)))


def _normal(envelopes: Mono) -> Mono:
    centred = envelopes - envelopes.mean(axis=2, keepdims=True)
    normal: Mono = centred / (np.linalg.norm(centred, axis=2, keepdims=True) + _EPS)
    return normal


@cache
def _hann() -> Mono:
    """Symmetric, without its zeros at the ends, as the authors' `hanning` is."""
    return np.hanning(FRAME + 2)[1:-1]


@cache
def _third_octaves() -> Mono:
    """Which bins belong to which band: `[bands, bins]`, edges at the bins nearest to them."""
    frequencies = np.linspace(0, RATE, FFT + 1)[: FFT // 2 + 1]
    matrix = np.zeros((BANDS, len(frequencies)))
    for band in range(BANDS):
        low, high = (LOWEST * 2 ** ((2 * band + side) / 6) for side in (-1, 1))
        first, last = (int(np.argmin(np.square(frequencies - edge))) for edge in (low, high))
        matrix[band, first:last] = 1.0
    return matrix
