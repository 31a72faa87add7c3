"""Cuts at chunks. With EnCodec at 48 kHz chunk `i` begins at `i × 0.99 s` and has 150 frames: 10 s
are 10 chunks, 9.91 s of audio and 1,500 frames."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from numbers import Integral, Real

import numpy as np
from numpy.typing import NDArray

from pipelines.loader.sample import Span, units_per_second
from pipelines.loader.sequence.order import draw, key_of
from tokenizer.chunking import frames_of
from tokenizer.codecs.base import CodecSpec
from tokenizer.errors import UsageError

_SALT = 0xC409


@dataclass(frozen=True, slots=True)
class Crop:
    """How much of each recording, and from where.

    Shorter recordings are taken whole. Codecs without windows are cut at frames, and need
    `seconds`.
    """

    seconds: float | None = None
    """as many chunks as fit, counted by where they begin, at least one: 10 s are 10 chunks of 0.99
    s"""
    chunks: int | None = None
    """or their number"""
    random: bool = True
    """from anywhere, every place with the same chance; False is from the beginning"""

    def __post_init__(self) -> None:
        if (self.seconds is None) == (self.chunks is None):
            raise UsageError("Crop: give either seconds or chunks")
        if self.seconds is not None and not (
            isinstance(self.seconds, Real) and isfinite(self.seconds) and self.seconds > 0
        ):
            raise UsageError(f"Crop(seconds={self.seconds!r}): give a number above 0")
        if self.chunks is not None and not (isinstance(self.chunks, Integral) and self.chunks > 0):
            raise UsageError(f"Crop(chunks={self.chunks!r}): give 1 or more")

    def units(self, spec: CodecSpec) -> int:
        """Chunks of a cut, or frames for codecs without windows."""
        if self.chunks is not None:
            if spec.chunk_stride is None:
                raise UsageError("Crop(chunks=…): this codec has no chunks, give seconds")
            return self.chunks
        return max(1, int((self.seconds or 0.0) * units_per_second(spec) + 1e-9))

    def max_frames(self, spec: CodecSpec) -> int:
        """Frames that no cut exceeds: batches are padded to this, so that they all have one
        shape."""
        return self.units(spec) * (
            1 if spec.chunk_length is None else frames_of(spec.chunk_length, spec.frame_length)
        )

    def spans(
        self, units: int, lengths: NDArray[np.int64], seed: int, positions: NDArray[np.int64]
    ) -> list[Span]:
        """A cut of each recording, of `lengths` units: a function of the seed and its position in
        the stream."""
        taken = np.minimum(units, lengths)
        room = lengths - taken + 1
        starts = (
            draw(key_of(seed, _SALT), positions, room) if self.random else np.zeros_like(lengths)
        )
        return [
            Span(first, first + count)
            for first, count in zip(starts.tolist(), taken.tolist(), strict=True)
        ]
