"""Snake on a CPU: the same numbers as transformers' `Snake1d`, bit for bit, in two passes that stay
in the cache around torch's own sine, instead of six over memory."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float32]
TILE = 1 << 15
"""numbers that are worked on at a time: with what comes of them, they stay in a core's cache"""

_options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
"""No freedom about arithmetic: a multiply-add that is fused rounds once, where torch rounds
twice."""


def _compiled(function: Any) -> Any:
    try:
        return numba.njit(cache=True, **_options)(function)
    except RuntimeError:  # no place to keep the result on disk
        return numba.njit(**_options)(function)


@_compiled
def _scaled(
    x: Floats, first: int, last: int, start: int, stop: int, alpha: Floats, out: Floats
) -> None:
    """Into `out`, row after row, `alpha * x` of some rows and columns."""
    width = stop - start
    for row in range(first, last):
        factor, line = alpha[row], out[(row - first) * width : (row - first + 1) * width]
        source = x[row, start:stop]
        for i in range(width):
            line[i] = factor * source[i]


@_compiled
def _joined(
    x: Floats,
    first: int,
    last: int,
    start: int,
    stop: int,
    over: Floats,
    sine: Floats,
    out: Floats,
    offset: int,
) -> None:
    """`x + over * sine**2` of some rows and columns, into columns of `out` from `offset` on."""
    width = stop - start
    for row in range(first, last):
        factor, line = over[row], sine[(row - first) * width : (row - first + 1) * width]
        source, target = x[row, start:stop], out[row, offset + start : offset + stop]
        for i in range(width):
            square = line[i] * line[i]
            target[i] = source[i] + factor * square


def snake(
    x: torch.Tensor, alpha: torch.Tensor, over: torch.Tensor, out: torch.Tensor, offset: int
) -> None:
    """Write the Snake of `x` into columns of `out` from `offset` on.

    Args:
        x: float32 `[channels, n]`, without gaps.
        alpha: float32 `[channels]`.
        over: float32 `[channels]`: 1 / (alpha + 1e-9).
        out: float32 `[channels, offset + n or more]`, without gaps.
        offset: of the first column.
    """
    channels, length = x.shape
    if not length:
        return
    wide = min(length, TILE)
    rows = max(1, TILE // wide)
    scratch = torch.empty(rows * wide)
    source, target, room = x.numpy(), out.numpy(), scratch.numpy()
    factors, inverse = alpha.numpy(), over.numpy()
    for first in range(0, channels, rows):
        last = min(first + rows, channels)
        for start in range(0, length, wide):
            stop = min(start + wide, length)
            _scaled(source, first, last, start, stop, factors, room)
            scratch[: (last - first) * (stop - start)].sin_()
            _joined(source, first, last, start, stop, inverse, room, target, offset)
