"""Blocks of samples as arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def joined(blocks: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """One block of several, each float32 `[channels, n]`."""
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)


def transposed(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """`[a, b]` to `[b, a]` without gaps, one of the two being a few channels: row by row is the
    fast way."""
    result = np.empty(block.shape[::-1], np.float32)
    if block.shape[0] < block.shape[1]:
        for i, row in enumerate(block):
            result[:, i] = row
    else:
        for i, row in enumerate(result):
            row[:] = block[:, i]
    return result
