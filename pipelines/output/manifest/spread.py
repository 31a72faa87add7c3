"""How values are spread: quantiles of each shard in its commit record, and of the whole from those,
without reading a shard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

QUANTILES = 20
"""steps from the lowest to the highest value that a commit record keeps"""
Figures = Sequence[float]
"""of one shard: how many values there are, then their quantiles at 0, 1/20 … 1"""


def figures_of(values: Sequence[float] | NDArray[np.float32]) -> list[float]:
    """`Figures` of a shard's values; of none only their number, 0."""
    if not len(values):
        return [0]
    # Values that occur, so that they stay as short as they were written.
    at = np.linspace(0.0, 1.0, QUANTILES + 1)
    found = np.quantile(np.asarray(values, np.float64), at, method="inverted_cdf")
    return [len(values), *(float(value) for value in found)]


def is_figures(value: object) -> bool:
    """Whether a value from JSON is what `figures_of` gives, or nothing."""
    if not isinstance(value, list | tuple) or not all(type(one) in (int, float) for one in value):
        return False
    return not value or list(value) == [0] or (len(value) == QUANTILES + 2 and value[0] > 0)


def overall(shards: Sequence[Figures]) -> tuple[int, float, float, float] | None:
    """Number, lowest, median and highest of all shards' values; None without any. The median is
    exact for one shard, and nearly so for several."""
    known = [figures for figures in shards if figures and figures[0]]
    if not known:
        return None
    points = np.concatenate([np.array(figures[1:]) for figures in known])
    # The ends of a shard's range stand for half as many values as the steps between.
    steps = np.ones(QUANTILES + 1)
    steps[[0, -1]] = 0.5
    weights = np.concatenate([figures[0] * steps for figures in known])
    order = np.argsort(points, kind="stable")
    sums = np.cumsum(weights[order])
    median = points[order][np.searchsorted(sums, sums[-1] / 2)]
    count = int(sum(figures[0] for figures in known))
    return count, float(points.min()), float(median), float(points.max())
