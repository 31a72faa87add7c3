"""Every shard against its commit record, and every record against the plan: one line for each thing wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.config import fingerprint, spec_from_dict
from pipelines.manifest import DATA, CommitRecord, Manifest, data_name, hash_stored
from pipelines.plan import PlannedShard
from pipelines.shards import ShardFormat, shard_format
from pipelines.shards.schema import Row, ShardStats
from pipelines.storage import Storage, open_storage
from tokenizer.codecs.base import CodecSpec, split
from tokenizer.errors import ShapeError, ShardError


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it was committed."""

    shard: str
    message: str

    def __str__(self) -> str:
        return f"{self.shard}: {self.message}"


def verify(out: str) -> list[Problem]:
    """Check an output folder, one shard in memory at a time; an empty list means all is well.

    Raises:
        OutputError: not an output of `tokenize`.
    """
    storage = open_storage(out)
    manifest = Manifest(storage)
    stored = manifest.require_config()
    checker = _Checker(storage, stored)
    plan = manifest.read_plan()
    problems: list[Problem] = []
    for shard in plan.shards:
        try:
            record = manifest.record(shard.name)
        except FileNotFoundError:
            problems.append(Problem(shard.name, "not committed: the run is unfinished, run the same command again to go on"))
            continue
        except ShardError as error:
            problems.append(Problem(shard.name, str(error)))
            continue
        problems += checker.shard(shard, record)
    problems += checker.strangers({shard.name for shard in plan.shards})
    return problems


class _Checker:
    """Checks shards of one output folder."""

    def __init__(self, storage: Storage, stored: Mapping[str, Any]) -> None:
        self._storage = storage
        self._format: ShardFormat = shard_format(stored["config"]["format"])
        self._spec: CodecSpec = spec_from_dict(stored["codec"])
        self._fingerprint = fingerprint(stored)

    def shard(self, planned: PlannedShard, record: CommitRecord) -> list[Problem]:
        """Everything wrong with one committed shard."""
        return [Problem(planned.name, message) for message in self._problems(planned, record)]

    def strangers(self, planned: set[str]) -> Iterator[Problem]:
        """Files among the shards that no record knows."""
        known = {self._format.file_name(shard) for shard in planned}
        for name in self._storage.list(DATA):
            if not name.startswith(".") and name not in known:
                yield Problem(name, "no shard of this plan: a file that somebody else put here")

    def _problems(self, planned: PlannedShard, record: CommitRecord) -> Iterator[str]:
        if record.shard != planned.name:
            yield f"its commit record is that of {record.shard}"
        if record.fingerprint != self._fingerprint:
            yield "was committed with another configuration than the stored one"
        name = data_name(planned.name, self._format)
        failed = [failure.id for failure in record.failures]
        if record.sha256 is None:
            if self._storage.exists(name):
                yield "has a file, though its record says that every recording failed"
            yield from _fates(planned, [], failed)
            return
        if not self._storage.exists(name):
            yield f"its file is missing: {name}"
            return
        size = self._storage.size(name)
        if size != record.bytes:
            yield f"{size} bytes, {record.bytes} were committed"
        if hash_stored(self._storage, name) != record.sha256:
            yield "its content is not what was committed (SHA-256 differs)"
        yield from self._content(planned, record, name, failed)

    def _content(self, planned: PlannedShard, record: CommitRecord, name: str, failed: list[str]) -> Iterator[str]:
        stats, ids = ShardStats(), []
        try:
            with self._storage.open(name) as file:
                for row in self._format.read(file, name):
                    ids.append(row.id)
                    yield from self._row(row)
                    stats.add(row.codes, max(self._spec.codebook_size, int(row.codes.codes.max(initial=0)) + 1))
            with self._storage.open(name) as file:
                footer = self._format.footer(file, name)
        except ShardError as error:
            yield str(error)
            return
        for what in ("rows", "frames", "chunks", "num_samples"):
            if getattr(stats, what) != getattr(record, what):
                yield f"{getattr(stats, what)} {what}, {getattr(record, what)} were committed"
        if footer != dict(record.footer):
            yield "its footer is not the one that was committed"
        yield from _fates(planned, ids, failed)

    def _row(self, row: Row) -> Iterator[str]:
        if row.codes.n_q != self._spec.n_q:
            yield f"{row.id}: {row.codes.n_q} codebooks, the codec has {self._spec.n_q}"
        try:
            split(row.codes, self._spec)
        except ShapeError as error:
            yield f"{row.id}: {error}"


def _fates(planned: PlannedShard, rows: list[str], failed: list[str]) -> Iterator[str]:
    """Each planned recording is a row or a failure, once, in order."""
    fates = Counter([*rows, *failed])
    expected = [recording.id for recording in planned.recordings]
    for id in expected:
        if fates[id] == 0:
            yield f"{id}: neither a row nor a recorded failure"
        elif fates[id] > 1:
            yield f"{id}: {fates[id]} times among rows and failures"
    known = set(expected)
    for id in fates:
        if id not in known:
            yield f"{id}: was not planned for this shard"
    order = [id for id in expected if id in set(rows)]
    if order != [id for id in rows if id in known] and all(fates[id] <= 1 for id in fates):
        yield "its rows are not in the plan's order"
