"""A step of an LSTM of two layers."""

# mypy: ignore-errors
# The language of the kernels has Python's grammar and types of its own.

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["step", "steps", "rows"])
def recur(
    projected,
    states,
    cells,
    weight,
    bias,
    step,
    steps,
    rows,
    size: tl.constexpr,
    exact: tl.constexpr,
    rows_block: tl.constexpr,
    units_block: tl.constexpr,
    sum_block: tl.constexpr,
):
    """Step `step` of the first of two layers of `size` units, and the one before of the second.

    projected: float32 `[rows, steps, 4 * size]`: what comes into the first layer times its weights,
        with all of its biases; of the gates input, forget, cell and output.
    states: float32 `[2, steps + 1, rows, size]`, of which the first are zero.
    cells: float32 `[2, rows, size]`, zero before the first step.
    weight: float32 `[3, 4 * size, size]`: what the first layer's state, as the first layer
        remembers it and as it comes into the second, and the second layer's are multiplied by.
    bias: float32 `[4 * size]`, of the second layer, both together.
    """
    layer = tl.program_id(2)
    own_step = step - layer
    if (own_step < 0) | (own_step >= steps):
        return
    mine = tl.program_id(0) * rows_block + tl.arange(0, rows_block)
    known = (mine < rows)[:, None]
    column = tl.arange(0, 4 * units_block)
    first_unit = tl.program_id(1) * units_block
    gate_column = (column // units_block) * size + first_unit + column % units_block
    # The layer's own state of the step before; of the second, before it what the first has given.
    of_step = rows.to(tl.int64) * size
    remembered = (layer * (steps + 1) + own_step) * of_step
    given = (own_step + 1) * of_step
    place = mine[:, None] * size
    total = tl.zeros((rows_block, 4 * units_block), tl.float32)
    if layer == 0:
        total = gates(
            total, states + remembered + place, known, weight, gate_column, size, exact, sum_block
        )
        at = (mine.to(tl.int64)[:, None] * steps + own_step) * (4 * size) + gate_column[None, :]
        total += tl.load(projected + at, mask=known, other=0.0)
    else:
        weight += 4 * size * size
        total = gates(
            total, states + given + place, known, weight, gate_column, size, exact, sum_block
        )
        weight += 4 * size * size
        total = gates(
            total, states + remembered + place, known, weight, gate_column, size, exact, sum_block
        )
        total += tl.load(bias + gate_column)[None, :]
    by_gate = tl.permute(tl.reshape(total, (rows_block, 4, units_block)), (0, 2, 1))
    even, odd = tl.split(tl.reshape(by_gate, (rows_block, units_block, 2, 2)))
    opened, taken = tl.split(even)
    kept, shown = tl.split(odd)
    unit = first_unit + tl.arange(0, units_block)
    place = place + unit[None, :]
    cell = tl.load(cells + layer * of_step + place, mask=known, other=0.0)
    cell = logistic(kept) * cell + logistic(opened) * (2.0 * logistic(2.0 * taken) - 1.0)
    tl.store(cells + layer * of_step + place, cell, mask=known)
    state = logistic(shown) * (2.0 * logistic(2.0 * cell) - 1.0)
    tl.store(states + remembered + of_step + place, state, mask=known)


@triton.jit
def gates(
    total,
    state,
    known,
    weight,
    gate_column,
    size: tl.constexpr,
    exact: tl.constexpr,
    sum_block: tl.constexpr,
):
    """`total` and what a state `[rows, size]` gives to it, by weights `[4 * size, size]`."""
    some = tl.arange(0, sum_block)
    for block in range(size // sum_block):
        x = tl.load(state + block * sum_block + some[None, :], mask=known, other=0.0)
        w = tl.load(weight + gate_column[None, :] * size + (block * sum_block + some)[:, None])
        if exact:
            total += tl.dot(x, w, input_precision="tf32x3", max_num_imprecise_acc=1)
        else:
            total = tl.dot(x, w, total, input_precision="tf32")
    return total


@triton.jit
def logistic(x):
    return 1.0 / (1.0 + tl.exp(-x))
