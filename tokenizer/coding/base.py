"""What predicts codes for the arithmetic coder: integers, the same on every machine."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

TOTAL_BITS = 20
"""widths of a distribution add up to 2 to this, exactly; each is at least 1, so that every code of
the codebook can be coded, also one that was never seen"""
TOTAL = 1 << TOTAL_BITS


class Predictor(ABC):
    """Says how likely each code is, given the codes before it in its segment: frames in the order
    of time, within a frame the levels from the first to the last.

    A segment is what is coded alone: a chunk, or a stretch of a codec without chunks. All numbers
    are integers that do not depend on machine, device, threads, versions of libraries, or on which
    other segments are in a batch: one that differed by 1 would make everything after it unreadable.
    Immutable once made; pickled as `kind` and `dumps` (a process pool takes it so).
    """

    kind: ClassVar[str]
    """what `tokenizer.coding.registry` finds its class by"""
    sizes: tuple[int, ...]
    """entries of each level's codebook"""
    segment_frames: int
    """most frames of a segment"""
    fixed: Sequence[NDArray[np.uint32]] | None = None
    """widths of each level, uint32 `[size]`, where they are the same at every place: streams are
    then decoded in one go, without `begin`; None where they depend on codes before"""

    @abstractmethod
    def dumps(self) -> bytes:
        """Everything that it is made of; the same predictor gives the same bytes."""

    @classmethod
    @abstractmethod
    def loads(cls, data: bytes) -> Self:
        """The inverse of `dumps`.

        Raises:
            ValueError: not what `dumps` gives.
        """

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of kind and `dumps`: equal ones write and read the same streams."""
        return hashlib.sha256(self.kind.encode() + b"\0" + self.dumps()).hexdigest()

    @abstractmethod
    def at(self, n_q: int) -> Predictor:
        """The one for codes of the first `n_q` levels alone; itself where these are all.

        Raises:
            UsageError: it has fewer.
        """

    @abstractmethod
    def intervals(self, segments: Sequence[NDArray[np.uint16]]) -> list[NDArray[np.uint32]]:
        """What the encoder writes, where all codes are known.

        Args:
            segments: each `[n_q, frames]`, `1 <= frames <= segment_frames`, of any lengths.

        Returns:
            For each uint32 `[2, n_q, frames]`: of each code the sum of the widths of the codes
            below it, and its own width: those that `Decoding.widths` has at that place.
        """

    @abstractmethod
    def begin(self, frames: Sequence[int]) -> Decoding:
        """Decode segments of these lengths (any order, none above `segment_frames`) side by
        side."""

    def __reduce__(self) -> tuple[object, ...]:
        from tokenizer.coding.registry import load_predictor

        return load_predictor, (self.kind, self.dumps())


class Decoding(ABC):
    """Segments that are decoded side by side. For each frame in turn, for each level in turn:
    `widths(level)`, then `push(level, codes)`. Frame `t` is only of the segments that are longer
    than `t`, in the order in which they were given."""

    @abstractmethod
    def widths(self, level: int) -> NDArray[np.uint32]:
        """uint32 `[segments that still run, size of the level]`: the width of every code; each row
        adds up to `TOTAL`. May be a view that the next call overwrites."""

    @abstractmethod
    def push(self, level: int, codes: NDArray[np.uint16]) -> None:
        """What the codes were: uint16 `[segments that still run]`."""
