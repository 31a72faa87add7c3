"""What an LSTM does between two products, in one pass."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from tokenizer.codecs.encodec.cpu.kernels import LOWEST, ONE, ZERO, Floats, compiled, elu
from tokenizer.codecs.encodec.cpu.vectors import fused

TWO = np.float32(2.0)


@numba.njit(inline="always")
def sigmoid(x: Any) -> Any:
    """`1 / (1 + exp(-x))`, with the exponential of a number that is not positive."""
    power = elu(max(min(x, -x), LOWEST)) + ONE
    share = ONE / (ONE + power)
    return share if x >= ZERO else power * share


@numba.njit(inline="always")
def hyperbolic(x: Any) -> Any:
    """`tanh(x)`, exact near zero too: `exp(-2|x|) - 1` cancels nothing."""
    less_one = elu(max(-TWO * abs(x), LOWEST))
    size = -less_one / (TWO + less_one)
    return size if x >= ZERO else -size


@compiled
def step(gates: Floats, before: Floats, cells: Floats, out: Floats) -> None:
    """One step of an LSTM for several sequences.

    Args:
        gates: float32 `[rows, 4 * size]`: input, forget, cell and output gate, as torch orders
            them, before their functions.
        before: float32 `[rows, size]`: cells as they were.
        cells: likewise, written.
        out: float32 `[rows, size]`: outputs, written.
    """
    size = before.shape[1]
    for row in range(gates.shape[0]):
        enter, keep = gates[row, :size], gates[row, size : 2 * size]
        value, leave = gates[row, 2 * size : 3 * size], gates[row, 3 * size :]
        old, new, seen = before[row], cells[row], out[row]
        for i in range(size):
            cell = sigmoid(keep[i]) * old[i] + sigmoid(enter[i]) * hyperbolic(value[i])
            new[i] = cell
            seen[i] = sigmoid(leave[i]) * hyperbolic(cell)


@compiled
def end_gates(gates: Floats, bias: Floats, openings: Floats, values: Floats) -> None:
    """Add the bias, and take a layer's gates apart.

    Args:
        gates: float32 `[rows, 4 * size]`: input, forget and output gate, and what goes into the
            cells.
        bias: float32 `[4 * size]`.
        openings: float32 `[rows, 3 * size]`, written.
        values: float32 `[rows, size]`, written.
    """
    size = values.shape[1]
    for row in range(gates.shape[0]):
        ours, opening, value = gates[row], openings[row], values[row]
        for i in range(3 * size):
            opening[i] = ours[i] + bias[i]
        for i in range(size):
            value[i] = ours[3 * size + i] + bias[3 * size + i]


@compiled
def end_cells(openings: Floats, values: Floats, cells: Floats) -> None:
    """Cells after a step, in the order that oneDNN computes them in: `fma(i, g, f * c)`."""
    size = values.shape[1]
    for row in range(cells.shape[0]):
        enter, keep = openings[row, :size], openings[row, size : 2 * size]
        value, cell = values[row], cells[row]
        for i in range(size):
            cell[i] = fused(enter[i], value[i], keep[i] * cell[i])


@compiled
def end_outputs(openings: Floats, cells: Floats) -> None:
    """Outputs, in the place of the cells' hyperbolic tangents."""
    size = cells.shape[1]
    for row in range(cells.shape[0]):
        leave, out = openings[row, 2 * size :], cells[row]
        for i in range(size):
            out[i] *= leave[i]
