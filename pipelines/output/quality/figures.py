"""How the quality columns are spread: quantiles of each shard in its commit record, and of the
whole from those, without reading a shard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from pipelines.output.manifest.spread import Figures, figures_of, overall


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
        """What the commit record says: column to its `Figures`."""
        return {name: figures_of(values) for name, values in self._columns.items()}


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


def spreads(
    shards: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]],
) -> dict[str, Spread | None]:
    """Each column's spread over committed shards, of each what its footer says of the columns, and
    `Values.figures`; None where no row has a value."""
    columns: dict[str, list[Figures]] = {}
    units: dict[str, str] = {}
    for columns_of, figures in shards:
        for name, about in columns_of.items():
            units.setdefault(name, about["unit"])
            columns.setdefault(name, []).append(figures.get(name, [0]))
    return {name: _spread(of_shards, units[name]) for name, of_shards in columns.items()}


def scale_spread(shards: Sequence[Figures]) -> Spread | None:
    """The spread of all chunks' scales, from each shard's `CommitRecord.scales`; None without any.
    Records of before do not have them."""
    return _spread(shards, "RMS")


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


def _spread(shards: Sequence[Figures], unit: str) -> Spread | None:
    found = overall(shards)
    return found and Spread(*found, unit)
