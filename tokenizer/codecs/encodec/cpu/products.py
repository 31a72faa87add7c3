"""Matrix products in which every sum goes from the first number to the last, as oneDNN's do.

BLAS promises no order of a sum, and keeps to this one only for short rows; and torch copies a
matrix whose rows overlap, as those of a convolution's taps do, before it hands it over. Here a
block of the result stays in registers for the whole of its sums, one fused multiply-add after the
other, and rows may lie anywhere.

The blocks are written in LLVM's own vectors: numba has none, and would not keep sums in registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tokenizer.codecs.encodec.cpu.kernels import Floats, compiled
from tokenizer.codecs.encodec.cpu.vectors import (
    FUSES,
    LANES,
    VECTOR,
    first_of,
    has,
    load,
    multiply_add,
    store,
    vector_at,
)
from tokenizer.codecs.encodec.networks import UnknownLayer

_code: Any = cgutils
ADD, GO_ON, END, BEGIN = 1, 2, 4, 8
"""how a product is written, added up: finished sums are added to what is in its place, or go on
with it, instead of being written over it; its bias comes in at the end, or at the beginning"""


WIDTHS = (64, 32, 16) if has("avx512f") else (16,)
"""columns of a panel: with as many rows as are taken at once, most of a machine's registers"""


class Panels:
    """A product's right side, laid out in the order in which it is read."""

    def __init__(
        self, matrix: torch.Tensor, bias: torch.Tensor | None = None, part: int | None = None
    ) -> None:
        """Of float32 `[count, columns]`, and a bias float32 `[columns]`; with `part`, so many terms
        are a sum of their own.

        Raises:
            UnknownLayer: its columns do not fill vectors, or the processor has no fused
                multiply-add.
        """
        self.count, self.columns = matrix.shape
        if self.columns % LANES or not self.count or not FUSES:
            raise UnknownLayer(f"a product of {self.columns} columns")
        self._part = part or self.count
        self._width = next(width for width in WIDTHS if self.columns % width == 0)
        parts = [
            one.reshape(len(one), -1, self._width).transpose(0, 1).reshape(-1)
            for one in torch.split(matrix.detach(), self._part)
        ]
        self._numbers: Floats = torch.cat(parts).numpy()
        there = torch.zeros(self.columns) if bias is None else bias.detach()
        self._bias: Floats = there.contiguous().numpy()

    @property
    def laid(self) -> tuple[Floats, Floats, tuple[int, int, int]]:
        """The numbers, the bias, and the columns of a panel, terms of a sum, and terms."""
        return self._numbers, self._bias, (self._width, self._part, self.count)

    @property
    def is_one_sum(self) -> bool:
        return self._part >= self.count

    def multiply(
        self,
        left: Floats,
        step: int,
        out: Floats,
        how: int = 0,
        then: int = ADD,
        apart: int | None = None,
        backwards: bool = False,
    ) -> None:
        """
        Args:
            left: float32 `[n]`: row `i` of part `k` is its terms from `i * step + k * apart` on.
            step: see there.
            out: float32 `[rows, columns]`, written.
            how: `ADD` or `GO_ON`, `END` or `BEGIN`, a sum of two, or 0.
            then: likewise for the parts after the first.
            apart: see `left`; by default parts follow each other.
            backwards: whether the last columns come first. Of a product that is asked for again
                and again every other time, it finds in a core's cache what came last.

        Raises:
            ValueError: `left` ends before the last row does.
        """
        rows, apart = len(out), self._part if apart is None else apart
        last = (self.count - 1) // self._part
        end = (rows - 1) * step + last * apart + self.count - last * self._part
        if rows and end > len(left):
            raise ValueError(f"{len(left)} numbers are not {rows} rows {step} apart")
        multiply_panels(left, step, apart, *self.laid, out, how, then, backwards)


def _columns(vectors: int, heights: Sequence[int]) -> Any:
    """A function for numba: so many vectors of all rows, as many rows at once as `heights` has
    first, of what is left as many as it has next, and so on."""

    @intrinsic
    def run(
        _: Any,
        left: Any,
        step: Any,
        right: Any,
        right_at: Any,
        bias: Any,
        count: Any,
        out: Any,
        out_at: Any,
        out_step: Any,
        rows: Any,
        how: Any,
    ) -> Any:
        place = types.intp
        takes = (left, place, right, place, bias, place, out, place, place, place, place)

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            given = _Given(*values)
            arrays = dict(zip(_Given._fields, signature.args, strict=True))
            for name in ("left", "right", "bias", "out"):
                first = first_of(context, builder, arrays[name], getattr(given, name))
                given = given._replace(**{name: first})
            _write_rows(builder, vectors, heights, given)
            return context.get_dummy_value()

        return types.void(*takes), generate

    return run


class _Given(NamedTuple):
    """What the function takes, as LLVM's values; arrays by the place of their first number."""

    left: Any
    step: Any
    right: Any
    right_at: Any
    bias: Any
    count: Any
    out: Any
    out_at: Any
    out_step: Any
    rows: Any
    how: Any


def _write_rows(builder: Any, vectors: int, heights: Sequence[int], given: _Given) -> None:
    """A loop for each height."""
    place = given.count.type
    row = _code.alloca_once_value(builder, place(0))
    for height in heights:
        block = _Block(builder, height, vectors, given.count, given.how)
        test, body, after = (builder.append_basic_block(name) for name in ("test", "body", "after"))
        builder.branch(test)
        builder.position_at_end(test)
        done = builder.load(row)
        fits = builder.icmp_signed("<=", builder.add(done, place(height)), given.rows)
        builder.cbranch(fits, body, after)
        builder.position_at_end(body)
        target = builder.add(given.out_at, builder.mul(done, given.out_step))
        block.write(
            (builder.gep(given.left, [builder.mul(done, given.step)]), given.step),
            builder.gep(given.right, [given.right_at]),
            builder.gep(given.bias, [given.out_at]),
            (builder.gep(given.out, [target]), given.out_step),
        )
        builder.store(builder.add(done, place(height)), row)
        builder.branch(test)
        builder.position_at_end(after)


class _Block:
    """Instructions for `rows` rows and `vectors` vectors of a product."""

    def __init__(self, builder: Any, rows: int, vectors: int, count: Any, how: Any) -> None:
        self._builder, self._rows, self._vectors = builder, range(rows), range(vectors)
        self._count, self._how, self._place = count, how, count.type

    def write(self, left: Any, right: Any, bias: Any, out: Any) -> None:
        """`left` and `out` are the place of the first row and the step to the next."""
        builder = self._builder
        rows, outs = self._starts(*left), self._starts(*out)
        targets = [[vector_at(builder, start, LANES * v) for v in self._vectors] for start in outs]
        zero = ir.Constant(VECTOR, [0.0] * LANES)
        biases = [load(builder, vector_at(builder, bias, LANES * v)) for v in self._vectors]
        begins, goes_on = self._is(BEGIN), self._is(GO_ON)
        first = [builder.select(begins, one, zero) for one in biases]
        begun = [
            [
                builder.select(goes_on, load(builder, one), other)
                for one, other in zip(row, first, strict=True)
            ]
            for row in targets
        ]
        sums = self._summed(rows, right, begun)
        ends, adds = self._is(END), self._is(ADD)
        for row, found in zip(targets, sums, strict=True):
            for one, other, total in zip(row, biases, found, strict=True):
                with_bias = builder.select(ends, builder.fadd(other, total), total)
                more = builder.fadd(load(builder, one), with_bias)
                store(builder, builder.select(adds, more, with_bias), one)

    def _is(self, what: int) -> Any:
        builder = self._builder
        there = builder.and_(self._how, self._place(what))
        return builder.icmp_signed("!=", there, self._place(0))

    def _summed(self, rows: Any, right: Any, begun: Any) -> Any:
        """The loop over what is summed, which is one term at least."""
        builder, place, before = self._builder, self._place, self._builder.block
        loop, done = (builder.append_basic_block(name) for name in ("terms", "summed"))
        builder.branch(loop)
        builder.position_at_end(loop)
        term = builder.phi(place)
        sums = [[builder.phi(VECTOR) for _ in self._vectors] for _ in self._rows]
        line = builder.gep(right, [builder.mul(term, place(LANES * len(self._vectors)))])
        factors = [load(builder, vector_at(builder, line, LANES * v)) for v in self._vectors]
        found = []
        for row, ours in zip(rows, sums, strict=True):
            number = self._everywhere(builder.load(builder.gep(row, [term])))
            found.append(
                [
                    multiply_add(builder, number, factor, total)
                    for factor, total in zip(factors, ours, strict=True)
                ]
            )
        after = builder.add(term, place(1))
        for phi, first, next_one in [
            (term, place(0), after),
            *(
                three
                for rows_of in zip(sums, begun, found, strict=True)
                for three in zip(*rows_of, strict=True)
            ),
        ]:
            phi.add_incoming(first, before)
            phi.add_incoming(next_one, loop)
        builder.cbranch(builder.icmp_signed("<", after, self._count), loop, done)
        builder.position_at_end(done)
        return found

    def _starts(self, first: Any, step: Any) -> list[Any]:
        builder = self._builder
        return [builder.gep(first, [builder.mul(step, self._place(row))]) for row in self._rows]

    def _everywhere(self, number: Any) -> Any:
        """A vector of one number."""
        empty, whole = ir.Constant(VECTOR, ir.Undefined), ir.IntType(32)
        first = self._builder.insert_element(empty, number, whole(0))
        lanes = ir.Constant(ir.VectorType(whole, LANES), [0] * LANES)
        return self._builder.shuffle_vector(first, empty, lanes)


_four, _two, _one = _columns(4, (6, 3, 2, 1)), _columns(2, (12, 4, 1)), _columns(1, (16, 6, 1))
_few = _columns(1, (6, 2, 1))


@compiled
def multiply_panels(
    left: Floats,
    step: int,
    apart: int,
    right: Floats,
    bias: Floats,
    shape: tuple[int, int, int],
    out: Floats,
    how: int,
    then: int,
    backwards: bool,
) -> None:
    """`Panels.multiply`, of what `Panels.laid` has, and without a look at where `left` ends."""
    rows, columns = out.shape
    flat = out.reshape(-1)
    width, part, total = shape
    for begin in range(0, total, part):
        ours, count = left[begin // part * apart :], min(part, total - begin)
        for begun in range(0, columns, width):
            first = columns - width - begun if backwards else begun
            panel = begin * columns + first * count
            if width == 64:
                _four(ours, step, right, panel, bias, count, flat, first, columns, rows, how)
            elif width == 32:
                _two(ours, step, right, panel, bias, count, flat, first, columns, rows, how)
            elif len(WIDTHS) > 1:
                _one(ours, step, right, panel, bias, count, flat, first, columns, rows, how)
            else:
                _few(ours, step, right, panel, bias, count, flat, first, columns, rows, how)
        how = then
