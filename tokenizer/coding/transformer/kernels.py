"""What lies between the products of the integer transformer, compiled by numba.

Whole numbers throughout, so the order in which a compiler adds them does not matter. Arrays are
float64 where a matrix product reads or writes them; they hold whole numbers.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from tokenizer.coding.base import TOTAL
from tokenizer.coding.kernels import compiled
from tokenizer.coding.transformer.reference import MEAN_BITS, SHARE_BITS
from tokenizer.coding.transformer.tables import FRACTION_BITS
from tokenizer.coding.transformer.weights import (
    NORM_EPS,
    SHIFT,
    STREAM_LIMIT,
    UNIT_BITS,
    UNIT_LIMIT,
)

_HALF = 1 << (SHIFT - 1)
_UNIT_HALF = 1 << (UNIT_BITS - 1)
_MASK = (1 << FRACTION_BITS) - 1
_FURTHEST = 62


@numba.njit(inline="always")
def _clip(value: Any, low: Any, high: Any) -> Any:
    return min(max(value, low), high)


@numba.njit(inline="always")
def _root(value: Any) -> Any:
    """`math.isqrt` of an int64: from a float's square root, put right by whole numbers."""
    root = np.int64(np.sqrt(np.float64(value)))
    while root * root > value:
        root -= 1
    while (root + 1) * (root + 1) <= value:
        root += 1
    return root


@numba.njit(inline="always")
def _power(below: Any, powers: Any) -> Any:
    negative = -below
    return powers[negative & _MASK] >> min(-(negative >> FRACTION_BITS), _FURTHEST)


@compiled
def norm(stream: Any, out: Any) -> None:
    """`reference.normed` of each row: int64 `[n, width]` to float64 `[n, width]`."""
    rows, width = stream.shape
    scale = _root(np.int64(width) << 32)
    for row in range(rows):
        total = np.int64(0)
        for at in range(width):
            total += stream[row, at]
        mean = total // width
        squares = np.int64(NORM_EPS * width)
        for at in range(width):
            centred = stream[row, at] - mean
            squares += centred * centred
        root = _root(squares << 12)
        for at in range(width):
            value = (stream[row, at] - mean) * scale // root
            out[row, at] = _clip(value, -UNIT_LIMIT, UNIT_LIMIT)


@compiled
def finish(sums: Any, factor: Any, bias: Any, low: Any, out: Any) -> None:
    """What a product gives, shifted, with its bias, clipped from `low` to `UNIT_LIMIT`: float64
    sums `[n, out]` to `out`, of any dtype."""
    for row in range(sums.shape[0]):
        for at in range(sums.shape[1]):
            value = ((np.int64(sums[row, at]) * factor[at] + _HALF) >> SHIFT) + bias[at]
            out[row, at] = _clip(value, low, UNIT_LIMIT)


@compiled
def finish_both(sums: Any, factor: Any, more: Any, others: Any, bias: Any, out: Any) -> None:
    """`finish` from 0, of two products added before the shift."""
    for row in range(sums.shape[0]):
        for at in range(sums.shape[1]):
            value = np.int64(sums[row, at]) * factor[at] + np.int64(more[row, at]) * others[at]
            out[row, at] = _clip(((value + _HALF) >> SHIFT) + bias[at], 0, UNIT_LIMIT)


@compiled
def add(sums: Any, factor: Any, bias: Any, stream: Any) -> None:
    """A product added to the residual stream: int64 `[n, width]`, in place."""
    for row in range(sums.shape[0]):
        for at in range(sums.shape[1]):
            value = ((np.int64(sums[row, at]) * factor[at] + _HALF) >> SHIFT) + bias[at]
            stream[row, at] = _clip(stream[row, at] + value, -STREAM_LIMIT, STREAM_LIMIT)


@numba.njit(inline="always")
def _see(
    query: Any, keys: Any, values: Any, distance: Any, powers: Any, scores: Any, out: Any
) -> Any:
    """One head of one frame: `[dims]` of keys and values `[frames, dims]`, the last its own."""
    frames, dims = keys.shape
    most = np.int64(-(1 << 62))
    for frame in range(frames):
        total = np.int64(0)
        for at in range(dims):
            total += np.int64(query[at]) * np.int64(keys[frame, at])
        score = ((total + _UNIT_HALF) >> UNIT_BITS) + distance[frames - 1 - frame]
        scores[frame] = score
        most = max(most, score)
    shares = np.int64(0)
    found = np.zeros(dims, np.int64)
    for frame in range(frames):
        share = _power(most - scores[frame], powers) >> MEAN_BITS
        if share:
            shares += share
            for at in range(dims):
                found[at] += share * values[frame, at]
    for at in range(dims):
        out[at] = found[at] // shares


@compiled
def attend_all(made: Any, heads: Any, distance: Any, powers: Any, out: Any) -> None:
    """Attention of whole segments: int16 `[B, T, 3 * width]` (queries, keys, values) to float64
    `[B, T, width]`."""
    batch, time, width = made.shape[0], made.shape[1], made.shape[2] // 3
    dims, past = width // heads, distance.shape[1]
    scores = np.empty(past, np.int64)
    for segment in range(batch):
        for head in range(heads):
            at = head * dims
            keys = made[segment, :, width + at : width + at + dims].copy()
            values = made[segment, :, 2 * width + at : 2 * width + at + dims].copy()
            for frame in range(time):
                first = max(0, frame + 1 - past)
                _see(
                    made[segment, frame, at : at + dims],
                    keys[first : frame + 1],
                    values[first : frame + 1],
                    distance[head],
                    powers,
                    scores,
                    out[segment, frame, at : at + dims],
                )


@compiled
def attend_next(
    made: Any, running: Any, cache: Any, frame: Any, distance: Any, powers: Any, out: Any
) -> None:
    """Attention of one more frame of many segments, which is put into their cache.

    Args:
        made: int16 `[n, 3 * width]`.
        running: int64 `[n]`, whose rows these are.
        cache: int16 `[B, 2, heads, 2 * past, dims]`. A frame is written twice, `past` apart, so
            that the last `past` of them always lie in one stretch.
        frame: number of the frame.
        out: float64 `[n, width]`.
    """
    width = made.shape[1] // 3
    heads, past, dims = cache.shape[2], distance.shape[1], cache.shape[4]
    scores = np.empty(past, np.int64)
    slot, count = frame % past, min(frame + 1, past)
    last = slot + past + 1
    for row in range(made.shape[0]):
        mine = cache[running[row]]
        for head in range(heads):
            at = head * dims
            for dim in range(dims):
                for kind in range(2):
                    value = made[row, (1 + kind) * width + at + dim]
                    mine[kind, head, slot, dim] = value
                    mine[kind, head, slot + past, dim] = value
            _see(
                made[row, at : at + dims],
                mine[0, head, last - count : last],
                mine[1, head, last - count : last],
                distance[head],
                powers,
                scores,
                out[row, at : at + dims],
            )


@numba.njit(inline="always")
def _spread(sums: Any, factor: Any, bias: Any, powers: Any, scores: Any, widths: Any) -> Any:
    """`reference.widths_of` of a row of sums, into `widths`."""
    size = sums.shape[0]
    most, top = np.int64(-(1 << 62)), 0
    for code in range(size):
        score = ((np.int64(sums[code]) * factor[code] + _HALF) >> SHIFT) + bias[code]
        scores[code] = score
        most = max(most, score)
    total = np.int64(0)
    for code in range(size):
        weight = _power(most - scores[code], powers)
        total += weight
        widths[code] = weight
    share = (np.int64(TOTAL - size) << SHARE_BITS) // total
    spent = np.int64(0)
    for code in range(size):
        width = (widths[code] * share >> SHARE_BITS) + 1
        widths[code] = width
        spent += width
    while scores[top] != most:
        top += 1
    widths[top] += TOTAL - spent


@compiled
def spread(sums: Any, factor: Any, bias: Any, powers: Any, out: Any) -> None:
    """Float64 sums `[n, size]` to widths uint32 `[n, size]`."""
    size = sums.shape[1]
    scores, widths = np.empty(size, np.int64), np.empty(size, np.int64)
    for row in range(sums.shape[0]):
        _spread(sums[row], factor, bias, powers, scores, widths)
        for code in range(size):
            out[row, code] = widths[code]


@compiled
def intervals(sums: Any, factor: Any, bias: Any, powers: Any, codes: Any, out: Any) -> None:
    """Float64 sums `[n, size]` to the widths below each row's code and its own: uint32 `[2, n]`."""
    size = sums.shape[1]
    scores, widths = np.empty(size, np.int64), np.empty(size, np.int64)
    for row in range(sums.shape[0]):
        _spread(sums[row], factor, bias, powers, scores, widths)
        below = np.int64(0)
        for code in range(codes[row]):
            below += widths[code]
        out[0, row] = below
        out[1, row] = widths[codes[row]]


@compiled
def take(entries: Any, shift: Any, codes: Any, below: Any) -> None:
    """Add the entries of codes `[n]` to sums: float64 `[n, table]`, in place."""
    for row in range(codes.shape[0]):
        for at in range(entries.shape[1]):
            below[row, at] += np.int64(entries[codes[row], at]) << shift
