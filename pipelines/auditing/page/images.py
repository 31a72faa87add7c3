"""Spectrograms as PNG files: mel bands over time, 8-bit palettes. Written with zlib and struct, no
image library."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from pipelines.auditing.measure.spectra import decibels, magnitudes, mel_power

BANDS = 128
COLUMNS = 640
WINDOW = 2048
LOUDEST_DB, RANGE_DB = -6.0, 74.0
"""what the palette spans: a band at -6 dB below a full-scale sine is white, 74 dB further down it
is black"""
DIFFERENCE_DB = 30.0
"""what the difference's palette spans to either side"""
ABSENT = 255
"""palette index of what there is no sound of"""

_NOTHING = "8a93a6"
_MAGMA = [
    "000004",
    "180f3d",
    "440f76",
    "721f81",
    "9e2f7f",
    "cd4071",
    "f1605d",
    "fd9668",
    "feca8d",
    "fcfdbf",
]
_DIVERGING = ["2166ac", "67a9cf", "d1e5f0", "f7f7f7", "fddbc7", "ef8a62", "b2182b"]


def mel_image(
    samples: NDArray[np.float32], sample_rate: int, span: int | None = None
) -> NDArray[np.float32]:
    """dB in mel bands of `[channels, n]`, power averaged over channels: float32 `[bands, columns]`,
    low bands first.

    Windows overlap by half at least, so that nothing falls between two; a column is the mean of
    those that begin in it. Pictures of the same `span`, in samples, have the same columns at the
    same times: where the sound has ended they are NaN.
    """
    n = max(samples.shape[1], span or 0)
    together = -(-n // (COLUMNS * WINDOW // 2))
    hop = max(128, -(-n // (COLUMNS * together)))
    power = np.mean(
        [
            mel_power(magnitudes(channel[None], WINDOW, hop)[0], sample_rate, BANDS)
            for channel in samples
        ],
        axis=0,
    )
    columns = np.add.reduceat(power, np.arange(0, len(power), together), axis=0)
    counts = np.full(len(columns), together)
    counts[-1] = len(power) - together * (len(columns) - 1)
    picture = decibels(columns / counts[:, None]).T
    whole = -(-(1 + max(0, -(-(n - WINDOW) // hop))) // together)
    return np.pad(picture, ((0, 0), (0, max(0, whole - picture.shape[1]))), constant_values=np.nan)


def spectrogram_png(image: NDArray[np.float32]) -> bytes:
    """A `mel_image` as a PNG file, low frequencies at the bottom."""
    return _png((image - LOUDEST_DB + RANGE_DB) / RANGE_DB, _MAGMA)


def difference_png(decoded: NDArray[np.float32], source: NDArray[np.float32]) -> bytes:
    """Reconstruction minus source: red where the reconstruction is louder, blue where it is
    quieter."""
    return _png((decoded - source) / (2 * DIFFERENCE_DB) + 0.5, _DIVERGING)


def _png(shares: NDArray[np.float32], anchors: list[str]) -> bytes:
    """Values from 0 to 1, `[rows, columns]` with the last row on top, as indices into a palette;
    NaN is the last of them."""
    known = np.clip(np.nan_to_num(shares), 0.0, 1.0) * (ABSENT - 1)
    indices = np.where(np.isnan(shares), ABSENT, np.rint(known)).astype(np.uint8)[::-1]
    rows, columns = indices.shape
    # Each row is preceded by its filter: 0, as filters do not help palettes.
    raw = np.concatenate([np.zeros((rows, 1), np.uint8), indices], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)
    parts = [
        (b"IHDR", header),
        (b"PLTE", _palette(anchors)),
        (b"IDAT", zlib.compress(raw, 6)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_part(kind, content) for kind, content in parts)


def _part(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def _palette(anchors: list[str]) -> bytes:
    colours = np.array([list(bytes.fromhex(anchor)) for anchor in anchors], np.float64)
    at = np.linspace(0, len(anchors) - 1, ABSENT)
    mixed = np.stack(
        [np.interp(at, np.arange(len(anchors)), colours[:, channel]) for channel in range(3)],
        axis=1,
    )
    return np.rint(mixed).astype(np.uint8).tobytes() + bytes.fromhex(_NOTHING)
