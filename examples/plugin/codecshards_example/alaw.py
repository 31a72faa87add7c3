"""`alaw`: the curve of ITU-T G.711 (A-law) with 256 steps, at 8 kHz, mono. One code a sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tokenizer.codecs.amounts import choose_codebooks
from tokenizer.codecs.base import ChunkCodes, Codec, CodecSpec
from tokenizer.codecs.registry import Builtin

_A = 87.6
_KNEE = 1 / _A
_GAIN = 1 + np.log(_A)


def describe(bandwidth: float | None = None, n_q: int | None = None) -> CodecSpec:
    """The codec's facts; 8 bits at 8 kHz are 64 kbps, and there is nothing else to choose."""
    choose_codebooks("alaw", [256], 8_000, bandwidth, n_q)
    return CodecSpec(
        codec="alaw",
        revision=None,
        weights_sha256="alaw 1",
        bandwidth=64.0,
        n_q=1,
        codebook_size=256,
        sample_rate=8_000,
        channels=1,
        frame_length=1,
        chunk_length=8_000,
        chunk_stride=7_920,
        has_scales=False,
        device="none",
    )


class ALawCodec(Codec):
    """Chunks of a second; float64, so that no machine gives other codes."""

    def __init__(self) -> None:
        self.spec = describe()

    def encode_chunks(self, chunks: Sequence[NDArray[np.float32]]) -> list[ChunkCodes]:
        return [ChunkCodes(_compress(chunk.astype(np.float64)), None) for chunk in chunks]

    def decode_chunks(self, chunks: Sequence[ChunkCodes]) -> list[NDArray[np.float32]]:
        return [_expand(chunk.codes) for chunk in chunks]


def _compress(samples: NDArray[np.float64]) -> NDArray[np.uint16]:
    size = np.minimum(np.abs(samples), 1.0)
    curve = np.where(size < _KNEE, _A * size, 1 + np.log(np.maximum(_A * size, 1))) / _GAIN
    codes: NDArray[np.uint16] = np.rint((np.sign(samples) * curve + 1) * 127.5).astype(np.uint16)
    return codes


def _expand(codes: NDArray[np.uint16]) -> NDArray[np.float32]:
    curve = codes.astype(np.float64) / 127.5 - 1
    size = np.abs(curve) * _GAIN
    samples = np.sign(curve) * np.where(size < 1, size / _A, np.exp(size - 1) / _A)
    return samples.astype(np.float32)


def load(bandwidth: float | None, device: str, n_q: int | None = None) -> ALawCodec:
    """The codec; a device makes no difference to it."""
    describe(bandwidth, n_q)
    return ALawCodec()


ALAW = Builtin(describe, load)
