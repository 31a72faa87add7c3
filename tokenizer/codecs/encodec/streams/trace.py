"""States of an LSTM."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Every state of an LSTM along a sequence."""

    outputs: Floats
    """float32 `[layers, n, size]`"""
    cells: Floats
    """likewise"""

    def part(self, start: int | None, stop: int | None) -> Trace:
        """In memory of its own."""
        return Trace(self.outputs[:, start:stop].copy(), self.cells[:, start:stop].copy())

    def then(self, other: Trace) -> Trace:
        return Trace(
            np.concatenate([self.outputs, other.outputs], axis=1),
            np.concatenate([self.cells, other.cells], axis=1),
        )

    def __len__(self) -> int:
        return int(self.outputs.shape[1])
