"""Which recordings share a batch. A plan is made of lengths alone, so that every rank knows all of
it and reads its own part.

`Pack` and `Buckets` are what a user gives; the planners do it. A planner's whole state is a
`Cursor`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np

from pipelines.loader.patterns import Pattern
from pipelines.loader.sequence.order import key_of, permute
from pipelines.loader.sequence.stream import Pick, Stream
from tokenizer.errors import UsageError

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a stream has been read: enough to go on exactly."""

    step: int = 0
    """batches"""
    position: int = 0
    """of the stream: the next recording (buckets: where the window begins)"""
    offset: int = 0
    """packing: steps of that recording that are already out; buckets: batches of the window that
    are"""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a recording's tokens in a packed row."""

    pick: Pick
    first: int
    """step of the recording's own sequence at which it begins"""
    steps: int
    document: int
    """number of the recording in the stream"""


@dataclass(frozen=True, slots=True)
class Pack:
    """Recordings one after the other in rows of a fixed number of steps; what does not fit goes on
    in the next row."""

    tokens: int
    """steps of a row (tokens, for flattened codes)"""

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise UsageError(f"Pack(tokens={self.tokens}): give 1 or more")


@dataclass(frozen=True, slots=True)
class Buckets:
    """Recordings of similar length together, as many as a budget allows: padding is small and
    batches vary in rows."""

    tokens: int
    """budget of a global batch: rows times the longest row's steps, padding included"""
    window: int = 2048
    """recordings that are sorted at a time; their batches come in shuffled order"""
    multiple: int = 1
    """rows of a batch are a multiple of this, the last of a window aside: give the largest number
    of ranks you will use"""

    def __post_init__(self) -> None:
        if min(self.tokens, self.window, self.multiple) < 1:
            raise UsageError(f"{self}: give 1 or more of each")


class Planner(ABC):
    """Walks the stream, a global batch at a time."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def left(self, cursor: Cursor) -> bool:
        """Whether there is another batch."""
        return self.stream.end is None or cursor.position < self.stream.end

    @abstractmethod
    def plan(
        self, cursor: Cursor, rank: int, world: int
    ) -> tuple[Sequence[Pick] | Sequence[Sequence[Segment]], Cursor]:
        """A rank's rows of the next batch, and the cursor behind it."""

    def skip(self, cursor: Cursor, batches: int) -> Cursor:
        """The cursor some batches later."""
        for _ in range(batches):
            if self.left(cursor):
                _, cursor = self.plan(cursor, 0, 1)
        return cursor


class FixedPlanner(Planner):
    """The same number of recordings in every batch."""

    def __init__(self, stream: Stream, batch_size: int) -> None:
        super().__init__(stream)
        self._batch_size = batch_size

    def plan(self, cursor: Cursor, rank: int, world: int) -> tuple[list[Pick], Cursor]:
        after = self.skip(cursor, 1)
        positions = np.arange(cursor.position, after.position)
        return self.stream.picks(np.array_split(positions, world)[rank]), after

    def skip(self, cursor: Cursor, batches: int) -> Cursor:
        position = cursor.position + batches * self._batch_size
        if self.stream.end is not None:
            batches = min(batches, -(-(self.stream.end - cursor.position) // self._batch_size))
            position = min(position, self.stream.end)
        return Cursor(cursor.step + batches, position)


class PackPlanner(Planner):
    """Rows filled with one recording after the other."""

    def __init__(self, stream: Stream, batch_size: int, tokens: int, pattern: Pattern) -> None:
        super().__init__(stream)
        self._batch_size = batch_size
        self._tokens = tokens
        self._pattern = pattern

    def plan(self, cursor: Cursor, rank: int, world: int) -> tuple[list[list[Segment]], Cursor]:
        rows: list[list[Segment]] = []
        position, offset = cursor.position, cursor.offset
        for _ in range(self._batch_size):
            row, position, offset = self._row(position, offset)
            rows.append(row)
        return _share([row for row in rows if row], rank, world), Cursor(
            cursor.step + 1, position, offset
        )

    def _row(self, position: int, offset: int) -> tuple[list[Segment], int, int]:
        row, room = [], self._tokens
        while room and (self.stream.end is None or position < self.stream.end):
            pick, frames = self.stream.pick(position)
            length = self._pattern.steps(self.stream.n_q, frames)
            taken = min(room, length - offset)
            row.append(Segment(pick, offset, taken, position))
            room, offset = room - taken, offset + taken
            if offset == length:
                position, offset = position + 1, 0
        return row, position, offset


class BucketPlanner(Planner):
    """Windows of recordings, sorted by length, cut to batches, shuffled."""

    def __init__(self, stream: Stream, buckets: Buckets, pattern: Pattern, seed: int) -> None:
        super().__init__(stream)
        self._buckets = buckets
        self._pattern = pattern
        self._seed = seed
        self._window_at = lru_cache(maxsize=2)(self._window)

    def plan(self, cursor: Cursor, rank: int, world: int) -> tuple[list[Pick], Cursor]:
        batches, stop = self._window_at(cursor.position)
        rows = _share(batches[cursor.offset], rank, world)
        if cursor.offset + 1 < len(batches):
            return rows, Cursor(cursor.step + 1, cursor.position, cursor.offset + 1)
        return rows, Cursor(cursor.step + 1, stop)

    def _window(self, start: int) -> tuple[list[list[Pick]], int]:
        stop = start + self._buckets.window
        stop = stop if self.stream.end is None else min(stop, self.stream.end)
        picks = [self.stream.pick(position) for position in range(start, stop)]
        lengths = [self._pattern.steps(self.stream.n_q, frames) for _, frames in picks]
        order = sorted(range(len(picks)), key=lambda i: (-lengths[i], i))
        batches: list[list[Pick]] = []
        while order:
            rows = self._rows(picks[order[0]][0], lengths[order[0]])
            batches.append([picks[i][0] for i in order[:rows]])
            order = order[rows:]
        shuffled = permute(np.arange(len(batches)), len(batches), key_of(self._seed, 3, start))
        return [batches[i] for i in shuffled.tolist()], stop

    def _rows(self, longest: Pick, length: int) -> int:
        """Rows that a batch may have whose longest is this."""
        multiple = self._buckets.multiple
        rows = self._buckets.tokens // length // multiple * multiple
        if not rows:
            where = self.stream.datasets[longest.source].root
            raise UsageError(
                f"Buckets(tokens={self._buckets.tokens}): recording {longest.number} of {where} "
                f"alone has {length} steps, and "
                f"batches have at least {multiple} rows: raise the budget or give a crop"
            )
        return rows


def _share(rows: Sequence[Item], rank: int, world: int) -> list[Item]:
    """A rank's rows: as even as can be, the ranks' shares in order making up the whole."""
    first, last = (len(rows) * at // world for at in (rank, rank + 1))
    return list(rows[first:last])
