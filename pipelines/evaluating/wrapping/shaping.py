"""Sounds at other rates and channels, and at their place in time."""

from __future__ import annotations

import resource
import time

import numpy as np
import soxr
from numpy.typing import NDArray

from tokenizer.types import Waveform

Samples = NDArray[np.float32]
"""float32 `[channels, n]`"""
ALIKE = 0.5
"""correlation from which on two waveforms tell how far apart they are"""


def shaped(samples: Samples, rate: int, to_rate: int, to_channels: int) -> Samples:
    """Resampled by a filter of linear phase, without a delay; one channel is given to each of
    several, and several are mixed to one."""
    mixed = with_channels(samples, to_channels)
    if rate == to_rate:
        return mixed
    return np.ascontiguousarray(soxr.resample(mixed.T, rate, to_rate, "VHQ").T)


def with_channels(samples: Samples, channels: int) -> Samples:
    if samples.shape[0] == channels:
        return samples
    one = samples if samples.shape[0] == 1 else samples.mean(axis=0, keepdims=True)
    return np.repeat(one.astype(np.float32), channels, axis=0)


def restored(samples: Samples, rate: int, like: Waveform) -> Samples:
    """Back to the rate, the channels and the length of the sound that went in."""
    return fitted(shaped(samples, rate, like.sample_rate, like.channels), like.num_samples)


def fitted(samples: Samples, length: int) -> Samples:
    """Cut, or with zeros at its end."""
    cut = samples[:, :length]
    return np.pad(cut, ((0, 0), (0, length - cut.shape[1]))).astype(np.float32, copy=False)


def moved(samples: Samples, lag: int) -> Samples:
    """Earlier by `lag` samples, with as many zeros at the end; later where it is negative."""
    length = samples.shape[1]
    if lag >= 0:
        return fitted(samples[:, lag:], length)
    return np.ascontiguousarray(np.pad(samples, ((0, 0), (-lag, 0)))[:, :length])


def aligned(samples: Samples, reference: Samples, most: int) -> Samples:
    """Moved by up to `most` samples to where it is most like the reference; left where it is when
    it is nowhere much like it, as with codecs that keep no waveform."""
    lag, correlation = best_lag(samples, reference, most)
    return moved(samples, lag) if lag and correlation >= ALIKE else samples


def best_lag(samples: Samples, reference: Samples, most: int) -> tuple[int, float]:
    """How many samples later one is than the other, at most `most`, and their correlation there,
    by the cross-correlation of the means of their channels."""
    one, other = (x.mean(axis=0, dtype=np.float64) for x in (samples, reference))
    energy = float(np.sqrt(np.square(one).sum() * np.square(other).sum()))
    if energy <= 0:
        return 0, 0.0
    size = 1 << (len(one) + len(other)).bit_length()
    product = np.fft.rfft(one, size) * np.conj(np.fft.rfft(other, size))
    correlation = np.fft.irfft(product, size)
    near = np.concatenate([correlation[-most:], correlation[: most + 1]])
    at = int(np.argmax(near))
    return at - most, float(near[at]) / energy


def cpu_seconds() -> float:
    """Of this process and of the programs that it has run: what it takes on one core, also on a
    machine that others use."""
    programs = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + programs.ru_utime + programs.ru_stime
