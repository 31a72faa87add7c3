"""A codec whose levels run at different rates, with codebooks of different sizes, mono, without
chunks, scales and bandwidths: all that EnCodec is not."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from tokenizer.codecs.amounts import kbps, require_one_amount
from tokenizer.codecs.base import ChunkCodes, Codec, CodecSpec
from tokenizer.codecs.registry import Builtin
from tokenizer.errors import CodecLoadError

REPEATS = (1, 2, 4)
FRAME = 1280
SIZES = (65_536, 4096, 4096, 100, 100, 100, 100)
"""of each row"""


def describe(bandwidth: float | None = None, n_q: int | None = None) -> CodecSpec:
    require_one_amount(bandwidth, n_q)
    n_q = len(SIZES) if n_q is None else n_q
    ends = [*accumulate(REPEATS)]
    if bandwidth is not None or n_q not in ends:
        raise CodecLoadError(f"codec levels: give n_q, one of {ends}")
    return CodecSpec(
        codec="levels",
        revision=None,
        weights_sha256="levels 1",
        bandwidth=kbps(SIZES[:n_q], 16_000 / FRAME),
        n_q=n_q,
        codebook_size=max(SIZES[:n_q]),
        sample_rate=16_000,
        channels=1,
        frame_length=FRAME,
        chunk_length=None,
        chunk_stride=None,
        has_scales=False,
        device="none",
        codebook_sizes=SIZES[:n_q] if n_q > 1 else None,
        level_repeats=REPEATS[: ends.index(n_q) + 1],
    )


class LevelCodec(Codec):
    """Each row has the mean of its part of a frame."""

    def __init__(self, n_q: int | None = None) -> None:
        self.spec = describe(None, n_q)

    def encode_chunks(self, chunks: Sequence[NDArray[np.float32]]) -> list[ChunkCodes]:
        return [ChunkCodes(self._encode(chunk[0].astype(np.float64)), None) for chunk in chunks]

    def decode_chunks(self, chunks: Sequence[ChunkCodes]) -> list[NDArray[np.float32]]:
        return [self._decode(chunk.codes) for chunk in chunks]

    def _encode(self, samples: NDArray[np.float64]) -> NDArray[np.uint16]:
        frames = -(-len(samples) // FRAME)
        padded = np.pad(samples, (0, frames * FRAME - len(samples)))
        rows: list[NDArray[np.float64]] = []
        for count in self.spec.level_repeats or ():
            rows += list(padded.reshape(frames, count, -1).mean(axis=2).T)
        scaled = [
            np.rint((np.clip(row, -1, 1) + 1) / 2 * (size - 1))
            for row, size in zip(rows, SIZES, strict=False)
        ]
        return np.stack(scaled).astype(np.uint16)

    def _decode(self, codes: NDArray[np.uint16]) -> NDArray[np.float32]:
        count = {1: 1, 3: 2, 7: 4}[len(codes)]
        sizes = np.array(SIZES[: len(codes)])[:, None]
        values = (codes / (sizes - 1) * 2 - 1)[-count:]
        return np.repeat(values.T.reshape(-1), FRAME // count)[None].astype(np.float32)


LEVELS = Builtin(describe, lambda bandwidth, device, n_q: LevelCodec(n_q))
