"""What is done to samples, float64 `[channels, n]`: the low-pass anchor, loudness, edges."""

from __future__ import annotations

import io
import math

import numpy as np
import soundfile
from numpy.typing import NDArray

Samples = NDArray[np.float64]
_Response = NDArray[np.complex128]

TRANSITION_HZ = 500.0
"""BS.1534 asks of the 3.5 kHz anchor at most 0.1 dB of ripple up to there, at least 25 dB of
attenuation at 4 kHz and 50 dB at 4.5 kHz: this filter is through at 4 kHz"""
_ATTENUATION_DB = 80.0
SILENT = -70.0
"""LUFS below which BS.1770 hears nothing"""


def low_pass(samples: Samples, rate: int, hertz: float) -> Samples:
    """What is below a frequency, without delay: a windowed sinc whose band of transition lies
    between it and 500 Hz above (Kaiser's window; Oppenheim and Schafer, 7.5)."""
    width = 2 * math.pi * TRANSITION_HZ / rate
    half = math.ceil((_ATTENUATION_DB - 7.95) / (2.285 * width) / 2)
    beta = 0.1102 * (_ATTENUATION_DB - 8.7)
    cut = 2 * (hertz + TRANSITION_HZ / 2) / rate  # the middle of the transition, of Nyquist's
    taps = cut * np.sinc(cut * np.arange(-half, half + 1)) * np.kaiser(2 * half + 1, beta)
    taps /= taps.sum()
    length = samples.shape[1] + 2 * half
    size = 1 << (length - 1).bit_length()
    spectrum = np.fft.rfft(samples, size) * np.fft.rfft(taps, size)
    return np.fft.irfft(spectrum, size)[:, half : half + samples.shape[1]]


def loudness(samples: Samples, rate: int) -> float:
    """Loudness in LUFS as BS.1770 weights it, of all samples alike: excerpts are too short for its
    gate. -inf for silence.

    The two filters are given there for 48 kHz; for other rates they are made from the analogue
    ones that those are of (Mansbridge, Finn and Reiss, "Implementation and evaluation of autonomous
    multi-track fader control", AES 2012). They are applied to the spectrum.
    """
    frequencies = np.fft.rfftfreq(samples.shape[1], 1 / rate)
    z = np.exp(-2j * np.pi * frequencies / rate)
    power = np.abs(_shelf(z, rate) * _high_pass(z, rate)) ** 2
    spectrum = np.abs(np.fft.rfft(samples)) ** 2 * power
    spectrum[:, 1:] *= 2  # the negative frequencies
    if samples.shape[1] % 2 == 0:
        spectrum[:, -1] /= 2
    energy = float(spectrum.sum()) / samples.shape[1] ** 2
    return -0.691 + 10 * math.log10(energy) if energy > 0 else -math.inf


def _shelf(z: _Response, rate: int) -> _Response:
    """Of the head; `z` is the delay by a sample at each frequency."""
    k, q = math.tan(math.pi * 1681.974450955533 / rate), 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    band = high**0.4996667741545416
    above: _Response = (high + band * k / q + k * k) + 2 * (k * k - high) * z
    above += (high - band * k / q + k * k) * z**2
    above /= (1 + k / q + k * k) + 2 * (k * k - 1) * z + (1 - k / q + k * k) * z**2
    return above


def _high_pass(z: _Response, rate: int) -> _Response:
    k, q = math.tan(math.pi * 38.13547087602444 / rate), 0.5003270373238773
    scale = 1 + k / q + k * k
    above: _Response = 1 - 2 * z + z**2
    above /= 1 + (2 * (k * k - 1) * z + (1 - k / q + k * k) * z**2) / scale
    return above


def faded(samples: Samples, rate: int, seconds: float = 0.01) -> Samples:
    """With soft edges, so that a loop does not click."""
    ramp = np.sin(np.linspace(0, np.pi / 2, max(2, round(seconds * rate)))) ** 2
    out = samples.copy()
    out[:, : len(ramp)] *= ramp
    out[:, -len(ramp) :] *= ramp[::-1]
    return out


def encoded(samples: Samples, rate: int, kind: str) -> bytes:
    """A file of 16 bits, "FLAC" or "WAV": at the loudness of a test their noise is far below
    hearing. Rounded here, as libsndfile rounds otherwise in one format than in the other."""
    whole = np.clip(np.rint(samples.T * 32768), -32768, 32767).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, whole, rate, format=kind, subtype="PCM_16")
    return file.getvalue()
