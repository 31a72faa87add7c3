"""`mulaw`: a weight-free codec, for dry runs of a pipeline and for tests. Coarse, fast, exact on
every machine.

Each chunk is divided by its RMS like EnCodec's. A frame is 320 samples; means over its parts and
channels are quantised on a µ-law scale (ITU-T G.711's curve with 1,024 steps): codebook `k` holds
the mean of the `k`-th sixteenth of the frame, taken in bit-reversed order so that few codebooks
spread over the frame and the first of many are the few. float64 on one chunk at a time: no device,
no thread count and no batch changes a code.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tokenizer.chunking import frames_of
from tokenizer.codecs.amounts import DEFAULT_BANDWIDTH, require_codebooks, require_one_amount
from tokenizer.codecs.base import ChunkCodes, Codec, CodecSpec
from tokenizer.errors import CodecLoadError

NAME = "mulaw"
BANDWIDTHS = (3.0, 6.0, 12.0, 24.0)
_KBPS_PER_CODEBOOK = 1.5
_STEPS = 1024
_MU = 255.0
_PARTS = 16
_RANGE = 8.0
"""normalised samples beyond this many RMS are clipped"""


def describe_mulaw(bandwidth: float | None = None, n_q: int | None = None) -> CodecSpec:
    """The codec's facts at a bandwidth of 3, 6, 12 or 24 kbps, or with 1 to 16 codebooks.

    Raises:
        CodecLoadError: any other bandwidth or number.
    """
    require_one_amount(bandwidth, n_q)
    if n_q is not None:
        bandwidth = require_codebooks(NAME, n_q, _PARTS) * _KBPS_PER_CODEBOOK
    elif bandwidth is None:
        bandwidth = DEFAULT_BANDWIDTH
    elif bandwidth not in BANDWIDTHS:
        raise CodecLoadError(
            f"codec {NAME} has no bandwidth {bandwidth:g}: choose one of 3, 6, 12, 24"
        )
    return CodecSpec(
        codec=NAME,
        revision=None,
        weights_sha256="none",
        bandwidth=float(bandwidth),
        n_q=int(bandwidth / _KBPS_PER_CODEBOOK),
        codebook_size=_STEPS,
        sample_rate=48_000,
        channels=2,
        frame_length=320,
        chunk_length=48_000,
        chunk_stride=47_520,
        has_scales=True,
        device="none",
    )


class MuLawCodec(Codec):
    """A codec that needs nothing but NumPy."""

    def __init__(self, bandwidth: float | None = None, n_q: int | None = None) -> None:
        self.spec = describe_mulaw(bandwidth, n_q)

    def encode_chunks(self, chunks: Sequence[NDArray[np.float32]]) -> list[ChunkCodes]:
        return [self._encode(chunk) for chunk in chunks]

    def decode_chunks(self, chunks: Sequence[ChunkCodes]) -> list[NDArray[np.float32]]:
        return [self._decode(chunk) for chunk in chunks]

    def _encode(self, chunk: NDArray[np.float32]) -> ChunkCodes:
        mono = chunk.mean(axis=0, dtype=np.float64)
        scale = np.float32(np.sqrt(np.mean(mono * mono)) + 1e-8)
        frames = frames_of(mono.shape[0], self.spec.frame_length)
        padded = np.zeros(frames * self.spec.frame_length)
        padded[: mono.shape[0]] = mono / float(scale)
        parts = padded.reshape(frames, _PARTS, -1).mean(axis=2)
        codes = _quantise(parts[:, _ORDER[: self.spec.n_q]].T)
        return ChunkCodes(codes, float(scale))

    def _decode(self, chunk: ChunkCodes) -> NDArray[np.float32]:
        n_q, frames = chunk.codes.shape
        values = _dequantise(chunk.codes)
        parts = np.empty((frames, _PARTS))
        for part in range(_PARTS):
            parts[:, part] = values[_NEAREST[n_q - 1][part]]
        mono = np.repeat(parts.reshape(-1), self.spec.frame_length // _PARTS) * (chunk.scale or 0.0)
        return np.repeat(mono.astype(np.float32)[None], self.spec.channels, axis=0)


_ORDER = [int(f"{i:04b}"[::-1], 2) for i in range(_PARTS)]
_NEAREST = [
    [min(range(n_q), key=lambda k: (abs(_ORDER[k] - part), k)) for part in range(_PARTS)]
    for n_q in range(1, _PARTS + 1)
]
"""for each number of codebooks, which of them stands in for each part of a frame"""


def _quantise(values: NDArray[np.float64]) -> NDArray[np.uint16]:
    x = np.clip(values / _RANGE, -1.0, 1.0)
    curve = np.sign(x) * np.log1p(_MU * np.abs(x)) / np.log1p(_MU)
    codes: NDArray[np.uint16] = np.rint((curve + 1.0) / 2.0 * (_STEPS - 1)).astype(np.uint16)
    return codes


def _dequantise(codes: NDArray[np.uint16]) -> NDArray[np.float64]:
    curve = codes.astype(np.float64) / (_STEPS - 1) * 2.0 - 1.0
    values: NDArray[np.float64] = (
        np.sign(curve) * np.expm1(np.abs(curve) * np.log1p(_MU)) / _MU * _RANGE
    )
    return values
