"""Checksums of a large file by blocks, so that a reader of any part of it looks at that part only,
and once."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

BLOCK = 1 << 20
"""bytes; a crop of a second is in one or two of them, which take a millisecond"""


class BlockSums:
    """CRC-32 of each block of what is written, one piece after the other."""

    def __init__(self) -> None:
        self._ended: list[int] = []
        self._sum = self._filled = 0

    def add(self, content: bytes) -> None:
        """The next bytes."""
        rest = memoryview(content)
        while rest:
            part = rest[: BLOCK - self._filled]
            self._sum = zlib.crc32(part, self._sum)
            self._filled += len(part)
            rest = rest[len(part) :]
            if self._filled == BLOCK:
                self._ended.append(self._sum)
                self._sum = self._filled = 0

    def place(self) -> tuple[int, int, int]:
        """Where it is, to come back to."""
        return len(self._ended), self._sum, self._filled

    def back(self, place: tuple[int, int, int]) -> None:
        """As if nothing had been added since."""
        count, self._sum, self._filled = place
        del self._ended[count:]

    def values(self) -> list[int]:
        """Of all blocks, the last one begun too."""
        return [*self._ended, *([self._sum] if self._filled else [])]


class CheckedBlocks:
    """Blocks of a file, each held against its checksum before it is first used. Threads may share
    it: at worst two look at the same block."""

    def __init__(self, content: NDArray[Any], sums: Sequence[int]) -> None:
        """
        Args:
            content: all of the file, uint8 `[bytes]`, memory-mapped.
            sums: `BlockSums.values` of what was written.
        """
        self._content, self._sums = content, sums
        self._right: set[int] = set()

    def wrong(self, begin: int, end: int) -> int | None:
        """The first byte of the first block among bytes `begin` to `end` that is not what was
        written, or None."""
        for block in range(begin // BLOCK, -(-end // BLOCK)):
            if block in self._right:
                continue
            at = block * BLOCK
            if zlib.crc32(self._content[at : at + BLOCK].data) != self._sums[block]:
                return at
            self._right.add(block)
        return None
