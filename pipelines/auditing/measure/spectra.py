"""Short-time spectra: Hann windows, mel bands. NumPy alone, a segment at a time."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

WINDOW, HOP = 2048, 512
"""samples: 43 ms and 11 ms at 48 kHz"""
MEL_BANDS = 80
FLOOR = 1e-8
"""power, -80 dB below a full-scale sine: what is below sounds like silence beside anything else"""


def magnitudes(
    samples: NDArray[np.float32], window: int = WINDOW, hop: int = HOP
) -> NDArray[np.float32]:
    """Magnitude spectra of `[channels, n]` samples: float32 `[channels, frames, window // 2 + 1]`.

    Frames start at multiples of `hop`; the end is padded with zeros to the last frame that is
    needed to cover every sample. A sine of full scale has magnitude 1 in its bin.
    """
    n = samples.shape[1]
    frames = 1 + max(0, -(-(n - window) // hop))
    padded = np.pad(samples, ((0, 0), (0, (frames - 1) * hop + window - n)))
    cut = sliding_window_view(padded, window, axis=1)[:, ::hop]
    shape, gain = _hann(window)
    return (np.abs(np.fft.rfft(cut * shape, axis=2)) * gain).astype(np.float32)


def mel_power(
    spectra: NDArray[np.float32], sample_rate: int, bands: int = MEL_BANDS
) -> NDArray[np.float32]:
    """Power in mel bands: `[..., bins]` magnitudes to float32 `[..., bands]`."""
    power = np.square(spectra)
    mel = np.empty((*spectra.shape[:-1], bands), np.float32)
    # Band by band, as a filter spans a few bins of all, and without NumPy's library of products,
    # whose threads wait for each other for longer than such small products take.
    for band, (first, weights) in enumerate(
        _spans(sample_rate, (spectra.shape[-1] - 1) * 2, bands)
    ):
        within = power[..., first : first + len(weights)]
        np.einsum("...b,b->...", within, weights, out=mel[..., band])
    return mel


def decibels(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """dB relative to a full-scale sine, not below the floor."""
    return (10.0 * np.log10(np.maximum(power, FLOOR))).astype(np.float32)


@cache
def mel_filters(sample_rate: int, window: int, bands: int) -> NDArray[np.float32]:
    """Triangles that are even on the mel scale of O'Shaughnessy (1987), `2595 log10(1 + f / 700)`:
    `[bins, bands]`."""
    top = 2595.0 * np.log10(1.0 + sample_rate / 2 / 700.0)
    edges = 700.0 * (10.0 ** (np.linspace(0.0, top, bands + 2) / 2595.0) - 1.0)
    bins = np.arange(window // 2 + 1) * sample_rate / window
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0.0, np.minimum(rising, falling))
    # At low frequencies a band can be narrower than a bin and fall between two: it takes the
    # nearest.
    empty = np.flatnonzero(filters.sum(axis=0) == 0)
    nearest = np.abs(bins[:, None] - edges[1:-1][empty]).argmin(axis=0)
    filters[nearest, empty] = 1.0
    return filters.astype(np.float32)


@cache
def _spans(sample_rate: int, window: int, bands: int) -> list[tuple[int, NDArray[np.float32]]]:
    """Of each mel filter its first bin and its weights from there."""
    spans = []
    for one in mel_filters(sample_rate, window, bands).T:
        bins = np.flatnonzero(one)
        spans.append((int(bins[0]), np.ascontiguousarray(one[bins[0] : bins[-1] + 1])))
    return spans


@cache
def _hann(window: int) -> tuple[NDArray[np.float32], float]:
    shape = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)).astype(np.float32)
    return shape, 2.0 / float(shape.sum())
