"""Two streams of blocks side by side: the source and its reconstruction, cut into the same
segments."""

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
        """The next `count` samples, fewer at the end: a view of a block where one block has them
        all."""
        parts, wanted = [self._held[:, :count]], count
        while (wanted := wanted - parts[-1].shape[1]) and (
            block := next(self._blocks, None)
        ) is not None:
            self._held = block
            parts.append(block[:, :wanted])
        self._held = self._held[:, parts[-1].shape[1] :]
        full = [part for part in parts if part.shape[1]] or parts[:1]
        return np.concatenate(full, axis=1) if len(full) > 1 else full[0]

    def drain(self) -> None:
        """Read to the end."""
        self._held = self._held[:, :0]
        for _ in self._blocks:
            pass


class Pairs:
    """Segments of both streams while both last."""

    def __init__(
        self, source: Iterable[Block], decoded: Iterable[Block], channels: int, segment: int
    ) -> None:
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
        # What one has more than the other is not compared, but it is read: errors at the end of a
        # file count.
        self._source.drain()
        self._decoded.drain()
