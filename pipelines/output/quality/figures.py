"""How the quality columns are spread: quantiles of each shard in its commit record, and of the
whole from those, without reading a shard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

QUANTILES = 20
"""steps from the lowest to the highest value that a commit record keeps"""


class Values:
    """The values of a shard's rows, collected as they pass: a few numbers a row."""

    def __init__(self) -> None:
        self._columns: dict[str, list[float]] = {}

    def add(self, quality: Mapping[str, float | None]) -> None:
        """Take in one row's."""
        for name, value in quality.items():
            column = self._columns.setdefault(name, [])
            if value is not None:
                column.append(value)

    def figures(self) -> dict[str, list[float]]:
        """What the commit record says: column to the number of its values, then their quantiles at
        0, 1/20 … 1."""
        return {name: _figures(values) for name, values in self._columns.items()}


@dataclass(frozen=True, slots=True)
class Spread:
    """One column over the whole output."""

    count: int
    """rows that have a value"""
    low: float
    median: float
    """exact for one shard, and nearly so for several"""
    high: float
    unit: str

    def words(self) -> list[str]:
        """The three values for people."""
        return [
            f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
            for value in (self.low, self.median, self.high)
        ]


def _figures(values: Sequence[float]) -> list[float]:
    if not values:
        return [0]
    # Values that occur, so that they stay as short as they were written.
    at = np.linspace(0.0, 1.0, QUANTILES + 1)
    found = np.quantile(values, at, method="inverted_cdf")
    return [len(values), *(float(value) for value in found)]


def spreads(
    shards: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]],
) -> dict[str, Spread | None]:
    """Each column's spread over committed shards, of each what its footer says of the columns, and
    `Values.figures`; None where no row has a value."""
    columns: dict[str, list[Sequence[float]]] = {}
    units: dict[str, str] = {}
    for columns_of, figures in shards:
        for name, about in columns_of.items():
            units.setdefault(name, about["unit"])
            columns.setdefault(name, []).append(figures.get(name, [0]))
    return {name: _spread(of_shards, units[name]) for name, of_shards in columns.items()}


def quality_table(found: Mapping[str, Spread | None]) -> Table:
    """For people, a line a column."""
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for heading in ("  quality", "lowest", "median", "highest", "recordings", "unit"):
        table.add_column(heading, justify="left" if heading == "unit" else "right")
    for name, spread in found.items():
        if spread is None:
            table.add_row(name, "", "", "", "0", "")
        else:
            table.add_row(name, *spread.words(), str(spread.count), spread.unit)
    return table


def _spread(shards: Sequence[Sequence[float]], unit: str) -> Spread | None:
    known = [figures for figures in shards if figures[0]]
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
    return Spread(count, float(points.min()), float(median), float(points.max()), unit)
