"""Stretches of normalised signals, laid out for products, convolved, and gathered for the next
norm, in one pass."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

from tokenizer.codecs.encodec.chunks.moments import Parts, gather
from tokenizer.codecs.encodec.cpu.kernels import Floats, compiled_exactly
from tokenizer.codecs.encodec.cpu.products import multiply_panels
from tokenizer.codecs.encodec.cpu.same_elu import elu_of, lay_out
from tokenizer.codecs.encodec.cpu.vectors import (
    LANES,
    first_of,
    load,
    multiply_add,
    store,
    vector_at,
)


class Terms(NamedTuple):
    """A signal: `first * scale + shift`, or the sum of two of these, each rounded by itself."""

    first: Floats
    """float32 `[rows, channels]`"""
    scale: Floats
    """float32 `[channels]`"""
    shift: Floats
    """likewise"""
    second: Floats
    """as `first`; the same where there is no second"""
    second_scale: Floats
    second_shift: Floats


class How(NamedTuple):
    """A layer takes its input."""

    is_plain: bool
    """as `first` is, without scale and shift"""
    is_sum: bool
    activates: bool
    """its ELU; not of a plain one"""
    fold: int
    """the row around which its end is reflected; below zero, what is outside is silence"""
    left: int
    """rows before it"""
    reach: int
    """rows that an output is made of"""
    stride: int
    block: int
    """channels that lie side by side"""


class Product(NamedTuple):
    """As `tokenizer.codecs.encodec.cpu.products.multiply_panels` takes it."""

    numbers: Floats
    bias: Floats
    shape: tuple[int, int, int]
    how: int
    then: int


def _taking(is_sum: bool, activates: bool) -> Any:
    """A function for numba: a vector of a signal, or its ELU."""

    @intrinsic
    def take(
        _: Any,
        first: Any,
        scale: Any,
        shift: Any,
        second: Any,
        second_scale: Any,
        second_shift: Any,
        at: Any,
        channel: Any,
        target: Any,
        target_at: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            def at_place(number: int, place: Any) -> Any:
                first = first_of(context, builder, signature.args[number], values[number])
                return vector_at(builder, first, place)

            def term(number: int) -> Any:
                places = (values[6], values[7], values[7])
                numbers = (
                    load(builder, at_place(number + i, place)) for i, place in enumerate(places)
                )
                return multiply_add(builder, *numbers)

            x = term(0)
            if is_sum:
                x = builder.fadd(x, term(3))
            x = elu_of(builder, x) if activates else x
            store(builder, x, at_place(8, values[9]))
            return context.get_dummy_value()

        arrays = (first, scale, shift, second, second_scale, second_shift)
        place = types.intp
        return types.void(*arrays, place, place, target, place), generate

    return take


_one, _one_s_elu = _taking(False, False), _taking(False, True)
_two, _two_s_elu = _taking(True, False), _taking(True, True)


@numba.njit(inline="always")
def _take(
    a: Any,
    b: Any,
    c: Any,
    x: Any,
    y: Any,
    z: Any,
    is_sum: Any,
    activates: Any,
    at: Any,
    channel: Any,
    out: Any,
    there: Any,
) -> None:
    """A vector of what `Terms` has, without shape, into `out`."""
    if is_sum and activates:
        _two_s_elu(a, b, c, x, y, z, at, channel, out, there)
    elif is_sum:
        _two(a, b, c, x, y, z, at, channel, out, there)
    elif activates:
        _one_s_elu(a, b, c, x, y, z, at, channel, out, there)
    else:
        _one(a, b, c, x, y, z, at, channel, out, there)


@compiled_exactly
def lay_out_terms(
    terms: Terms, how: How, start: int, count: int, blocks: Floats, wide: int
) -> None:
    """Rows from `start` on, which may be outside, to float32 `[channels / block, wide, block]`."""
    length, channels = terms.first.shape
    a, b, c = terms.first.reshape(-1), terms.scale, terms.shift
    x, y, z = terms.second.reshape(-1), terms.second_scale, terms.second_shift
    size, fold, is_sum, activates = how.block, how.fold, how.is_sum, how.activates
    spare, together = np.empty(LANES, np.float32), max(size, LANES)
    for channel in range(0, channels, together):
        for row in range(count):
            place, there = start + row, channel * wide + row * size
            if place < 0 or place >= length:
                place = fold - abs(fold - abs(place))
            at = place * channels + channel
            if place < 0 or place >= length:
                _clear(blocks, there, size, together, wide)
            elif size < LANES:
                _take(a, b, c, x, y, z, is_sum, activates, at, channel, spare, 0)
                for i in range(LANES):
                    blocks[there + i // size * wide * size + i % size] = spare[i]
            else:
                for i in range(0, size, LANES):
                    column, target = channel + i, there + i
                    _take(a, b, c, x, y, z, is_sum, activates, at + i, column, blocks, target)


@numba.njit(inline="always")
def _clear(blocks: Any, there: Any, size: Any, together: Any, wide: Any) -> None:
    """Silence in a row of blocks that lie `wide` rows apart."""
    for begin in range(0, together, size):
        for i in range(size):
            blocks[there + begin * wide + i] = 0.0


@compiled_exactly
def convolve(
    terms: Terms, how: How, product: Product, most: int, blocks: Floats, out: Floats, parts: Parts
) -> None:
    """A convolution's output before its norm, and what is gathered of it.

    Args:
        terms: the input.
        how: see there.
        product: the weights.
        most: rows of the output that are computed at a time; a multiple of torch's vector, or all.
        blocks: float32, room for the input of these.
        out: float32 `[rows, out]`, written.
        parts: of a whole output, its own; without chunks, nothing is gathered.
    """
    rows, wide = len(out), (most - 1) * how.stride + how.reach
    length, channels = terms.first.shape
    size = wide * how.block
    laid = blocks[: channels // how.block * size]
    for start in range(0, rows, most):
        stretch = out[start : start + most]
        count, first = (len(stretch) - 1) * how.stride + how.reach, start * how.stride - how.left
        if how.is_plain:
            shaped = laid.reshape(-1, wide, how.block)
            lay_out(terms.first, 0, length, how.fold, first, count, shaped, False)
        else:
            lay_out_terms(terms, how, first, count, laid, wide)
        numbers, bias, shape, begins, then = product
        step, apart = how.stride * how.block, shape[1] if how.block == channels else size
        multiply_panels(blocks, step, apart, numbers, bias, shape, stretch, begins, then, False)
        if len(parts.done):
            gather(stretch, start, rows, parts)
