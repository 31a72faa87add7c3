"""Which chunks share a batch, and many batches through a runner."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from numpy.typing import NDArray

from tokenizer.chunking import in_groups
from tokenizer.codecs.encodec.gpu.graphs import Runner, Shape, Ticket

ROWS = (4, 16, 32, 64, 128, 256)
"""rows that a batch may have"""
FLOOR = 16
"""rows that take as long as what a batch costs however few it has: hundreds of launches, and an
LSTM's steps"""
PARTS = (64, 16, 4, 2, 1)
"""of a chunk: widths of batches of shorter ones"""
BYTES_PER_SAMPLE = 1536
"""of a GPU's memory, for a sample of a row: some twelve tensors of 32 channels at the full rate,
which is the widest layer"""

Batch = tuple[Shape, list[int]]
"""a shape, and the indices of what goes into it"""
Plan = Callable[[Sequence[Any], tuple[int, ...]], Iterable[Batch]]
"""batches for items, and the rows that one may have"""
Results = tuple[NDArray[Any], ...]


def rows_that_fit(
    free_bytes: int, width: int, bytes_per_sample: int = BYTES_PER_SAMPLE
) -> tuple[int, ...]:
    """Those of `ROWS` whose batches leave half of a device's free memory alone; at least the
    fewest."""
    most = free_bytes // 2 // (bytes_per_sample * width)
    return tuple(rows for rows in ROWS if rows <= most) or ROWS[:1]


def batches(lengths: Sequence[int], width: int, rows: Sequence[int]) -> list[Batch]:
    """Indices of chunks in batches of fixed shapes: full chunks first, then shorter ones by the
    width that takes them.

    Args:
        lengths: of the chunks, in samples, 1 to `width`.
        width: of a full chunk.
        rows: numbers of rows that a batch may have, rising.
    """
    full = [i for i, length in enumerate(lengths) if length == width]
    shorter = {i: length for i, length in enumerate(lengths) if length < width}
    found = filled(full, Shape(1, width), rows)
    return found + by_width(shorter, [-(-width // part) for part in PARTS], rows)


def by_width(
    lengths: Mapping[int, int], widths: Sequence[int], rows: Sequence[int], floor: int = FLOOR
) -> list[Batch]:
    """Masked batches for what has these lengths, by index; of a few widths, which rise. `floor` as
    `FLOOR`."""
    groups: dict[int, list[int]] = {wide: [] for wide in widths}
    for i, length in lengths.items():
        groups[next(wide for wide in widths if length <= wide)].append(i)
    found: list[Batch] = []
    for wide, indices in reversed(_merged(groups, floor).items()):
        found += filled(indices, Shape(1, wide, masked=True), rows, floor)
    return found


def _merged(groups: dict[int, list[int]], floor: int) -> dict[int, list[int]]:
    """Groups by width, rising, with those that would not be worth a batch of their own in the next
    wider one."""
    used = [(wide, indices) for wide, indices in groups.items() if indices]
    merged: dict[int, list[int]] = {}
    carried: list[int] = []
    for number, (wide, indices) in enumerate(used):
        carried = carried + indices
        if len(carried) >= floor or number == len(used) - 1:
            merged[wide], carried = carried, []
    return merged


def filled(
    indices: Sequence[int], shape: Shape, rows: Sequence[int], floor: int = FLOOR
) -> list[Batch]:
    """Batches of one width for all of the indices, with whatever numbers of rows cost least."""
    found: list[Batch] = []
    at = 0
    for count in split(len(indices), tuple(rows), floor):
        found.append((replace(shape, rows=count), list(indices[at : at + count])))
        at += count
    return found


def split(count: int, rows: tuple[int, ...], floor: int = FLOOR) -> list[int]:
    """Rows of the batches that take `count` chunks at the least cost, the largest first; only the
    last has empty rows."""
    most, whole = rows[-1], count // rows[-1]
    return [most] * whole + list(_cheapest(count - whole * most, rows, floor)[1])


@lru_cache(maxsize=4096)
def _cheapest(count: int, rows: tuple[int, ...], floor: int) -> tuple[int, tuple[int, ...]]:
    """Cost, in rows, and rows of each batch."""
    if count <= 0:
        return 0, ()
    choices = []
    for first in rows:
        cost, rest = _cheapest(count - first, rows, floor)
        choices.append((cost + first + floor, tuple(sorted((first, *rest), reverse=True))))
    return min(choices)


class Batcher:
    """Runs items in batches; threads may share it."""

    def __init__(self, runner: Runner, plan: Plan, rows: Sequence[int]) -> None:
        """`rows` rise; those that a device turns out to lack the memory for are given up."""
        self._runner, self._plan, self.rows = runner, plan, tuple(rows)

    def run(self, items: Sequence[Any]) -> Iterator[tuple[list[int], Results]]:
        """Indices and results of every batch, with the next ones under way while they are looked
        at.

        Raises:
            torch.OutOfMemoryError: the device has too little memory for the smallest batch.
        """
        under_way: deque[tuple[list[int], Ticket]] = deque()
        todo = deque(self._planned(items, range(len(items))))
        try:
            while todo:
                slot = self._runner.claim(wait=not under_way)
                if slot is None:
                    yield self._redeemed(under_way)
                    continue
                shape, indices = todo[0]
                ticket = self._submitted(slot, shape, [items[i] for i in indices])
                if ticket is None:
                    # What is under way keeps its slots; no thread waits for one in here.
                    self._give_up(shape.rows)
                    todo = deque(self._planned(items, [i for _, some in todo for i in some]))
                    continue
                todo.popleft()
                under_way.append((indices, ticket))
            while under_way:
                yield self._redeemed(under_way)
        finally:
            for _, ticket in under_way:
                self._runner.result(ticket)

    def _planned(self, items: Sequence[Any], wanted: Sequence[int]) -> Iterator[Batch]:
        for shape, places in self._plan([items[i] for i in wanted], self.rows):
            yield shape, [wanted[place] for place in places]

    def _redeemed(self, under_way: deque[tuple[list[int], Ticket]]) -> tuple[list[int], Results]:
        indices, ticket = under_way.popleft()
        return indices, self._runner.result(ticket)

    def _submitted(self, slot: Any, shape: Shape, items: Sequence[Any]) -> Ticket | None:
        """None: too little memory, unless there is no smaller batch."""
        try:
            return self._runner.submit(slot, shape, items)
        except torch.OutOfMemoryError:
            if shape.rows <= self.rows[0]:
                raise
            return None

    def _give_up(self, rows: int) -> None:
        # Another thread may have done so already.
        self.rows = tuple(fewer for fewer in self.rows if fewer < rows) or self.rows[:1]
        self._runner.forget()


def groups(keys: Sequence[Any], most: int) -> Iterator[tuple[Any, list[int]]]:
    """Every key with at most `most` of its indices at a time."""
    same: dict[Any, list[int]] = {}
    for i, key in enumerate(keys):
        same.setdefault(key, []).append(i)
    for key, indices in same.items():
        for group in in_groups(len(indices), most):
            yield key, indices[group]


@dataclass(frozen=True, slots=True)
class Rows(Shape):
    """Of a batch whose rows are tensors of their own."""

    lengths: tuple[int, ...] = ()
    """samples of each"""


def by_length(chunks: Sequence[NDArray[Any]], rows: tuple[int, ...]) -> list[Batch]:
    """Batches of chunks whose LSTMs take about as many steps."""
    order = sorted(range(len(chunks)), key=lambda i: chunks[i].shape[1])
    found: list[Batch] = []
    for group in in_groups(len(order), rows[-1]):
        indices = order[group]
        lengths = tuple(chunks[i].shape[1] for i in indices)
        found.append((Rows(len(indices), lengths[-1], lengths=lengths), indices))
    return found


def one_by_one(recordings: Sequence[NDArray[Any]], rows: tuple[int, ...]) -> list[Batch]:
    """A batch for each, of its own length."""
    return [(Shape(1, one.shape[1]), [i]) for i, one in enumerate(recordings)]
