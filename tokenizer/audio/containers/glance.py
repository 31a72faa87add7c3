"""A few looks into a file, each of bounded size: what a header says must not make its reader read
on and on."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

_BLOCK = 1 << 12
_MOST_LOOKS = 256
_MOST_BYTES = 1 << 20
"""of one look"""


class Length(NamedTuple):
    """How long a recording is."""

    seconds: float
    exact: bool
    """to the sample, as it is decoded; what is not is by a container's clock (some 50 ms), or by
    the bit rate of the first frames (a few percent, where it varies)"""


class Glance:
    """A file as far as it is looked at. Has `seek`, `tell` and `read`, for readers of headers."""

    def __init__(
        self,
        fetch: Callable[[int, int], bytes],
        size: int,
        block: int = _BLOCK,
        most: int = _MOST_LOOKS,
    ) -> None:
        """
        Args:
            fetch: the bytes from one place up to another.
            size: of the file.
            block: bytes that are fetched at least.
            most: how often; OSError is raised instead of once more.
        """
        self._fetch, self.size, self._block, self._left = fetch, size, block, most
        self._at = 0
        self._first = b""
        """the beginning, which is asked for again"""
        self._held, self._from = b"", 0

    @classmethod
    def at_file(cls, file: BinaryIO) -> Glance:
        """At a file that is open; its position is not kept."""

        def fetch(start: int, stop: int) -> bytes:
            file.seek(start)
            return file.read(stop - start)

        return cls(fetch, file.seek(0, os.SEEK_END))

    def at(self, start: int, size: int) -> bytes:
        """Bytes at a place, fewer at the file's end.

        Raises:
            OSError: too many looks, or too many bytes at once.
        """
        stop = min(start + size, self.size)
        if start < 0 or stop <= start:
            return b""
        if stop <= len(self._first):
            return self._first[start:stop]
        if not self._from <= start <= stop <= self._from + len(self._held):
            if self._left <= 0 or stop - start > _MOST_BYTES:
                raise OSError("a header that leads on and on")
            self._left -= 1
            end = min(self.size, max(stop, start + self._block))
            self._held, self._from = self._fetch(start, end), start
            if start == 0:
                self._first = self._held
        return self._held[start - self._from : stop - self._from]

    def behind(self, start: int) -> Glance:
        """The file without its first bytes."""
        looks = max(1, self._left)
        return Glance(lambda a, b: self.at(start + a, b - a), self.size - start, 64, looks)

    def unpack(self, form: str, at: int) -> tuple[Any, ...]:
        """Numbers at a place.

        Raises:
            struct.error: the file ends before.
        """
        return struct.unpack(form, self.at(at, struct.calcsize(form)))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(0, offset + (0, self._at, self.size)[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        found = self.at(self._at, self.size if size < 0 else size)
        self._at += len(found)
        return found
