"""The mean and variance that torch's GroupNorm takes of a whole signal on a CPU, bit for bit.

torch reads the signal channel by channel, in vectors of 8 numbers of which 16 are a chunk. Of a
chunk it gathers 8 means and sums of squares by Welford's algorithm, joins those of neighbours two
by two (T. F. Chan, G. H. Golub and R. J. LeVeque, 1979), and the eight that are left one after the
other. Here signals lie the other way round, `[rows, channels]`, and come stretch by stretch. So 16
channels are gathered side by side, each with the chunks that it has in torch's order; a chunk that
begins in one channel and ends in the next is gathered by itself.

Nothing promises torch's order. So it is tried out once, and where it does not hold something else
runs.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tokenizer.codecs.encodec.cpu.kernels import Floats, compiled_exactly
from tokenizer.codecs.encodec.cpu.vectors import (
    FUSES,
    LANES,
    first_of,
    fused,
    load,
    multiply_add,
    store,
    vector_at,
)

WIDTH, CHUNK = 8, 16
"""numbers of torch's vector, vectors of its chunk"""
ONE = np.float32(1.0)
TRIED = [(16, 64), (16, 480), (32, 296), (64, 150), (128, 22), (48, 1)]
"""channels and rows of signals that it is tried with"""
EPSILON = 1e-5
"""of these"""


class Parts(NamedTuple):
    """What is gathered of a signal, chunk by chunk."""

    under_way: Floats
    """float32 `[channels / LANES, 2, WIDTH, LANES]`: means and sums of squares of chunks that are
    not done; zero before the first row"""
    shares: Floats
    """float32 `[channels / LANES, CHUNK, LANES]`: one over how many vectors a chunk has, for rows
    by the eight"""
    done: Floats
    """float32 `[chunks, 2 * WIDTH]`"""


def count_chunks(numbers: int) -> int:
    """How many of torch's chunks so many numbers are, the last of which may be shorter."""
    return -(-numbers // (WIDTH * CHUNK))


def shares_of(rows: int, channels: int) -> Floats:
    """`Parts.shares` of a signal."""
    first = np.arange(channels)[:, None] * (rows // WIDTH)
    vectors = (first + np.arange(CHUNK)) % CHUNK + 1
    shares = ONE / vectors.astype(np.float32)
    return np.ascontiguousarray(shares.reshape(-1, LANES, CHUNK).transpose(0, 2, 1))


def goes_by_stretches(rows: int) -> bool:
    """Whether a signal of so many rows can be gathered by `gather`: no vector of torch's is in two
    channels."""
    return rows % WIDTH == 0


@intrinsic
def _take_in(
    _: Any, rows: Any, at: Any, step: Any, under_way: Any, place: Any, shares: Any, share_at: Any
) -> Any:
    """For numba: `WIDTH` rows of `LANES` channels, each row into its means and sums of squares."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        number = ir.IntType(64)
        source, target, shares_at = (
            first_of(context, builder, signature.args[i], values[i]) for i in (0, 3, 5)
        )
        share = load(builder, vector_at(builder, shares_at, values[6]))
        for row in range(WIDTH):
            there = builder.add(values[1], builder.mul(values[2], number(row)))
            mean_at, squares_at = (
                vector_at(builder, target, builder.add(values[4], number((half + row) * LANES)))
                for half in (0, WIDTH)
            )
            x, mean = load(builder, vector_at(builder, source, there)), load(builder, mean_at)
            difference = builder.fsub(x, mean)
            mean = multiply_add(builder, difference, share, mean)
            squares = multiply_add(
                builder, difference, builder.fsub(x, mean), load(builder, squares_at)
            )
            store(builder, mean, mean_at)
            store(builder, squares, squares_at)
        return context.get_dummy_value()

    place_of = types.intp
    takes = (rows, place_of, place_of, under_way, place_of, shares, place_of)
    return types.void(*takes), generate


_rows: Any = _take_in


@compiled_exactly
def gather(stretch: Floats, start: int, rows: int, parts: Parts) -> None:
    """Take in rows `start` and following, both a multiple of `WIDTH`, of a signal of so many."""
    count, channels = stretch.shape
    flat, under_way = stretch.reshape(-1), parts.under_way.reshape(-1)
    shares, done = parts.shares.reshape(-1), parts.done
    vectors, size = rows // WIDTH, 2 * WIDTH * LANES
    for block in range(channels // LANES):
        for i in range(count // WIDTH):
            vector = start // WIDTH + i
            _rows(
                flat,
                i * WIDTH * channels + block * LANES,
                channels,
                under_way,
                block * size,
                shares,
                (block * CHUNK + vector % CHUNK) * LANES,
            )
            for lane in range(LANES):
                there = (block * LANES + lane) * vectors + vector
                if there % CHUNK == CHUNK - 1 or vector == vectors - 1:
                    for number in range(2 * WIDTH):
                        place = block * size + number * LANES + lane
                        done[there // CHUNK, number] = under_way[place]
                        under_way[place] = 0.0


@compiled_exactly
def gather_between(signal: Floats, done: Floats) -> None:
    """Write the chunks that begin in one channel and end in another."""
    rows, channels = signal.shape
    vectors = rows // WIDTH
    for channel in range(1, channels):
        first = channel * vectors // CHUNK * CHUNK
        if first == channel * vectors:
            continue
        chunk = done[first // CHUNK]
        chunk[:] = 0.0
        for vector in range(first, min(first + CHUNK, channels * vectors)):
            share = ONE / np.float32(vector - first + 1)
            for i in range(WIDTH):
                place = vector * WIDTH + i
                _onto(chunk, i, share, signal[place % rows, place // rows])


@compiled_exactly
def gather_in_order(numbers: Floats, done: Floats) -> None:
    """Write all chunks of a signal's numbers, which are in torch's order."""
    done[:] = 0.0
    for vector in range(numbers.size // WIDTH):
        share = ONE / np.float32(vector % CHUNK + 1)
        for i in range(WIDTH):
            _onto(done[vector // CHUNK], i, share, numbers[vector * WIDTH + i])


@compiled_exactly
def _onto(chunk: Floats, i: int, share: np.float32, x: np.float32) -> None:
    difference = x - chunk[i]
    chunk[i] = fused(difference, share, chunk[i])
    chunk[WIDTH + i] = fused(difference, x - chunk[i], chunk[WIDTH + i])


@compiled_exactly
def _join(ours: Floats, mine: int, count: int, theirs: Floats, other: int, more: int) -> None:
    """Add a chunk of so many vectors, which lies in place `other`, to what lies in `mine`."""
    share, before = np.float32(more) / np.float32(count + more), np.float32(count)
    for i in range(WIDTH):
        difference = theirs[other, i] - ours[mine, i]
        part = difference * share
        squares = ours[mine, WIDTH + i] + theirs[other, WIDTH + i]
        ours[mine, WIDTH + i] = fused(part, difference * before, squares)
        ours[mine, i] = ours[mine, i] + part


@compiled_exactly
def joined(done: Floats, numbers: int) -> tuple[Any, Any]:
    """The mean and variance of so many numbers, a multiple of `WIDTH`, by their chunks."""
    chunks, vectors = done.shape[0], numbers // WIDTH
    depth = 1
    while (1 << depth) < chunks:
        depth += 1
    counts, stack = np.zeros(depth, np.int64), np.zeros((depth, 2 * WIDTH), np.float32)
    for i in range(chunks):
        more = min(CHUNK, vectors - i * CHUNK)
        _join(stack, 0, counts[0], done, i, more)
        counts[0] += more
        level, pairs = 1, i + 1
        while level < depth and pairs % 2 == 0:
            _join(stack, level, counts[level], stack, level - 1, counts[level - 1])
            counts[level] += counts[level - 1]
            counts[level - 1] = 0
            for number in range(2 * WIDTH):
                stack[level - 1, number] = 0.0
            level, pairs = level + 1, pairs // 2
    for level in range(1, depth):
        if counts[level]:
            _join(stack, 0, counts[0], stack, level, counts[level])
            counts[0] += counts[level]
    count, mean, squares = 0, np.float32(0.0), np.float32(0.0)
    for i in range(WIDTH):
        share, difference = np.float32(vectors) / np.float32(count + vectors), stack[0, i] - mean
        mean = fused(share, difference, mean)
        scaled = difference * difference * share
        squares = squares + fused(scaled, np.float32(count), stack[0, WIDTH + i])
        count += vectors
    return mean, squares / np.float32(numbers)


def moments(signal: Floats) -> tuple[np.float32, np.float32]:
    """Of float32 `[rows, channels]`, of which `channels` fill vectors."""
    rows, channels = signal.shape
    done = np.empty((count_chunks(signal.size), 2 * WIDTH), np.float32)
    if goes_by_stretches(rows):
        under_way = np.zeros((channels // LANES, 2, WIDTH, LANES), np.float32)
        gather(signal, 0, rows, Parts(under_way, shares_of(rows, channels), done))
        gather_between(signal, done)
    else:
        gather_in_order(np.ascontiguousarray(signal.T).reshape(-1), done)
    return joined_float32(done, signal.size)


def joined_float32(done: Floats, numbers: int) -> tuple[np.float32, np.float32]:
    """`joined`, whose results are float32 that numba hands over as Python's."""
    mean, variance = joined(done, numbers)
    return np.float32(mean), np.float32(variance)


def factors(
    mean: np.float32, variance: np.float32, gain: Floats, offset: Floats, epsilon: float
) -> tuple[Floats, Floats]:
    """What GroupNorm multiplies each channel by, and what it adds then, rounded once: float32
    `[channels]`."""
    deviation = np.sqrt(float(max(variance, np.float32(0.0))) + epsilon)
    scale: Floats = np.float32(1.0 / deviation) * gain
    shift = np.empty_like(scale)
    _multiply_add(-scale, np.full_like(scale, mean), offset, shift)
    return scale, shift


@compiled_exactly
def _multiply_add(x: Floats, scale: Floats, shift: Floats, out: Floats) -> None:
    for i in range(x.size):
        out[i] = fused(x[i], scale[i], shift[i])


@functools.cache
def are_torch_s() -> bool:
    """Whether torch gives the same bits here. Its norms do not depend on its number of threads."""
    if not FUSES:
        return False
    source = np.random.default_rng(0)
    return all(_is_same(signal) for shape in TRIED for signal in _tried(source, *shape))


def _tried(source: np.random.Generator, channels: int, rows: int) -> list[Floats]:
    """Signals whose channels differ, and whose numbers do by their place in torch's vectors, so
    that each rounding shows."""
    found = []
    for apart in range(4):
        levels = np.exp(source.standard_normal((channels, 1)))
        x = 0.3 * levels * source.standard_normal((channels, rows))
        x += source.standard_normal((channels, 1))
        x += np.resize(apart * source.standard_normal(WIDTH), x.size).reshape(x.shape)
        found.append(np.ascontiguousarray(x.astype(np.float32).T))
    return found


def _is_same(signal: Floats) -> bool:
    rows, channels = signal.shape
    there = torch.from_numpy(np.ascontiguousarray(signal.T))[None]
    gain, offset = there[0, :, 0].clone(), there[0, :, -1].clone()
    expected = torch.native_group_norm(there, gain, offset, 1, channels, rows, 1, EPSILON)
    found = np.empty(signal.size, np.float32)
    scale, shift = factors(*moments(signal), gain.numpy(), offset.numpy(), EPSILON)
    _multiply_add(signal.reshape(-1), np.tile(scale, rows), np.tile(shift, rows), found)
    return bool(np.array_equal(found.reshape(rows, channels).T, expected[0][0].numpy()))
