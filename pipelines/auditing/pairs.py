"""Two streams of blocks side by side: the source and its reconstruction, cut into the same segments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

Block = NDArray[np.float32]
"""float32 `[channels, n]`"""


class Segments:
    """A stream of blocks, taken in pieces of any length; holds no more than a piece and a block."""

    def __init__(self, blocks: Iterable[Block], channels: int) -> None:
        self._blocks = iter(blocks)
        self._held: Block = np.zeros((channels, 0), np.float32)

    def take(self, count: int) -> Block:
        """The next `count` samples, fewer at the end."""
        parts = [self._held]
        held = self._held.shape[1]
        while held < count and (block := next(self._blocks, None)) is not None:
            parts.append(block)
            held += block.shape[1]
        joined = np.concatenate(parts, axis=1)
        piece, self._held = joined[:, :count], joined[:, count:]
        return piece

    def drain(self) -> None:
        """Read to the end."""
        self._held = self._held[:, :0]
        for _ in self._blocks:
            pass


class Pairs:
    """Segments of both streams while both last."""

    def __init__(self, source: Iterable[Block], decoded: Iterable[Block], channels: int, segment: int) -> None:
        self._source = Segments(source, channels)
        self._decoded = Segments(decoded, channels)
        self._segment = segment

    def __iter__(self) -> Iterator[tuple[Block, Block]]:
        while True:
            source, decoded = self._source.take(self._segment), self._decoded.take(self._segment)
            common = min(source.shape[1], decoded.shape[1])
            if common:
                yield source[:, :common], decoded[:, :common]
            if source.shape[1] < self._segment or decoded.shape[1] < self._segment:
                break
        # What one has more than the other is not compared, but it is read: errors at the end of a file count.
        self._source.drain()
        self._decoded.drain()
