"""The inner loops of the arithmetic coder, compiled by numba: integers only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np

Function = TypeVar("Function", bound=Callable[..., object])

SHIFT = np.uint64(20)
TOTAL = np.uint64(1 << 20)
TOP = np.uint64(1 << 56)
"""`low` and `span` are below it, or equal; a carry is beyond it"""
BOTTOM = np.uint64(1 << 48)
"""below it, `span` gives its upper byte away"""
MASK = np.uint64((1 << 56) - 1)
BYTE, UPPER = np.uint64(8), np.uint64(48)
ZERO, ONE = np.uint64(0), np.uint64(1)


def compiled(function: Function) -> Function:
    """Compile at the first call, and keep the result on disk where there is a place for it."""
    options: dict[str, Any] = {"nogil": True}
    try:
        kernel: Function = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither beside the package nor in the user's cache can be written
        kernel = numba.njit(**options)(function)
    return kernel


@numba.njit(inline="always")
def carry(out: Any, at: Any) -> Any:
    """Add one to the number that the bytes before `at` are."""
    at -= 1
    while out[at] == 255:
        out[at] = 0
        at -= 1
    out[at] += 1


@compiled
def write(lows: Any, widths: Any, out: Any) -> Any:
    """Code a segment.

    Args:
        lows: uint32 `[n_q, frames]`.
        widths: uint32 `[n_q, frames]`, each at least 1.
        out: uint8, 3 bytes a code and 16 more.

    Returns:
        bytes written.
    """
    low, span, at = ZERO, TOP, 0
    for frame in range(lows.shape[1]):
        for level in range(lows.shape[0]):
            part = span >> SHIFT
            low += part * np.uint64(lows[level, frame])
            span = part * np.uint64(widths[level, frame])
            if low >= TOP:
                carry(out, at)
                low &= MASK
            while span < BOTTOM:
                out[at] = low >> UPPER
                at += 1
                low = (low << BYTE) & MASK
                span <<= BYTE
    # The shortest number of the interval; what follows the end is read as zeros.
    for count in range(8):
        rest = (ONE << np.uint64(56 - 8 * count)) - ONE
        value = (low + rest) & ~rest
        if value - low < span:
            break
    if value >= TOP:
        carry(out, at)
        value &= MASK
    for place in range(count):
        out[at] = (value >> np.uint64(48 - 8 * place)) & np.uint64(255)
        at += 1
    return at


@compiled
def start(data: Any, places: Any, ends: Any, codes: Any) -> Any:
    """Take the first bytes of every stream: `places` moves on."""
    for stream in range(len(places)):
        code = ZERO
        for _ in range(7):
            code <<= BYTE
            if places[stream] < ends[stream]:
                code |= np.uint64(data[places[stream]])
            places[stream] += 1
        codes[stream] = code


@compiled
def read(
    widths: Any,
    running: Any,
    data: Any,
    places: Any,
    ends: Any,
    codes: Any,
    spans: Any,
    broken: Any,
    out: Any,
) -> Any:
    """Decode one code of each running stream.

    Args:
        widths: uint32 `[running, size]`.
        running: int64: which streams these are.
        data: uint8: all streams.
        places: int64 `[streams]`: what is read next.
        ends: int64 `[streams]`.
        codes: uint64 `[streams]`: where in its span each stream is.
        spans: uint64 `[streams]`.
        broken: bool `[streams]`: set for what no encoder has written; 0 is given from there on.
        out: uint16 `[running]`.
    """
    for row in range(len(running)):
        stream = running[row]
        out[row] = 0
        if broken[stream]:
            continue
        part = spans[stream] >> SHIFT
        wanted = codes[stream] // part
        if wanted >= TOTAL:
            broken[stream] = True
            continue
        low, found = ZERO, 0
        width = np.uint64(widths[row, 0])
        while low + width <= wanted:
            low += width
            found += 1
            width = np.uint64(widths[row, found])
        out[row] = found
        code, span = codes[stream] - part * low, part * width
        while span < BOTTOM:
            code <<= BYTE
            if places[stream] < ends[stream]:
                code |= np.uint64(data[places[stream]])
            places[stream] += 1
            span <<= BYTE
        codes[stream], spans[stream] = code, span


@compiled
def read_fixed(
    lows: Any,
    offsets: Any,
    frames: Any,
    data: Any,
    places: Any,
    ends: Any,
    codes: Any,
    spans: Any,
    broken: Any,
    out: Any,
) -> Any:
    """Decode whole streams whose widths never change; as `read` otherwise.

    Args:
        lows: uint32: of each level one after the other the sums of the widths below each code, and
            of all.
        offsets: int64 `[levels + 1]`: where each level's begin.
        frames: int64 `[streams]`.
        out: uint16 `[streams, levels, frames]`.
    """
    for stream in range(len(frames)):
        code, span = codes[stream], spans[stream]
        for frame in range(frames[stream]):
            for level in range(len(offsets) - 1):
                part = span >> SHIFT
                wanted = code // part
                if wanted >= TOTAL:
                    broken[stream] = True
                    break
                first, last = offsets[level], offsets[level + 1] - 1
                while last - first > 1:
                    middle = (first + last) >> 1
                    if np.uint64(lows[middle]) <= wanted:
                        first = middle
                    else:
                        last = middle
                out[stream, level, frame] = first - offsets[level]
                low = np.uint64(lows[first])
                code -= part * low
                span = part * (np.uint64(lows[first + 1]) - low)
                while span < BOTTOM:
                    code <<= BYTE
                    if places[stream] < ends[stream]:
                        code |= np.uint64(data[places[stream]])
                    places[stream] += 1
                    span <<= BYTE
            if broken[stream]:
                break
