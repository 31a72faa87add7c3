"""ELU with torch's bits, 1.7 times as fast.

torch takes `exp(x) - 1` of whole vectors from SLEEF's `expm1f` (N. Shibata and F. Petrogalli, IEEE
TPDS 31(6), 2020, doi 10.1109/TPDS.2019.2960333). Every bit of it counts here, so this is SLEEF's
own arithmetic, on pairs `high + low` of float32 that have twice the digits. Where it is known which
of two numbers is the greater, three operations give their sum and what was rounded off, in place of
SLEEF's six: the same two numbers. `benchmarks/elu.py` compares all float32 with torch.

Nothing promises that torch keeps to this. So it is tried out once, and torch's own runs otherwise.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from torch.nn import functional

from tokenizer.codecs.encodec.cpu.kernels import Floats, compiled_exactly
from tokenizer.codecs.encodec.cpu.vectors import (
    FUSES,
    LANES,
    VECTOR,
    first_of,
    load,
    multiply_add,
    store,
    vector_at,
)

_code: Any = cgutils
LOG2_E = 1.442695040888963407359924681001892137426645954152985934135449406931
LN2_HIGH, LN2_LOW = 0.693145751953125, 1.428606765330187045e-06
SERIES = (0.1980960224e-3, 0.1394256484e-2, 0.8333456703e-2, 0.4166637361e-1)
THIRD = 0.166666659414234244790680580464
LOWEST = -16.635532333438687426013570
"""below it, the result is -1"""
EXPONENT_BITS, BIAS = 23, 127
"""of a float32: where its exponent begins, and what is added to it"""
TRIED, TRIED_STEP = 1 << 15, 131_101
"""float32 that torch is asked for, and how far apart their bits are"""


class _Pair(NamedTuple):
    """`high + low`, as LLVM's values."""

    high: Any
    low: Any


class _Arithmetic:
    """Writes instructions for a vector."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder

    def elu(self, x: Any) -> Any:
        """`x`, or `exp(x) - 1` below zero."""
        builder = self._builder
        less_one = builder.select(self._below(x, LOWEST), self._number(-1.0), self._less_one(x))
        return builder.select(self._below(x, 0.0), less_one, x)

    def _less_one(self, x: Any) -> Any:
        """`exp(x) - 1` of what is neither above zero nor far below."""
        builder = self._builder
        power = self._nearest(builder.fmul(x, self._number(LOG2_E)))
        near = multiply_add(builder, power, self._number(-LN2_HIGH), x)  # without rounding
        rest = self._sum(near, builder.fmul(power, self._number(-LN2_LOW)))
        scale = self._two_to(power)
        high, low = (builder.fmul(part, scale) for part in self._exp(rest))
        result = self._onto(self._number(-1.0), _Pair(high, low))
        return builder.fadd(*result)

    def _exp(self, x: _Pair) -> _Pair:
        """Of `x` between -0.35 and 0.35."""
        first, *others = SERIES
        tail = self._number(first)
        for factor in others:
            tail = multiply_add(self._builder, tail, x.high, self._number(factor))
        third = self._onto(self._number(THIRD), self._by_number(x, tail))
        half = self._onto(self._number(0.5), self._product(x, third))
        square = self._product(self._square(x), half)
        high, off = self._greater_first(x.high, square.high)
        low = self._builder.fadd(off, self._builder.fadd(x.low, square.low))
        return self._onto(self._number(1.0), _Pair(high, low))

    def _onto(self, number: Any, pair: _Pair) -> _Pair:
        """Their sum, of a number that is the greater."""
        high, off = self._greater_first(number, pair.high)
        return _Pair(high, self._builder.fadd(off, pair.low))

    def _greater_first(self, x: Any, y: Any) -> _Pair:
        """Their sum and what was rounded off (T. J. Dekker, 1971)."""
        builder = self._builder
        high = builder.fadd(x, y)
        return _Pair(high, builder.fadd(builder.fsub(x, high), y))

    def _sum(self, x: Any, y: Any) -> _Pair:
        """Likewise, whichever is the greater (D. E. Knuth)."""
        builder = self._builder
        high = builder.fadd(x, y)
        part = builder.fsub(high, x)
        other = builder.fsub(x, builder.fsub(high, part))
        return _Pair(high, builder.fadd(other, builder.fsub(y, part)))

    def _by_number(self, x: _Pair, y: Any) -> _Pair:
        high, off = self._times(x.high, y)
        return _Pair(high, multiply_add(self._builder, x.low, y, off))

    def _square(self, x: _Pair) -> _Pair:
        high, off = self._times(x.high, x.high)
        twice = self._builder.fadd(x.high, x.high)
        return _Pair(high, multiply_add(self._builder, twice, x.low, off))

    def _product(self, x: _Pair, y: _Pair) -> _Pair:
        high, off = self._times(x.high, y.high)
        off = multiply_add(self._builder, x.low, y.high, off)
        return _Pair(high, multiply_add(self._builder, x.high, y.low, off))

    def _times(self, x: Any, y: Any) -> _Pair:
        """Their product and what was rounded off."""
        builder = self._builder
        high = builder.fmul(x, y)
        return _Pair(high, multiply_add(builder, x, y, builder.fneg(high)))

    def _nearest(self, x: Any) -> Any:
        kind = ir.FunctionType(VECTOR, [VECTOR])
        name = f"llvm.rint.v{LANES}f32"
        return self._builder.call(
            _code.get_or_insert_function(self._builder.module, kind, name), [x]
        )

    def _two_to(self, power: Any) -> Any:
        builder, kind = self._builder, ir.VectorType(ir.IntType(32), LANES)
        biased = builder.add(builder.fptosi(power, kind), ir.Constant(kind, [BIAS] * LANES))
        bits = builder.shl(biased, ir.Constant(kind, [EXPONENT_BITS] * LANES))
        return builder.bitcast(bits, VECTOR)

    def _below(self, x: Any, number: float) -> Any:
        return self._builder.fcmp_ordered("<", x, self._number(number))

    def _number(self, number: float) -> Any:
        return ir.Constant(VECTOR, [float(np.float32(number))] * LANES)


def elu_of(builder: Any, vector: Any) -> Any:
    """Write the instructions."""
    return _Arithmetic(builder).elu(vector)


@intrinsic
def _elu_of_vector(_: Any, source: Any, source_at: Any, target: Any, target_at: Any) -> Any:
    """For numba: from a vector of one float32 array to one of another."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kinds = signature.args
        its, ours = (
            vector_at(
                builder,
                first_of(context, builder, kinds[i], values[i]),
                values[i + 1],
            )
            for i in (0, 2)
        )
        store(builder, elu_of(builder, load(builder, its)), ours)
        return context.get_dummy_value()

    return types.void(source, types.intp, target, types.intp), generate


_vector: Any = _elu_of_vector


@compiled_exactly
def _in_place(x: Floats) -> None:
    for i in range(0, x.size, LANES):
        _vector(x, i, x, i)


@compiled_exactly
def lay_out(
    rows: Floats,
    at: int,
    length: int,
    fold: int,
    start: int,
    count: int,
    blocks: Floats,
    activates: bool,
) -> None:
    """A stretch of a signal, with what is padded, so that channels lie side by side by blocks.

    Args:
        rows: float32 `[n, channels]`, the signal's rows from `at` on.
        at: see there.
        length: the signal's.
        fold: the row around which its end is reflected; below zero, what is outside is silence.
        start: the first row that is taken, which may be outside.
        count: rows that are taken; silence is behind them.
        blocks: float32 `[channels / block, count or more, block]`, written.
        activates: whether the ELU is taken of each number, where `spreads` allows it.
    """
    channels, width = rows.shape[1], blocks.shape[2]
    flat = blocks.reshape(-1)
    for block in range(blocks.shape[0]):
        for row in range(blocks.shape[1]):
            place = start + row
            if place < 0 or place >= length:
                place = fold - abs(fold - abs(place))
            there = (block * blocks.shape[1] + row) * width
            if row >= count or place < 0 or place >= length:
                for i in range(width):
                    flat[there + i] = 0.0
            elif activates:
                here = (place - at) * channels + block * width
                for i in range(0, width, LANES):
                    _vector(rows, here + i, flat, there + i)
            else:
                its = rows[place - at]
                for i in range(width):
                    flat[there + i] = its[block * width + i]


def elu_(x: Floats) -> None:
    """In place, of float32 that lies without gaps and fills torch's vectors."""
    if spreads(x.size):
        _in_place(x.reshape(-1))
    else:
        functional.elu_(torch.from_numpy(x))


def spreads(count: int) -> bool:
    """Whether so many numbers side by side can be done here."""
    return count % LANES == 0 and is_torch_s()


@functools.cache
def is_torch_s() -> bool:
    """Whether torch gives the same bits here: tried of numbers of every size. So many are not
    shared by torch's threads, and fill its vectors."""
    if not FUSES:
        return False
    x = np.arange(0, 1 << 32, TRIED_STEP, dtype=np.uint32).view(np.float32)
    x = np.resize(x[np.isfinite(x)], TRIED)
    expected = functional.elu(torch.from_numpy(x)).numpy()
    _in_place(x)
    return x.tobytes() == expected.tobytes()
