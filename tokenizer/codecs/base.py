"""What a codec is: a set of facts, and chunks of samples to codes and back.

A new codec is a subclass that fills in `encode_chunks` and `decode_chunks`; everything about recordings, batches and
overlaps is here or in `tokenizer.chunking`, once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokenizer.types import Codes, Waveform


@dataclass(frozen=True, slots=True)
class CodecSpec:
    """Everything about a loaded codec that decides what its codes are. Written into every shard's footer."""

    codec: str
    """hub id, or the path or registry name it was loaded by"""
    revision: str | None
    """hub commit; None for local checkpoints"""
    weights_sha256: str
    """of the weights file(s) as they lie on disk"""
    bandwidth: float
    """kbps"""
    n_q: int
    """codebooks used at this bandwidth"""
    codebook_size: int
    sample_rate: int
    channels: int
    frame_length: int
    """samples per frame (the hop): 320"""
    chunk_length: int | None
    """samples per chunk; None for a codec without windows, which sees a recording as one chunk"""
    chunk_stride: int | None
    """samples from one chunk's start to the next one's"""
    has_scales: bool
    """whether chunks are normalised, and scales stored"""
    dtype: str = "float32"
    device: str = "cpu"
    """kind of device that computes: "cpu", "cuda", "none" (weight-free)"""

    @property
    def frame_rate(self) -> float:
        """Frames per second within a chunk."""
        return self.sample_rate / self.frame_length


@dataclass(frozen=True, slots=True, eq=False)
class ChunkCodes:
    """One chunk, encoded."""

    codes: NDArray[np.uint16]
    """uint16 `[n_q, frames]`"""
    scale: float | None
    """the RMS the chunk was divided by (a float32 value); None for codecs that do not normalise"""


class Codec(ABC):
    """A loaded codec: immutable, one bandwidth, one device."""

    spec: CodecSpec

    @property
    def sample_rate(self) -> int:
        return self.spec.sample_rate

    @property
    def channels(self) -> int:
        return self.spec.channels

    @abstractmethod
    def encode_chunks(self, chunks: Sequence[NDArray[np.float32]]) -> list[ChunkCodes]:
        """Encode chunks of any recordings, in any mixture of lengths, as if each were alone.

        Args:
            chunks: each float32 `[channels, n]`, `1 <= n <= chunk_length`, cut as `tokenizer.chunking` does.

        Returns:
            One `ChunkCodes` a chunk, in order.

        Raises:
            ShapeError: a chunk of another shape or dtype.
            RecordingError: a chunk with non-finite samples or output (kind NON_FINITE or ENCODER).
        """

    @abstractmethod
    def decode_chunks(
        self, chunks: Sequence[ChunkCodes]
    ) -> list[NDArray[np.float32]]:
        """Decode chunks, each alone: float32 `[channels, frames * frame_length]`, scaled, before overlap-add."""
