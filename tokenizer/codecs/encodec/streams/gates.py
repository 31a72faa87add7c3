"""What an LSTM does between two products, in one pass."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from tokenizer.codecs.encodec.cpu.kernels import LOWEST, ONE, ZERO, Floats, compiled, elu

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
