"""Rows from the parents' shards to a new one's file, in the new order."""

from __future__ import annotations

import pickle
import shutil
import tempfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.output.formats.base import Lost
from pipelines.output.formats.lost import CODES_LOST
from pipelines.output.formats.schema import Row, ShardStats
from pipelines.output.manifest.commits import CommitRecord
from pipelines.output.plan import PlannedShard
from pipelines.output.quality.figures import Values
from pipelines.output.storage.base import as_output_error
from pipelines.reshaping.moves import Origins
from pipelines.reshaping.parents import SALVAGED, Parent, damaged
from tokenizer.codecs.base import CodecSpec
from tokenizer.errors import ShardError
from tokenizer.types import Recording

BUFFER = 64 << 20
"""bytes of rows that wait in memory for their files"""
SPOOL = 64 << 30
"""bytes of rows that wait on disk at a time, and no more than half of what is free"""
_ROW = 2000
"""of a row beside its codes, about"""
Rename = Callable[[int, Row, Recording], Row]
"""a row of a parent, by the parent's number, as the new folder has it"""
Found = Iterator[tuple[Row, Recording]]
"""rows of a new shard, in order, each with what is planned"""


class Sums:
    """What a commit record says of the rows that have passed."""

    def __init__(self, spec: CodecSpec) -> None:
        self.stats, self.quality, self.flags = ShardStats(), Values(), Counter[str]()
        self._size = spec.codebook_size

    def over(self, rows: Found) -> Iterator[Row]:
        """Rows as they pass, counted."""
        for row, recording in rows:
            self.stats.add(row.codes, self._size)
            self.stats.place(row.meta)
            self.quality.add(row.quality)
            self.flags.update(flags_of(row, recording))
            yield row


def flags_of(row: Row, recording: Recording) -> set[str]:
    """Those that tokenization set: a source may have a field of that name."""
    flags = row.meta.get("flags")
    if not isinstance(flags, list) or flags == recording.meta.get("flags"):
        return set()
    return {flag for flag in flags if isinstance(flag, str)}


@dataclass(frozen=True, slots=True)
class Wanted:
    """One shard to write."""

    planned: PlannedShard
    _origins: Origins
    lost: list[Mapping[str, str]] = field(default_factory=list)
    """failures of rows that turned out to be damaged while they were copied"""

    def places(self) -> NDArray[np.int64]:
        """`Origins.of` its rows, without the failures."""
        found = self._origins.of(self.planned.rows)
        return found[found[:, 2] >= 0]

    def rows(self) -> Iterator[tuple[tuple[int, int, int], Recording]]:
        """The same, each with what is planned."""
        origins = self._origins.of(self.planned.rows).tolist()
        for (parent, number, row), recording in zip(origins, self.planned.recordings, strict=True):
            if row >= 0:
                yield (parent, number, row), recording

    def failures(self) -> list[Mapping[str, str]]:
        """What is no row, in order; then those that were lost."""
        return [*self._origins.failures(self.planned.rows), *self.lost]


def losses(parents: Sequence[Parent], records: Iterable[CommitRecord]) -> tuple[int, int]:
    """Of what was made of some folders: failures that these do not have, and rows that lack codes
    that nobody could read, now or when an archive was expanded before."""
    if not any(one.salvage for one in parents):
        return 0, 0
    carried = {id for one in parents for id, _ in one.failures()}
    lost = partial = 0
    for record in records:
        partial += record.flags.get(CODES_LOST, 0)
        own = (one for one in record.failures if one.id not in carried)
        lost += sum(one.stage == SALVAGED for one in own)
    return lost, partial if any(one.allow_damaged for one in parents) else 0


class Copier:
    """Reads rows of parents and makes them rows of the new folder."""

    def __init__(self, parents: Sequence[Parent], spec: CodecSpec, rename: Rename) -> None:
        """`spec`: of the new folder, whose codebooks are at most the parents'."""
        self.spec = spec
        self.rename = rename
        self._parents = parents
        self._open: tuple[tuple[int, int], int, Iterator[Row | Lost]] | None = None

    def read(self, parent: int, number: int, at: int) -> Row:
        """A row by its place, with as many codebooks as are wanted. Those that come in a parent's
        order are read in one go.

        Raises:
            ShardError: it is not there, or damaged.
        """
        found = self.salvage(parent, number, at)
        if isinstance(found, Lost):
            raise ShardError(f"{self._parents[parent].out}: damaged: {found.message}")
        return found

    def salvage(self, parent: int, number: int, at: int) -> Row | Lost:
        """The same, or what is wrong with it."""
        place = (parent, number)
        if self._open is None or self._open[0] != place or self._open[1] > at:
            self.close()
            one = self._parents[parent]
            rows = one.salvaged(number) if one.salvage else one.rows(number)
            self._open = (place, 0, rows)
        _, passed, rows = self._open
        for row in rows:
            passed += 1
            if passed > at:
                self._open = (place, passed, rows)
                return row if isinstance(row, Lost) else self._cut(row)
        out = self._parents[parent].out
        raise ShardError(
            f"{out}: a shard has fewer rows than its records say: run `codecshards verify {out}`"
        )

    def close(self) -> None:
        """Let go of the parents' file that is open."""
        if self._open is not None:
            rows: Any = self._open[2]
            rows.close()
        self._open = None

    def _cut(self, row: Row) -> Row:
        codes = row.codes
        if codes.n_q <= self.spec.n_q:
            return row
        cut = np.ascontiguousarray(codes.codes[: self.spec.n_q])
        return replace(row, codes=replace(codes, codes=cut))


def in_order(wanted: Sequence[Wanted], copier: Copier) -> Iterator[tuple[Wanted, Found]]:
    """Each shard with its rows, read as they are asked for: for shards that go along with the
    parents'."""
    for one in wanted:
        yield one, _whole(one, copier)
    copier.close()


def _whole(wanted: Wanted, copier: Copier) -> Found:
    """A shard's rows; those that are lost become failures."""
    for place, planned in wanted.rows():
        found = copier.salvage(*place)
        if isinstance(found, Lost):
            wanted.lost.append(damaged(planned, found.message))
        else:
            yield copier.rename(place[0], found, planned), planned


def shuffled(wanted: Sequence[Wanted], copier: Copier) -> Iterator[tuple[Wanted, Found]]:
    """The same for rows that come from everywhere: parents are read in their order, each row is put
    into a file of its new shard on disk, and taken from there."""
    left = list(wanted)
    while left:
        with tempfile.TemporaryDirectory(prefix="codecshards-spool-") as folder:
            part, left = _as_many(left, copier.spec, folder)
            spool = _Spool(folder, copier)
            with as_output_error(folder):
                spool.fill(part)
            for number, one in enumerate(part):
                yield one, spool.rows(number, one)


def _as_many(
    wanted: list[Wanted], spec: CodecSpec, folder: str
) -> tuple[list[Wanted], list[Wanted]]:
    """As many as the disk has room for, one at least, and the others."""
    room = min(SPOOL, shutil.disk_usage(folder).free // 2)
    total = 0.0
    for at, one in enumerate(wanted):
        codes = one.planned.seconds * spec.frame_rate * spec.n_q * 2 * 1.1
        total += codes + len(one.planned.rows) * _ROW
        if at and total > room:
            return wanted[:at], wanted[at:]
    return wanted, []


class _Spool:
    """A file for each of some shards, with its rows in the order in which they came."""

    def __init__(self, folder: str, copier: Copier) -> None:
        self._folder, self._copier = folder, copier
        self._held: dict[int, list[bytes]] = {}
        self._places: dict[int, array[int]] = {}
        """of each shard's rows, three numbers: place in the shard, first byte in the file, bytes"""
        self._ends: Counter[int] = Counter()
        self._waiting = 0

    def fill(self, wanted: Sequence[Wanted]) -> None:
        """Put every row of these shards on disk."""
        found = []
        for number, one in enumerate(wanted):
            places = one.places()
            own = np.stack([np.full(len(places), number), np.arange(len(places))], axis=1)
            found.append(np.concatenate([places, own], axis=1))
        moves = np.concatenate(found)
        moves = moves[np.lexsort(moves.T[2::-1])]  # by parent, its shard, the row there
        for move in moves:
            parent, shard, row, number, at = map(int, move)
            content = (parent, self._copier.read(parent, shard, row))
            self._put(number, at, pickle.dumps(content, pickle.HIGHEST_PROTOCOL))
        self._copier.close()
        self._flush()

    def rows(self, number: int, one: Wanted) -> Found:
        """A shard's rows in its own order."""
        if number not in self._places:
            return
        path = self._path(number)
        places = np.array(self._places[number]).reshape(-1, 3)
        places = places[np.argsort(places[:, 0])]
        with path.open("rb") as file:
            for (_, start, size), (_, planned) in zip(places.tolist(), one.rows(), strict=True):
                file.seek(start)
                parent, row = pickle.loads(file.read(size))
                yield self._copier.rename(parent, row, planned), planned
        path.unlink()

    def _put(self, number: int, at: int, content: bytes) -> None:
        self._held.setdefault(number, []).append(content)
        self._places.setdefault(number, array("q")).extend((at, self._ends[number], len(content)))
        self._ends[number] += len(content)
        self._waiting += len(content)
        if self._waiting > BUFFER:
            self._flush()

    def _flush(self) -> None:
        for number, contents in self._held.items():
            with self._path(number).open("ab") as file:
                file.writelines(contents)
        self._held, self._waiting = {}, 0

    def _path(self, number: int) -> Path:
        return Path(self._folder, str(number))
