"""What a survey has found of every row, kept on disk: a block of it is in memory at a time, however
large the corpus is."""

from __future__ import annotations

import pickle
import tempfile
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

BLOCK = 4096
"""items that are written and read together"""
_Item = TypeVar("_Item")


class Spooled(Sequence[_Item], Generic[_Item]):
    """A sequence in a file of TMPDIR, which goes with it. It is made for passes from the beginning
    to the end; single items cost a block."""

    def __init__(self) -> None:
        # It outlives this method, and is closed when nobody has it any more.
        self._file: Any = tempfile.TemporaryFile(prefix="codecshards-survey-")  # noqa: SIM115
        self._held: list[_Item] = []
        self._places: list[int] = []
        """where each block begins in the file"""
        self._starts: list[int] = [0]
        """the number of each block's first item, and of those that are held"""
        self._last: tuple[int, list[_Item]] | None = None

    def append(self, item: _Item) -> None:
        """Take one more."""
        self._held.append(item)
        if len(self._held) == BLOCK:
            self._file.seek(0, 2)
            self._places.append(self._file.tell())
            pickle.dump(self._held, self._file, pickle.HIGHEST_PROTOCOL)
            self._starts.append(self._starts[-1] + BLOCK)
            self._held = []

    def __len__(self) -> int:
        return self._starts[-1] + len(self._held)

    def __iter__(self) -> Iterator[_Item]:
        for block in range(len(self._places) + 1):
            yield from self._block(block)

    @overload
    def __getitem__(self, place: int) -> _Item: ...
    @overload
    def __getitem__(self, place: slice) -> list[_Item]: ...
    def __getitem__(self, place: int | slice) -> _Item | list[_Item]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        place = place + len(self) if place < 0 else place
        if not 0 <= place < len(self):
            raise IndexError(place)
        block = bisect_right(self._starts, place) - 1
        return self._block(block)[place - self._starts[block]]

    def _block(self, number: int) -> Sequence[_Item]:
        if number == len(self._places):
            return self._held
        if self._last is None or self._last[0] != number:
            self._file.seek(self._places[number])
            self._last = number, pickle.load(self._file)  # of this process's own
        return self._last[1]
