"""Dictionary indices of a Parquet page at random: any range of values, without decoding those
before it.

A page holds runs (Parquet's RLE / bit-packing hybrid): one value repeated, or groups of eight
values of `width` bits each, least significant bit first. Codes hardly repeat, so nearly all runs
are the longest literal ones that writers make, 63 groups (504 values): their headers lie a constant
number of bytes apart and are found all at once.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Request = tuple[int, int, NDArray[np.uint16]]
"""values `start` to `stop` of a page, and where they go: uint16 `[stop - start]`"""

_LONGEST = 63
_LONGEST_HEADER = _LONGEST << 1 | 1


class Runs:
    """The runs of one page: `count` values of `width` bits in `data`, uint8."""

    __slots__ = ("data", "nbytes", "offsets", "repeated", "starts", "width")

    def __init__(self, data: NDArray[np.uint8], width: int, count: int) -> None:
        if width > 16:
            raise ValueError(f"codes of {width} bits in a page")
        self.data = data
        self.width = width
        self.starts = array("q")
        """first value of each run, and the number of all"""
        self.offsets = array("q")
        """where a run's groups begin; -1 for a repeated value"""
        self.repeated: dict[int, int] = {}
        """the value of a run that repeats one"""
        if width:
            self._parse(count)
        else:  # a dictionary of one entry
            self._add(0, -1, 0)
        self.starts.append(count)
        self.nbytes = data.nbytes + 16 * len(self.starts) + 100 * len(self.repeated)

    def _add(self, start: int, offset: int, value: int) -> None:
        if offset < 0:
            self.repeated[len(self.starts)] = value
        self.starts.append(start)
        self.offsets.append(offset)

    def _parse(self, count: int) -> None:
        at = done = 0
        data, width = self.data, self.width
        while done < count:
            if data[at] == _LONGEST_HEADER and (same := self._longest_runs(at, count - done)):
                self.starts.frombytes(
                    (done + np.arange(same, dtype=np.int64) * _LONGEST * 8).tobytes()
                )
                stride = 1 + _LONGEST * width
                self.offsets.frombytes(
                    (at + 1 + np.arange(same, dtype=np.int64) * stride).tobytes()
                )
                at, done = at + same * stride, done + same * _LONGEST * 8
                continue
            header, at = _varint(data, at)
            if header & 1:
                groups = header >> 1
                self._add(done, at, 0)
                at, done = at + groups * width, done + groups * 8
            else:
                size = (width + 7) // 8
                self._add(done, -1, int.from_bytes(data[at : at + size].tobytes(), "little"))
                at, done = at + size, done + (header >> 1)
            if not header >> 1 or at > len(data):
                raise ValueError("a page whose runs do not add up")

    def _longest_runs(self, at: int, left: int) -> int:
        """How many whole longest literal runs follow each other from `at` on."""
        stride = 1 + _LONGEST * self.width
        heads = self.data[at::stride][
            : min((len(self.data) - at) // stride, left // (_LONGEST * 8))
        ]
        other = np.flatnonzero(heads != _LONGEST_HEADER)
        return int(other[0]) if len(other) else len(heads)

    def fill(self, requests: Sequence[Request], dictionary: NDArray[np.uint16]) -> None:
        """Look values up and write them where they go. `IndexError` for an index outside the
        dictionary."""
        pieces: list[NDArray[np.uint8]] = []
        targets: list[tuple[NDArray[np.uint16], int]] = []
        starts, width = self.starts, self.width
        for first, stop, out in requests:
            run, at = bisect_right(starts, first) - 1, first
            while at < stop:
                end = min(stop, starts[run + 1])
                view = out[at - first : end - first]
                offset = self.offsets[run]
                if offset < 0:
                    view[:] = dictionary[self.repeated[run]]
                else:
                    begin, into = divmod(at - starts[run], 8)
                    until = -(-(end - starts[run]) // 8)
                    pieces.append(self.data[offset + begin * width : offset + until * width])
                    targets.append((view, into))
                at, run = end, run + 1
        if pieces:
            self._scatter(pieces, targets, dictionary)

    def values(self, dictionary: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """All values of the page, looked up. `IndexError` for an index outside the dictionary."""
        starts, offsets = (
            np.frombuffer(self.starts, np.int64),
            np.frombuffer(self.offsets, np.int64),
        )
        length, stride = _LONGEST * 8, 1 + _LONGEST * self.width
        out = np.empty(starts[-1], np.uint16)
        if not len(offsets):
            return out
        regular = (
            (np.diff(starts) == length)
            & (offsets >= 0)
            & (offsets == offsets[0] + stride * np.arange(len(offsets)))
        )
        longest = len(regular) if regular.all() else int(regular.argmin())
        if longest:
            first = int(offsets[0])
            packed = np.ndarray((longest, stride - 1), np.uint8, self.data[first:], 0, (stride, 1))
            dictionary.take(unpack(packed.reshape(-1), self.width), out=out[: longest * length])
        if longest < len(offsets):
            self.fill([(longest * length, len(out), out[longest * length :])], dictionary)
        return out

    def _scatter(
        self,
        pieces: list[NDArray[np.uint8]],
        targets: list[tuple[NDArray[np.uint16], int]],
        dictionary: NDArray[np.uint16],
    ) -> None:
        values = dictionary.take(unpack(np.concatenate(pieces), self.width))
        done = 0
        for piece, (view, into) in zip(pieces, targets, strict=True):
            view[:] = values[done + into : done + into + len(view)]
            done += len(piece) // self.width * 8


def unpack(packed: NDArray[np.uint8], width: int) -> NDArray[np.uint16]:
    """Groups of eight values of `width` bits (1 to 16), least significant bit first, to values: `[8
    * groups]`."""
    if width == 16:
        return np.frombuffer(packed.tobytes(), "<u2")
    groups = len(packed) // width
    padded = np.concatenate(
        [packed, np.zeros(8, np.uint8)]
    )  # the last words are read beyond their end
    lanes = np.empty((groups, 2), np.uint64)
    for half in range(2):
        # Four values are at most 60 bits, which lie in one word of 64 even where they begin in the
        # middle of a byte.
        skipped, shift = divmod(4 * width * half, 8)
        words = np.ndarray((groups,), "<u8", padded, skipped, (width,)) >> np.uint64(shift)
        lanes[:, half] = _spread(words, width)
    return lanes.astype("<u8", copy=False).view("<u2").reshape(-1)


def _spread(words: NDArray[np.uint64], width: int) -> NDArray[np.uint64]:
    """Four values of `width` bits side by side in a word, to 16 bits each."""
    spread, moved = np.zeros_like(words), np.empty_like(words)
    for lane in range(4):
        np.right_shift(words, np.uint64(lane * width), out=moved)
        moved &= np.uint64((1 << width) - 1)
        moved <<= np.uint64(16 * lane)
        spread |= moved
    return spread


def _varint(data: NDArray[np.uint8], at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = int(data[at])
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 35:
            raise ValueError("a run without end")
