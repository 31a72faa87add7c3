"""How alike two channels are."""

from __future__ import annotations

import math

import numpy as np

from tokenizer.audio.quality.base import Block, Measure


class Correlation(Measure):
    """Pearson's, from sums about each second's means, which are put together as T. Chan, G. Golub
    and R. LeVeque do (1979): a constant offset takes no digits away."""

    unit = ""
    what = (
        "Pearson correlation of the two channels: 1 is mono in stereo, -1 antiphase; null for mono "
        "and where a channel is constant"
    )

    def __init__(self, sample_rate: int, channels: int) -> None:
        super().__init__(sample_rate, channels)
        self._samples = 0
        self._means = np.zeros(2)
        self._left = self._right = self._both = 0.0

    def add(self, block: Block) -> None:
        if self.channels != 2:
            return
        count = block.shape[1]
        means = block.mean(axis=1)
        left, right = block - means[:, None]
        difference = means - self._means
        total = self._samples + count
        weight = self._samples * count / total
        self._left += _product(left, left) + weight * float(difference[0]) ** 2
        self._right += _product(right, right) + weight * float(difference[1]) ** 2
        self._both += _product(left, right) + weight * float(difference[0] * difference[1])
        self._means += difference * (count / total)
        self._samples = total

    def result(self) -> float | None:
        if not (self._left > 0 and self._right > 0):
            return None
        return max(-1.0, min(1.0, self._both / math.sqrt(self._left * self._right)))


def _product(one: Block, other: Block) -> float:
    """The sum of products. Not BLAS, whose threads wait by spinning."""
    return float(np.einsum("n,n->", one, other))
