"""How often each code occurs, whatever comes before it: order 0. It serves every codec, and what no
network was trained on."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from tokenizer.coding.base import TOTAL, Decoding, Predictor
from tokenizer.errors import ShapeError, UsageError

SEGMENT_FRAMES = 1024
_MOST_LEVELS = 1024
_MOST_ENTRIES = 65_536
_NO_OVERFLOW = 1 << 42
"""times `TOTAL` it fits into 64 bits"""
_HEAD = struct.Struct("<H")
_SIZE = struct.Struct("<I")


def widths_of(counts: NDArray[np.integer]) -> NDArray[np.uint32]:
    """Counts as widths: each at least 1, `TOTAL` together.

    Every code has 1, the rest goes by the counts, rounded down, and what rounding leaves to the
    code that occurs most, of several the first. Integers throughout.
    """
    size = len(counts)
    if not 1 <= size <= _MOST_ENTRIES:
        raise ShapeError(f"a codebook of {size} entries: 1 to {_MOST_ENTRIES:,} can be coded")
    if int(counts.min()) < 0:
        raise ShapeError("a count below 0")
    total = sum(map(int, counts)) or size
    wanted = counts if int(counts.max()) else np.ones(size, np.int64)
    spare = TOTAL - size
    if int(wanted.max()) < _NO_OVERFLOW and total < 1 << 62:
        widths = 1 + wanted.astype(np.int64) * spare // total
    else:
        widths = np.array([1 + int(count) * spare // total for count in wanted], np.int64)
    widths[int(np.argmax(wanted))] += TOTAL - int(widths.sum())
    return widths.astype(np.uint32)


class StaticPredictor(Predictor):
    """The same distribution at every frame, one a level."""

    kind = "static"
    segment_frames = SEGMENT_FRAMES

    def __init__(self, widths: Sequence[NDArray[np.uint32]]) -> None:
        """
        Args:
            widths: of each level, uint32 `[size]`.

        Raises:
            ShapeError: widths that are no distribution.
        """
        if not 1 <= len(widths) <= _MOST_LEVELS:
            raise ShapeError(f"{len(widths)} levels: 1 to {_MOST_LEVELS:,} can be coded")
        for level, one in enumerate(widths):
            if one.dtype != np.uint32 or one.ndim != 1 or not 1 <= len(one) <= _MOST_ENTRIES:
                raise ShapeError(f"level {level}: widths must be uint32 [entries of its codebook]")
            if int(one.min()) < 1 or int(one.sum(dtype=np.uint64)) != TOTAL:
                raise ShapeError(f"level {level}: widths must be at least 1 and add up to {TOTAL}")
        self.fixed = self._widths = list(widths)
        self._lows = [(np.cumsum(one, dtype=np.uint64) - one).astype(np.uint32) for one in widths]
        self.sizes = tuple(len(one) for one in widths)

    @classmethod
    def of_counts(cls, counts: NDArray[np.integer], sizes: Sequence[int]) -> StaticPredictor:
        """From how often each code occurs, `[n_q, largest codebook]`."""
        return cls([widths_of(row[:size]) for row, size in zip(counts, sizes, strict=True)])

    @classmethod
    def uniform(cls, sizes: Sequence[int]) -> StaticPredictor:
        """All codes alike: what fixed widths of bits would take."""
        known = {size: widths_of(np.ones(size, np.int64)) for size in set(sizes)}
        return cls([known[size] for size in sizes])

    def dumps(self) -> bytes:
        sizes = b"".join(_SIZE.pack(size) for size in self.sizes)
        widths = b"".join(one.astype("<u4").tobytes() for one in self._widths)
        return _HEAD.pack(len(self.sizes)) + sizes + widths

    @classmethod
    def loads(cls, data: bytes) -> StaticPredictor:
        if len(data) < _HEAD.size:
            raise ValueError("a static coder that is cut off")
        (levels,) = _HEAD.unpack_from(data)
        first = _HEAD.size + levels * _SIZE.size
        if levels > _MOST_LEVELS or len(data) < first:
            raise ValueError("a static coder that is cut off")
        sizes = [_SIZE.unpack_from(data, _HEAD.size + at * _SIZE.size)[0] for at in range(levels)]
        if len(data) != first + 4 * sum(sizes):
            raise ValueError("a static coder of another size than it says")
        values = np.frombuffer(data, "<u4", offset=first).astype(np.uint32)
        starts = [0, *accumulate(sizes)]
        return cls([values[a:b] for a, b in pairwise(starts)])

    def at(self, n_q: int) -> StaticPredictor:
        if n_q > len(self.sizes):
            raise UsageError(f"the coder is of {len(self.sizes)} levels, the codes have {n_q}")
        return self if n_q == len(self.sizes) else StaticPredictor(self._widths[:n_q])

    def intervals(self, segments: Sequence[NDArray[np.uint16]]) -> list[NDArray[np.uint32]]:
        found = []
        for segment in segments:
            out = np.empty((2, *segment.shape), np.uint32)
            for level, codes in enumerate(segment):
                out[0, level] = self._lows[level][codes]
                out[1, level] = self._widths[level][codes]
            found.append(out)
        return found

    def begin(self, frames: Sequence[int]) -> Decoding:
        return _Constant(self._widths, frames)


class _Constant(Decoding):
    def __init__(self, widths: Sequence[NDArray[np.uint32]], frames: Sequence[int]) -> None:
        self._widths, self._frames = widths, np.array(frames, np.int64)
        self._frame, self._running = 0, len(frames)

    def widths(self, level: int) -> NDArray[np.uint32]:
        one = self._widths[level]
        return np.broadcast_to(one, (self._running, len(one)))

    def push(self, level: int, codes: NDArray[np.uint16]) -> None:
        del codes
        if level == len(self._widths) - 1:
            self._frame += 1
            self._running = int((self._frames > self._frame).sum())
