"""Codes in 10 bits each: the first code in the lowest bits of the first byte."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tokenizer.ecdc.models import BITS

_TOGETHER = 4
"""codes that fill whole bytes"""
_BYTES = _TOGETHER * BITS // 8
_SHIFTS = np.arange(_TOGETHER, dtype=np.uint64) * np.uint64(BITS)


def packed(codes: NDArray[np.uint16]) -> bytes:
    """Codes `[n]`, all below 1,024, as `ceil(n * 10 / 8)` bytes; bits that are left are zero."""
    groups = np.pad(codes, (0, -len(codes) % _TOGETHER)).reshape(-1, _TOGETHER)
    words = np.bitwise_or.reduce(groups.astype(np.uint64) << _SHIFTS, axis=1)
    held: bytes = words.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :_BYTES].tobytes()
    return held[: -(-len(codes) * BITS // 8)]


def unpacked(held: bytes, count: int) -> NDArray[np.uint16]:
    """The way back: `count` codes, uint16 `[count]`.

    Raises:
        ValueError: bits behind the last code that are not zero.
    """
    space = np.zeros((-(-count // _TOGETHER), _BYTES), np.uint8)
    space.reshape(-1)[: len(held)] = np.frombuffer(held, np.uint8)
    words = np.zeros((len(space), 8), np.uint8)
    words[:, :_BYTES] = space
    wide = words.view("<u8") >> _SHIFTS & np.uint64((1 << BITS) - 1)
    codes: NDArray[np.uint16] = wide.astype(np.uint16).ravel()
    if codes[count:].any():
        raise ValueError("bits behind its last code are not zero")
    return codes[:count]
