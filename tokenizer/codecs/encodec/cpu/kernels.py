"""What lies between a CPU's matrix products, in one pass over memory each: compiled by numba, which
releases Python's lock.

As separate tensor operations the same arithmetic passes over a tile six to ten times, and costs as
much again in calls.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., object])
Floats = NDArray[np.float32]

LOG2_E = np.float32(1.44269504)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
LOWEST = np.float32(-80.0)
"""below it, a float32's `exp(x) - 1` is -1 by far, and `exp(x)` not yet denormal"""
ZERO, ONE, TINY, LEAST = np.float32(0.0), np.float32(1.0), np.float32(1e-20), np.float32(-np.inf)
LANES = 64
"""greatest scores that are kept side by side while a row is searched: several of them fit into one
instruction"""


def compiled(function: Function, freedom: frozenset[str] = frozenset({"contract"})) -> Function:
    """Compile at the first call, and keep the result on disk where there is a place for it.

    Args:
        function: in the part of Python that numba compiles.
        freedom: what LLVM may change about arithmetic. Fused multiply-adds are always fine; NaN
            must come through where nobody has looked for it before.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": set(freedom), "error_model": "numpy"}
    try:
        kernel: Function = numba.njit(cache=True, **options)(function)
    except (
        RuntimeError
    ):  # neither beside the package nor in the user's cache folder can anything be written
        kernel = numba.njit(**options)(function)
    return kernel


compiled_for_finite = partial(compiled, freedom=frozenset({"contract", "nnan", "nsz", "reassoc"}))
"""For numbers without NaN, and sums whose order is free."""
compiled_exactly = partial(compiled, freedom=frozenset())
"""For arithmetic of which every rounding is meant."""
summing = partial(compiled, freedom=frozenset({"contract", "nsz", "reassoc"}))
"""For sums whose order is free, of numbers that nobody has looked at."""


@numba.njit(inline="always")
def elu(x: Any) -> Any:
    """`x`, or `exp(x) - 1` below zero: Cephes' polynomial for `expf` (S. Moshier), its last 1 taken
    off without cancellation."""
    low = min(max(x, LOWEST), ZERO)
    power = np.rint(low * LOG2_E)
    rest = low - power * LN2_HIGH - power * LN2_LOW
    series = np.float32(1.9875691500e-4) * rest + np.float32(1.3981999507e-3)
    series = series * rest + np.float32(8.3334519073e-3)
    series = series * rest + np.float32(4.1665795894e-2)
    series = series * rest + np.float32(1.6666665459e-1)
    series = series * rest + np.float32(5.0000001201e-1)
    less_one = series * (rest * rest) + rest
    scale = np.int32((np.int32(power) + np.int32(127)) << np.int32(23)).view(np.float32)
    return less_one * scale + (scale - ONE) if x <= ZERO else x


@compiled
def read_one(term: Floats, scale: Floats, shift: Floats, out: Floats, activate: bool) -> None:
    """`out = term * scale + shift`, or its ELU. `term` and `out` are float32 `[n]`; factors repeat
    every `scale.size` numbers."""
    width = scale.size
    for begin in range(0, out.size, width):
        count = min(width, out.size - begin)
        ours, its = out[begin : begin + count], term[begin : begin + count]
        if activate:
            for i in range(count):
                ours[i] = elu(its[i] * scale[i] + shift[i])
        else:
            for i in range(count):
                ours[i] = its[i] * scale[i] + shift[i]


@compiled
def read_two(
    one: Floats,
    one_scale: Floats,
    two: Floats,
    two_scale: Floats,
    shift: Floats,
    out: Floats,
    activate: bool,
) -> None:
    """`out = one * one_scale + two * two_scale + shift`, or its ELU, as `read_one`."""
    width = one_scale.size
    for begin in range(0, out.size, width):
        count = min(width, out.size - begin)
        ours, first, second = (
            out[begin : begin + count],
            one[begin : begin + count],
            two[begin : begin + count],
        )
        if activate:
            for i in range(count):
                ours[i] = elu(first[i] * one_scale[i] + (second[i] * two_scale[i] + shift[i]))
        else:
            for i in range(count):
                ours[i] = first[i] * one_scale[i] + (second[i] * two_scale[i] + shift[i])


@summing
def moments(values: Floats, bias: Floats, channels: int) -> tuple[float, float]:
    """Mean of `values + bias`, and the sum of the squares of what is left when it is taken off,
    both in float64.

    Neither can cancel. Sums are of differences from a pivot, the mean of the first row: the mean
    square of these is the variance plus the squared distance from pivot to mean, and as one row of
    `rows` lies about the pivot, that distance squared is at most `rows` times the variance. Of
    float64's 16 digits a tile's 131,072 numbers cost five at the worst.

    Args:
        values: float32 `[rows * channels]`.
        bias: float32, a number per channel, repeated as the factors of `read_one` are.
        channels: of a row.
    """
    width = bias.size
    pivot, total, squares = 0.0, 0.0, 0.0
    for i in range(channels):
        pivot += np.float64(values[i]) + np.float64(bias[i])
    pivot /= channels
    for begin in range(0, values.size, width):
        count = min(width, values.size - begin)
        ours = values[begin : begin + count]
        for i in range(count):
            difference = np.float64(ours[i]) + (np.float64(bias[i]) - pivot)
            total += difference
            squares += difference * difference
    shift = total / values.size
    return pivot + shift, max(squares - total * shift, 0.0)


@compiled_for_finite
def take_nearest(
    scores: Floats,
    half_squares: Floats,
    codebook: Floats,
    residual: Floats,
    moved: Floats,
    codes: NDArray[np.int64],
    certainty: Floats,
    score_noise: float,
) -> None:
    """Choose an entry for every frame, take it off the frame, and lower the frame's certainty to
    this choice's.

    Args:
        scores: float32 `[frames, entries]`: products of frames and entries; is written over.
        half_squares: float32 `[entries]`: half of every entry's squared size.
        codebook: float32 `[entries, dim]`.
        residual: float32 `[frames, dim]`; the chosen entries are subtracted from it.
        moved: float32 `[frames]`, see `tokenizer.codecs.encodec.certainty.noise`.
        codes: int64 `[frames]`, written.
        certainty: float32 `[frames]`, see `tokenizer.codecs.encodec.quantizer.quantize`; lowered.
        score_noise: `SCORE_NOISE` from there.
    """
    frames, entries = scores.shape
    tops = np.empty(min(LANES, entries), np.float32)
    for frame in range(frames):
        row, ours = scores[frame], residual[frame]
        tops[:] = LEAST
        for begin in range(0, entries, LANES):
            part, half = row[begin : begin + LANES], half_squares[begin : begin + LANES]
            for i in range(part.size):
                score = part[i] - half[i]
                part[i] = score
                tops[i] = score if score > tops[i] else tops[i]
        best, code = search(row, tops)
        row[code] = LEAST
        lane = code % LANES
        tops[lane] = LEAST
        for i in range(lane, entries, LANES):
            tops[lane] = max(tops[lane], row[i])
        second, other = search(row, tops)
        first, next_one, apart, size = codebook[code], codebook[other], ZERO, ZERO
        for i in range(ours.size):
            difference = first[i] - next_one[i]
            apart += difference * difference
            size += ours[i] * ours[i]
            ours[i] -= first[i]
        bound = max(np.hypot(moved[frame] * np.sqrt(apart), np.float32(score_noise) * size), TINY)
        certainty[frame] = min(certainty[frame], np.float32(2.0) * (best - second) / bound)
        codes[frame] = code


@numba.njit(inline="always")
def search(row: Floats, tops: Floats) -> Any:
    """The greatest number of a row and its place, from the greatest of each lane: of every
    `LANES`th number."""
    lane = 0
    for i in range(1, tops.size):
        if tops[i] > tops[lane]:
            lane = i
    place = lane
    while place + LANES < row.size and row[place] != tops[lane]:
        place += LANES
    return tops[lane], place
