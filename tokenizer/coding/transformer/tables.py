"""Powers of two in fixed point, by integers alone: the same on every machine."""

from __future__ import annotations

from functools import cache
from math import isqrt

import numpy as np
from numpy.typing import NDArray

FRACTION_BITS = 10
"""of logarithms to the base of 2: a step is 1/1024 of a bit"""
POWER_BITS = 30
_INNER = 96
"""bits behind the point while the table is made"""


@cache
def powers() -> NDArray[np.int64]:
    """int64 `[1024]`: 2 ** (30 + i / 1024), rounded down.

    The roots 2 ** (1 / 2 ** j) come from `math.isqrt`, the entries are products of them in whole
    numbers of 96 bits behind the point.
    """
    root, roots = 2 << _INNER, []
    for _ in range(FRACTION_BITS):
        root = isqrt(root << _INNER)
        roots.append(root)
    found = []
    for entry in range(1 << FRACTION_BITS):
        value = 1 << _INNER
        for place, one in enumerate(roots):
            if entry >> (FRACTION_BITS - 1 - place) & 1:
                value = value * one >> _INNER
        found.append(value >> (_INNER - POWER_BITS))
    table = np.array(found, dtype=np.int64)
    table.setflags(write=False)
    return table
