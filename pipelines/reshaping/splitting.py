"""Which split a recording goes to, by a hash of the group that it is of: the same in every folder,
so that a corpus that grows keeps what it had."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.output.formats.schema import SECONDS, recording_of
from pipelines.reshaping.derive import group_of
from pipelines.reshaping.moves import order_key
from pipelines.reshaping.parents import Item, Parent
from pipelines.system.words import format_hours, many
from tokenizer.errors import UsageError

RECORDING = "recording"
"""groups that are recordings, with all of their channels"""
META = "meta."
_WHOLE = 1 << 64


@dataclass(slots=True)
class _Part:
    """What one split has."""

    seconds: float = 0.0
    rows: int = 0
    groups: set[int] = field(default_factory=set)
    """their hashes; none where a group is a recording"""
    lowest: list[tuple[int, str]] = field(default_factory=list)
    """the groups that come first by their hash"""


class Splitter:
    """Assigns groups to splits. It looks at all rows first, and then answers."""

    def __init__(self, names: Sequence[str], shares: Sequence[float], by: str, seed: int) -> None:
        """
        Args:
            names: of the splits; the first takes what the others leave.
            shares: of the others, which add up to less than 1.
            by: `RECORDING`, a column, or `meta.KEY`.
        """
        self.names = list(names)
        self._by, self._seed = by, seed
        self._limits: list[int] = []
        total = 0.0
        for share in shares:
            total += share
            self._limits.append(int(total * _WHOLE))
        self._joined: dict[str, str] = {}
        self._forced: dict[str, int] = {}
        self._parts = [_Part() for _ in names]
        self.alone = 0
        """rows without a value in that column, each a group of its own"""

    def learn(self, parent: Parent) -> None:
        """Look at everything once: which groups share a recording, and what each split will have.

        Raises:
            UsageError: no row has such a column, or there are too few groups.
        """
        if self._by != RECORDING:
            for shard in range(len(parent.names)):
                self._join(parent.items(shard))
        for shard in range(len(parent.names)):
            for item in parent.items(shard):
                if item.row is not None:
                    self._count(item)
        self._require_some(parent)
        self._fill_empty(parent)

    def rank(self, item: Item) -> int:
        """The number of an item's split."""
        group = self._group(item)
        return self._forced.get(group, self._by_hash(order_key(self._seed, group)))

    def lines(self) -> Iterator[str]:
        """What each split has, for people."""
        seconds = sum(part.seconds for part in self._parts) or 1.0
        rows = sum(part.rows for part in self._parts) or 1
        for name, part in zip(self.names, self._parts, strict=True):
            groups = f" in {many(len(part.groups), 'group')}" if self._by != RECORDING else ""
            yield (
                f"{name}: {many(part.rows, 'recording')}{groups}, {format_hours(part.seconds)}: "
                f"{part.rows / rows:.2%} of the recordings, {part.seconds / seconds:.2%} of the "
                "seconds"
            )
        if self.alone and self._by != RECORDING:
            yield f"{many(self.alone, 'recording')} without {self._by}: each a group of its own"

    def _count(self, item: Item) -> None:
        group = self._group(item)
        key = order_key(self._seed, group)
        part = self._parts[self._by_hash(key)]
        part.seconds += item.facts[SECONDS]
        part.rows += 1
        if self._by != RECORDING:
            part.groups.add(key)
            self.alone += self._value(item) is None
        if (key, group) not in part.lowest:
            part.lowest = sorted([*part.lowest, (key, group)])[: len(self.names)]

    def _require_some(self, parent: Parent) -> None:
        rows = sum(part.rows for part in self._parts)
        if self._by != RECORDING and rows and self.alone == rows:
            raise UsageError(f"--by {self._by}: no recording of {parent.out} has one")

    def _fill_empty(self, parent: Parent) -> None:
        """A share may be smaller than one of a few groups: then the nearest is taken, from where
        there are several."""
        for rank, part in enumerate(self._parts):
            if part.lowest:
                continue
            giver = max(self._parts, key=lambda one: len(one.lowest))
            if len(giver.lowest) < 2:
                raise UsageError(
                    f"--by {self._by}: too few groups in {parent.out}: nothing would be left for "
                    f"{self.names[rank]}"
                )
            taken = giver.lowest.pop(0 if rank else -1)
            part.lowest.append(taken)
            self._forced[taken[1]] = rank
        if self._forced:
            for part in self._parts:
                part.seconds, part.rows, part.groups = 0.0, 0, set()
            self.alone = 0
            for shard in range(len(parent.names)):
                for item in parent.items(shard):
                    if item.row is not None:
                        self._count_again(item)

    def _count_again(self, item: Item) -> None:
        part = self._parts[self.rank(item)]
        part.seconds += item.facts[SECONDS]
        part.rows += 1
        if self._by != RECORDING:
            part.groups.add(order_key(self._seed, self._group(item)))
            self.alone += self._value(item) is None

    @property
    def forced(self) -> list[str]:
        """Splits that got a group only because they would have had none."""
        return [self.names[rank] for rank in self._forced.values()]

    def _by_hash(self, key: int) -> int:
        for rank, limit in enumerate(self._limits, 1):
            if key < limit:
                return rank
        return 0

    def _group(self, item: Item) -> str:
        return self._root(self._own_group(item))

    def _own_group(self, item: Item) -> str:
        if self._by == RECORDING:
            return group_of(item.recording)
        value = self._value(item)
        if value is None:
            return f"{RECORDING}={group_of(item.recording)}"
        return f"{self._by}={value}"

    def _value(self, item: Item) -> Any:
        if self._by.startswith(META):
            meta = item.recording.meta
            if item.row is not None:
                meta = json.loads(item.facts["meta"] or "{}")
            return meta.get(self._by.removeprefix(META))
        if item.row is None:
            return getattr(item.recording, self._by, None)
        return item.facts[self._by]

    def _join(self, items: Iterable[Item]) -> None:
        """Channels of one recording stay together, also where each has a speaker of its own: such
        groups are one."""
        before: Item | None = None
        for item in items:
            of = recording_of({**item.recording.meta, "channel": item.recording.channel})
            if of is not None and before is not None and of == group_of(before.recording):
                one, other = (self._group(each) for each in (before, item))
                # By the lesser name, whatever their order.
                if one != other:
                    self._joined[max(one, other)] = min(one, other)
            before = item

    def _root(self, group: str) -> str:
        while group in self._joined:
            group = self._joined[group]
        return group
