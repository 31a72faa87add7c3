"""The plans of all generations of an output folder, read as one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from pipelines.output.plan import Plan, PlannedShard
from tokenizer.types import Recording


@dataclass(frozen=True, slots=True)
class Part:
    """One generation's plan, among the others."""

    plan: Plan
    fingerprint: str
    """which its commit records bear"""
    void: frozenset[str]
    """ids of which a later generation gives the verdict"""


class Plans:
    """What was planned, generation after generation. A recording that was planned again counts
    once, where it was planned last."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)

    @property
    def split(self) -> str:
        return self.parts[0].plan.split

    @property
    def notes(self) -> tuple[str, ...]:
        """What the source found and did not use, as it was listed last."""
        return self.parts[-1].plan.notes if self.parts else ()

    @cached_property
    def count(self) -> int:
        """Of recordings."""
        return sum(
            sum(id not in part.void for id in part.plan.ids()) if part.void else part.plan.count
            for part in self.parts
        )

    @cached_property
    def shards(self) -> tuple[PlannedShard, ...]:
        """Every shard, in order, as it was planned: also with what was planned again later."""
        return tuple(
            replace(shard, fingerprint=part.fingerprint)
            for part in self.parts
            for shard in part.plan.shards
        )

    @property
    def recordings(self) -> Iterator[Recording]:
        """Every recording, in order, a few thousand in memory at a time."""
        for part in self.parts:
            for recording in part.plan.recordings:
                if recording.id not in part.void:
                    yield recording

    def ids(self) -> Iterator[str]:
        """Every id, in order; nothing else is read."""
        for part in self.parts:
            yield from (id for id in part.plan.ids() if id not in part.void)

    def holding(self, ids: Collection[str]) -> set[int]:
        """Numbers of the shards that hold recordings of these ids; those that are nowhere count
        for nothing."""
        return {
            number
            for part in self.parts
            for number in part.plan.holding([id for id in ids if id not in part.void])
        }
