"""Recordings to shards: made once, stored, and from then on the truth about which shard holds what,
and its name.

A plan is a Parquet file, and a `Plan` reads of it what it is asked for: memory goes with a shard,
not with the corpus, when one is made and when it is read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.output.plans.by_split import is_in_order, reorder
from pipelines.output.plans.placing import (
    LEAST_SECONDS,
    TRAIN,
    UNKNOWN_SECONDS,
    Placing,
    place_in_shards,
)
from pipelines.output.plans.rows import RowWriter, to_recordings
from pipelines.system.arrow import open_parquet
from tokenizer.errors import ManifestError, SourceError
from tokenizer.types import Recording

_BLOCK = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """One output file to be, and what goes into it, in order."""

    name: str
    """`train-00000-of-00012`, without an ending"""
    number: int
    seconds: float
    """estimated audio"""
    rows: range
    """which of the plan's recordings it holds"""
    _plan: Plan = field(repr=False)
    fingerprint: str = ""
    """of its generation, which its commit record will bear; empty where it is the first plan's"""

    @property
    def recordings(self) -> tuple[Recording, ...]:
        """Read from the plan each time that it is asked for.

        Raises:
            ManifestError: the plan cannot be read any more.
        """
        return tuple(self._plan.read(self.rows))


class Plan:
    """All shards of a corpus, read from the plan's file as they are asked for.

    It holds a handle to its file, and belongs to one process and one thread.
    """

    def __init__(
        self, file: pa.NativeFile, sha256: str, before: Mapping[str, int] | None = None
    ) -> None:
        """Open the plan that is a file's content.

        Args:
            before: how many shards of each split earlier plans have.

        Raises:
            ManifestError: not a plan.
        """
        self._file, self.sha256, self._before = file, sha256, before or {}
        self.first = sum(self._before.values())
        """number of its first shard"""
        self._last: tuple[int, pa.Table] | None = None
        with _readable():
            self._parquet = open_parquet(file, checksums=True)
            meta = self._parquet.metadata
            facts = meta.metadata or {}
            self.split: str = facts[b"split"].decode()
            """the first one, where there are several"""
            self._splits: list[tuple[str, int]] = json.loads(facts.get(b"splits", b"[]"))
            self.notes: tuple[str, ...] = tuple(json.loads(facts.get(b"notes", b"[]")))
            """what the source found and did not use, a line for each kind"""
            self.facts = {
                name: facts[name.encode()].decode()
                for name in ("split", "splits", "notes")
                if name.encode() in facts
            }
            """about the whole, as they are stored"""
            rows = [meta.row_group(group).num_rows for group in range(meta.num_row_groups)]
        self._starts = [0, *np.cumsum(rows).tolist()]
        """first rows of the row groups, and the number of all"""

    @classmethod
    def from_path(
        cls, path: str, sha256: str, before: Mapping[str, int] | None = None
    ) -> Plan | None:
        """The plan in a local file, which may be removed or replaced afterwards; None if it is not
        the one with this hash.

        Raises:
            FileNotFoundError: there is none.
            ManifestError: not a plan.
        """
        file = pa.OSFile(path, "rb")
        return cls(file, sha256, before) if _hash(file) == sha256 else None

    @classmethod
    def from_bytes(cls, content: bytes) -> Plan:
        """The inverse of `to_bytes`.

        Raises:
            ManifestError: not a plan.
        """
        file = pa.BufferReader(content)
        return cls(file, _hash(file))

    def to_bytes(self) -> bytes:
        """The plan as a Parquet file; the same plan gives the same bytes."""
        return b"".join(_blocks(self._file))

    def save(self, path: str) -> None:
        """Write the plan's file to a local path."""
        with Path(path).open("wb") as file:
            file.writelines(_blocks(self._file))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    @property
    def count(self) -> int:
        """Of recordings."""
        return int(self._starts[-1])

    @property
    def recordings(self) -> Iterator[Recording]:
        """Every recording, in order, a few thousand in memory at a time."""
        return self.read(range(self.count))

    @cached_property
    def shards(self) -> tuple[PlannedShard, ...]:
        """Every shard, in order; its recordings stay in the file until they are asked for."""
        with _readable():
            columns = ("shard", "start", "end", "seconds")
            parts = [_sizes(table) for table in self.columns(*columns)]
            shards = np.concatenate([part[0] for part in parts])
            steps = np.diff(shards, prepend=-1)
            if ((steps != 0) & (steps != 1)).any() or shards[0]:
                raise ValueError("its shards are out of order")
            seconds = np.bincount(shards, np.concatenate([part[1] for part in parts])).tolist()
            ends = np.cumsum(np.bincount(shards)).tolist()
            names = shard_names(self._splits or [(self.split, len(ends))], self._before)
            if len(names) != len(ends):
                raise ValueError("its splits are not of its shards")
        return tuple(
            PlannedShard(names[at], self.first + at, seconds[at], rows, self)
            for at, rows in enumerate(map(range, [0, *ends], ends))
        )

    @property
    def splits(self) -> tuple[tuple[str, int], ...]:
        """Each split and the number of its shards, in order; empty where there is one."""
        return tuple((name, count) for name, count in self._splits)

    def ids(self) -> Iterator[str]:
        """Every id, in order; nothing else is read."""
        for table in self.columns("id"):
            yield from table["id"].to_pylist()

    def holding(self, ids: Collection[str]) -> set[int]:
        """Numbers of the shards that hold recordings of these ids; those that are nowhere count
        for nothing. Reads ids alone, and of those only where they can be."""
        wanted = sorted({id for id in ids if _is_text(id)})
        found: set[int] = set()
        left = len(wanted)
        for group in range(len(self._starts) - 1):
            if not left:
                break
            if not self._may_hold(group, wanted):
                continue
            with _readable():
                table = self._group(group, ["shard", "id"])
                there = pc.is_in(table["id"], value_set=pa.array(wanted, table["id"].type))
                hits = table["shard"].filter(there).to_pylist()
            found.update(self.first + hit for hit in hits)
            left -= len(hits)
        return found

    def read(self, rows: range) -> Iterator[Recording]:
        """Recordings by their places in the plan.

        Raises:
            ManifestError: the plan cannot be read any more.
        """
        first = int(np.searchsorted(self._starts, rows.start, "right")) - 1
        for group in range(first, len(self._starts) - 1):
            start = self._starts[group]
            if start >= rows.stop:
                break
            with _readable():
                if self._last is None or self._last[0] != group:
                    # Shards are asked for in order: the next one is in this group most often.
                    self._last = (group, self._group(group))
                begin = max(rows.start - start, 0)
                table = self._last[1].slice(begin, rows.stop - start - begin)
                found = list(to_recordings(table))
            yield from found

    def columns(self, *names: str, groups: Collection[int] | None = None) -> Iterator[pa.Table]:
        """Columns as they are stored (`pipelines.output.plans.rows.SCHEMA`), row group by row
        group; of all groups, or of some."""
        for group in range(len(self._starts) - 1) if groups is None else groups:
            with _readable():
                table = self._group(group, names)
            yield table

    def _group(self, group: int, columns: Sequence[str] | None = None) -> pa.Table:
        wanted = None if columns is None else list(columns)
        return self._parquet.read_row_group(group, columns=wanted, use_threads=False)

    def _may_hold(self, group: int, ids: list[str]) -> bool:
        """Whether one of some sorted ids may be in a row group, by its least and greatest."""
        meta = self._parquet.metadata.row_group(group)
        at = self._parquet.schema_arrow.names.index("id")
        known = meta.column(at).statistics
        if known is None or not known.has_min_max:
            return True
        # Both compare by code point.
        place = int(np.searchsorted(np.array(ids, object), known.min))
        return place < len(ids) and ids[place] <= known.max


def make_plan(
    recordings: Iterable[Recording],
    *,
    shard_hours: float,
    split: str | None = TRAIN,
    notes: Callable[[], Sequence[str]] = tuple,
) -> Plan:
    """Fill shards in the recordings' order, each with about `shard_hours` of audio as estimated.

    Args:
        split: of all of them; None is the one that each says it is of, one after the other.
        notes: asked for when all recordings are there.

    Raises:
        SourceError: no recordings, or two with one id (both are named).
    """
    return plan_with(Placing(shard_hours, split), recordings, notes)


def plan_with(
    placing: Placing, recordings: Iterable[Recording], notes: Callable[[], Sequence[str]] = tuple
) -> Plan:
    """As `make_plan`; `placing` then has what it has found."""
    placed = place_in_shards(recordings, placing)
    plan = write_plan(placed, placing.else_in, notes, placing.splits)
    if placing.too_many:
        return write_plan(placing.in_one(plan.recordings), placing.else_in, lambda: plan.notes)
    order = placing.order()
    return plan if is_in_order(plan, order) else _written(lambda to: reorder(plan, order, to))


def write_plan(
    placed: Iterable[tuple[int, Recording]],
    split: str,
    notes: Callable[[], Sequence[str]] = tuple,
    splits: Callable[[], Sequence[tuple[str, int]]] = tuple,
) -> Plan:
    """A plan of recordings whose shards are known, by number and in order; its file lies in TMPDIR
    and goes with it.

    Args:
        splits: those that the shards are of, each with the number of its shards; asked for, as
            `notes` are, when all recordings are there; empty where all are of `split`.

    Raises:
        SourceError: TMPDIR is full.
    """

    def write(to: RowWriter) -> dict[str, str]:
        for shard, recording in placed:
            to.add(shard, recording)
        several = [list(one) for one in splits()]
        facts = {"notes": list(notes()), "splits": several if len(several) > 1 else []}
        name = str(several[0][0]) if several else split
        return {"split": name, **{key: json.dumps(said) for key, said in facts.items() if said}}

    return _written(write)


def _written(write: Callable[[RowWriter], Mapping[str, str]]) -> Plan:
    """The plan that something writes, which returns the facts about the whole."""
    try:
        handle, path = tempfile.mkstemp(prefix="codecshards-plan-", suffix=".parquet")
        os.close(handle)
        try:
            writer = RowWriter(path)
            writer.close(write(writer))
            file = pa.OSFile(path, "rb")
            return Plan(file, _hash(file))
        finally:
            Path(path).unlink()  # the handle that is open keeps the content
    except OSError as error:
        if error.errno in _FULL:
            raise SourceError(
                f"{tempfile.gettempdir()} is full: plans are made there; set TMPDIR"
            ) from error
        raise


def shard_name(split: str, number: int, shards: int) -> str:
    """`train-00000-of-00012`, the first of twelve."""
    return f"{split}-{number:05d}-of-{shards:05d}"


def shard_names(
    splits: Iterable[tuple[str, int]], before: Mapping[str, int] | None = None
) -> list[str]:
    """Names of all shards of some splits, in order; `before` is how many of each came before."""
    earlier = before or {}
    return [
        shard_name(split, number, first + count)
        for split, count in splits
        for first in [earlier.get(split, 0)]
        for number in range(first, first + count)
    ]


def _sizes(table: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Shard and `estimated` seconds of each row."""
    start, end, seconds = (
        table[name].to_numpy().astype(np.float64) for name in ("start", "end", "seconds")
    )  # null is NaN
    by_end = np.where(np.isnan(end), UNKNOWN_SECONDS, end - np.nan_to_num(start))
    known = np.maximum(seconds, LEAST_SECONDS)
    return (
        table["shard"].to_numpy().astype(np.int64),
        np.where(np.isnan(seconds), by_end, known),
    )


def _is_text(id: str) -> bool:
    """Whether it can be in a plan at all."""
    try:
        id.encode()
    except UnicodeEncodeError:
        return False
    return True


def _blocks(file: pa.NativeFile) -> Iterator[bytes]:
    file.seek(0)
    while block := file.read(_BLOCK):
        yield block


def _hash(file: pa.NativeFile) -> str:
    digest = hashlib.sha256()
    for block in _blocks(file):
        digest.update(block)
    return digest.hexdigest()


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ManifestError(f"the stored plan cannot be read: {reason}") from error
