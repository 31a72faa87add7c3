"""Which recording comes when: a function of (seed, position), with no state to keep.

A permutation of `[0, n)` is computed at any one point: a Feistel network over the smallest even
number of bits that holds `n` (Luby and Rackoff 1988), walked again while it lands outside (cycle
walking: Black and Rogaway 2002). It is keyed by seed and epoch, so every epoch shuffles anew, and
the billionth position costs as much as the first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 8
_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def mix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014): every bit of the input moves every bit
    of the output."""
    values = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ values >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return values ^ values >> np.uint64(31)


@lru_cache(maxsize=1024)
def key_of(*parts: int) -> int:
    """One 64-bit key from several integers, in their order."""
    key = 0
    for part in parts:
        key = int(mix64(np.array([(key * _GOLDEN + part + _GOLDEN) & _MASK], np.uint64))[0])
    return key


def draw(key: int, positions: NDArray[np.int64], limits: NDArray[np.int64]) -> NDArray[np.int64]:
    """One number in `[0, limit)` for each position: a function of key and position alone."""
    raw = mix64(positions.astype(np.uint64) * np.uint64(_GOLDEN) ^ np.uint64(key))
    # 53 bits scaled: limits here are numbers of chunks, far below 2**53, so that the bias is below
    # 2**-30.
    return ((raw >> np.uint64(11)).astype(np.float64) * 2.0**-53 * limits).astype(np.int64)


def permute(positions: NDArray[np.int64], size: int, key: int) -> NDArray[np.int64]:
    """Where a keyed permutation of `[0, size)` puts positions, int64 of the same shape."""
    half = np.uint64(max(1, (max(size - 1, 1).bit_length() + 1) // 2))
    keys = _round_keys(key)
    result = positions.astype(np.uint64)
    outside = np.ones(result.shape, bool)
    while outside.any():
        result[outside] = _feistel(result[outside], half, keys)
        outside = result >= size
    return result.astype(np.int64)


@lru_cache(maxsize=64)
def _round_keys(key: int) -> NDArray[np.uint64]:
    return mix64(np.uint64(key) + np.arange(1, _ROUNDS + 1, dtype=np.uint64) * np.uint64(_GOLDEN))


def _feistel(
    values: NDArray[np.uint64], half: np.uint64, keys: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & mask
    for key in keys:
        left, right = right, left ^ mix64(right ^ key) & mask
    return left << half | right


class Order(ABC):
    """The recordings of one data set, epoch after epoch: each once an epoch."""

    def __init__(self, rows: int, key: int) -> None:
        self.rows = rows
        self._key = key

    def __call__(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The recordings at positions of the endless stream, int64 of the same shape."""
        epochs, within = np.divmod(positions, self.rows)
        result = np.empty_like(within)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            result[here] = self._epoch(epoch, within[here])
        return result

    @abstractmethod
    def _epoch(self, epoch: int, positions: NDArray[np.int64]) -> NDArray[np.int64]: ...


class FullShuffle(Order):
    """A permutation of all recordings."""

    def _epoch(self, epoch: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        return permute(positions, self.rows, key_of(self._key, epoch))


class BlockShuffle(Order):
    """Shards in shuffled order, a block of them at a time, and all recordings of a block shuffled:
    for shards that have to be fetched, of which only a few should be in use at once."""

    def __init__(self, shard_rows: Sequence[int], key: int, block: int = 8) -> None:
        super().__init__(sum(shard_rows), key)
        self._shard_rows = np.asarray(shard_rows, np.int64)
        self._first_rows = np.cumsum(self._shard_rows) - self._shard_rows
        self._block = block
        self._shards_of = lru_cache(maxsize=2)(self._shuffle_shards)

    def _shuffle_shards(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Shards as they come, and the first position of each, with the number of all at the
        end."""
        count = len(self._shard_rows)
        shards = permute(np.arange(count), count, key_of(self._key, epoch, 1))
        return shards, np.concatenate([[0], np.cumsum(self._shard_rows[shards])])

    def _epoch(self, epoch: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        shards, starts = self._shards_of(epoch)
        blocks = (np.searchsorted(starts, positions, "right") - 1) // self._block
        result = np.empty_like(positions)
        for block in np.unique(blocks).tolist():
            here = blocks == block
            first, last = block * self._block, min(len(shards), (block + 1) * self._block)
            size = int(starts[last] - starts[first])
            shuffled = starts[first] + permute(
                positions[here] - starts[first], size, key_of(self._key, epoch, 2, block)
            )
            place = np.searchsorted(starts, shuffled, "right") - 1
            result[here] = self._first_rows[shards[place]] + shuffled - starts[place]
        return result


class InOrder(Order):
    """As they lie in the shards: for validation."""

    def _epoch(self, epoch: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        return positions
