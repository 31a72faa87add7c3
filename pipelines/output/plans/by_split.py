"""A plan whose recordings came with their splits mixed, put in the splits' order."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.output.plans.rows import SCHEMA, RowWriter

_SHARD = "shard"


class Rows(Protocol):
    """A plan, as far as it is needed here."""

    @property
    def facts(self) -> Mapping[str, str]:
        """About the whole."""

    @property
    def splits(self) -> tuple[tuple[str, int], ...]:
        """Each split and the number of its shards."""

    def columns(self, *names: str, groups: Collection[int] | None = None) -> Iterator[pa.Table]:
        """Columns, row group by row group."""


def is_in_order(plan: Rows, order: Sequence[int]) -> bool:
    """Whether its rows come shard by shard, and shards by their place among all.

    Args:
        order: that place, by the number that a shard has in the plan.
    """
    if len(plan.splits) < 2:
        return True
    if any(place != shard for shard, place in enumerate(order)):
        return False
    last = 0
    for table in plan.columns(_SHARD):
        shards = table[_SHARD].to_numpy()
        if shards[0] < last or (np.diff(shards) < 0).any():
            return False
        last = shards[-1]
    return True


def reorder(plan: Rows, order: Sequence[int], to: RowWriter) -> Mapping[str, str]:
    """Write the same rows shard by shard, one split after the other; the facts about the whole.
    Rows of one split keep their order. A row group is in memory at a time."""
    places = np.array(order, np.int32)
    ends = np.cumsum([count for _, count in plan.splits])
    there = [
        {*np.searchsorted(ends, places[table[_SHARD].to_numpy()], "right").tolist()}
        for table in plan.columns(_SHARD)
    ]
    for rank in range(len(ends)):
        groups = [group for group, ranks in enumerate(there) if rank in ranks]
        for table in plan.columns(*SCHEMA.names, groups=groups):
            shards: NDArray[np.int32] = places[table[_SHARD].to_numpy()]
            placed = table.set_column(0, SCHEMA.field(_SHARD), pa.array(shards))
            to.add_rows(placed.filter(np.searchsorted(ends, shards, "right") == rank))
    return plan.facts
