"""Bits a code on segments that were not trained on: what the integers give, which is what an
archive will take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokenizer.coding.base import TOTAL_BITS, Predictor
from tokenizer.coding.training.corpus import Segments

_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Bits:
    """Bits a code of each level."""

    levels: NDArray[np.float64]
    """`[n_q]`"""
    fixed: NDArray[np.float64]
    """`[n_q]`: what codes of fixed width take"""

    @property
    def mean(self) -> float:
        return float(self.levels.mean())

    @property
    def saving(self) -> float:
        return 1.0 - float(self.levels.sum() / self.fixed.sum())


def bits_of(predictor: Predictor, segments: Segments, most: int | None = None) -> Bits:
    """Of the first `len(predictor.sizes)` levels of segments that lie evenly over all of them, at
    most `most`."""
    n_q = len(predictor.sizes)
    total, frames = np.zeros(n_q), 0
    for batch in _batches(segments, n_q, most):
        for found in predictor.intervals(batch):
            total += (TOTAL_BITS - np.log2(found[1].astype(np.float64))).sum(axis=1)
            frames += found.shape[2]
    return Bits(total / max(frames, 1), np.log2(np.array(predictor.sizes, np.float64)))


def _batches(segments: Segments, n_q: int, most: int | None) -> Iterator[list[NDArray[np.uint16]]]:
    count = len(segments) if most is None else min(most, len(segments))
    chosen = np.linspace(0, len(segments), count, endpoint=False).astype(int)
    for first in range(0, count, _AT_ONCE):
        yield [segments[int(one)][:n_q] for one in chosen[first : first + _AT_ONCE]]
