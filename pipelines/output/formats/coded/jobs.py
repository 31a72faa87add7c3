"""What is done to a batch of segments, in this process or another: coded, decoded, checked."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tokenizer.coding.arithmetic import decode, encode
from tokenizer.coding.base import Predictor
from tokenizer.coding.static import SEGMENT_FRAMES, StaticPredictor

AT_ONCE = 256
"""segments that go side by side"""
PLAIN_ENTRIES = 65_536

Stream = tuple[bytes, int]
"""a segment's stream and its checksum"""


@dataclass(frozen=True, slots=True)
class Job:
    """A batch: segments to code, or streams to decode."""

    plain: int | None
    """codebooks of codes that are stored as they are; None of those that the coder has"""
    segments: Sequence[NDArray[np.uint16]] = ()
    streams: Sequence[bytes] = ()
    frames: Sequence[int] = ()
    crcs: Sequence[int] = ()

    def run(self, predictor: Predictor) -> list[Stream] | list[NDArray[np.uint16] | None]:
        """The streams of segments, or the segments of streams; None for one that is damaged."""
        coder = predictor if self.plain is None else plain_coder(self.plain)
        if self.segments:
            streams = encode(coder, self.segments)
            return [
                (stream, checksum(stream, segment))
                for stream, segment in zip(streams, self.segments, strict=True)
            ]
        found = decode(coder, self.streams, self.frames)
        return [
            None if codes is None or checksum(stream, codes) != crc else codes
            for stream, codes, crc in zip(self.streams, found, self.crcs, strict=True)
        ]


@cache
def plain_coder(n_q: int) -> StaticPredictor:
    """16 bits a code."""
    return StaticPredictor.uniform([PLAIN_ENTRIES] * n_q)


def checksum(stream: bytes, codes: NDArray[np.uint16]) -> int:
    """Of a stream and of what it says: a machine that would decode it to something else notices."""
    return zlib.crc32(np.ascontiguousarray(codes, "<u2").data, zlib.crc32(stream))


def most_frames(predictor: Predictor) -> int:
    """Of a segment, of this coder's codes and of others."""
    return min(predictor.segment_frames, SEGMENT_FRAMES)


def stretches(
    codes: NDArray[np.uint16], chunk_frames: NDArray[np.uint16], most: int
) -> Iterator[NDArray[np.uint16]]:
    """A row's segments: its chunks, those that are longer in stretches."""
    at = 0
    for frames in chunk_frames.tolist():
        for start in range(at, at + frames, most):
            yield np.ascontiguousarray(codes[:, start : min(start + most, at + frames)])
        at += frames


def fits(codes: NDArray[np.uint16], predictor: Predictor) -> bool:
    """Whether a coder has these codes."""
    return len(codes) == len(predictor.sizes) and all(
        int(row.max(initial=0)) < size for row, size in zip(codes, predictor.sizes, strict=True)
    )
