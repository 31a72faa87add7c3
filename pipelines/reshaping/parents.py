"""An output folder that another one is made from: its shards one after the other, what was planned
for each, and its rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import IO, Any

import pyarrow as pa

from pipelines.output.formats import ShardFormat, shard_format
from pipelines.output.formats.base import Lost, Partial
from pipelines.output.formats.schema import (
    SCALARS,
    SECONDS,
    Row,
    make_footer,
    unknown_measures,
    with_seconds,
)
from pipelines.output.manifest.commits import CommitRecord, Manifest
from pipelines.output.manifest.names import data_name, hash_file
from pipelines.output.plan import PlannedShard
from pipelines.output.plans.together import Plans
from pipelines.output.storage import open_storage
from pipelines.system.places import is_remote
from tokenizer.errors import FailureKind, OutputError, ShardError, UsageError
from tokenizer.types import Recording

SALVAGED = "expand"
"""stage of the failures of rows that were lost after they had been tokenized"""


_NOTHING = dict.fromkeys(SCALARS.names)
"""what is said of a row by columns that another program has left out"""


class OtherRowsError(ShardError):
    """A file that is whole in itself, and not what was committed."""


@dataclass(frozen=True, slots=True)
class Item:
    """A planned recording of a parent: a row, or a failure."""

    row: int | None
    """its place in the shard's file; None of a failure"""
    recording: Recording
    """as planned, with text, language and speaker as the row has them"""
    facts: Mapping[str, Any]
    """the columns with one value a row, and `SECONDS`; nothing of a failure"""
    failure: Mapping[str, str] | None = None


class Parent:
    """One finished output folder."""

    def __init__(self, out: str, salvage: bool = False, allow_damaged: bool = False) -> None:
        """
        Args:
            out: the folder.
            salvage: take of a damaged shard the rows that are whole.
            allow_damaged: take of it all that can be read, and of a shard that cannot be read at
                all, or is cut off, make failures.

        Raises:
            OutputError: not an output folder, or an unfinished one.
        """
        self.out, self.salvage, self.allow_damaged = out, salvage, allow_damaged
        self.flaws: dict[str, str] = {}
        """by file: what was damaged of it beside its rows"""
        self._known: dict[int, str | None] = {}
        """by shard: the file that rows were counted in"""
        self._storage = open_storage(out)
        self.manifest = Manifest(self._storage)
        self.stored = self.manifest.require_config()
        self.form = shard_format(self.stored.config.format)
        self.manifest.plan_facts()
        self.names = self.manifest.planned_names()
        missing = len(self.names) - len(self.manifest.committed_names())
        if missing:
            raise OutputError(
                f"{out}: {missing} of {len(self.names)} shards are not there yet: finish it first, "
                "with the command that began it"
            )

    @property
    def root(self) -> str:
        """Its place, spelled out."""
        return self._storage.root

    @cached_property
    def _plans(self) -> Plans:
        return self.manifest.read_plans()

    @cached_property
    def _planned(self) -> list[tuple[PlannedShard, frozenset[str]]]:
        """Every shard, and ids of which a later generation gives the verdict."""
        return [(shard, part.void) for part in self._plans.parts for shard in part.plan.shards]

    @property
    def notes(self) -> tuple[str, ...]:
        """What the source found and did not use."""
        return self._plans.notes

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of its splits, in order."""
        return tuple(dict.fromkeys(name.rsplit("-", 3)[0] for name in self.names))

    def split_of(self, shard: int) -> str:
        """The split of a shard."""
        return self.names[shard].rsplit("-", 3)[0]

    def planned(self, shard: int) -> Iterator[Recording]:
        """What was planned for a shard and has its verdict there."""
        planned, void = self._planned[shard]
        return (one for one in planned.recordings if one.id not in void)

    def ids(self) -> Iterator[str]:
        """Every planned id."""
        return self._plans.ids()

    def failures(self) -> Iterator[tuple[str, str]]:
        """Id and kind of every recording without a row."""
        for record in self.manifest.records():
            yield from ((failure.id, failure.kind) for failure in record.failures)

    @cached_property
    def state(self) -> str:
        """Changes when any of its rows or failures does (16 hex digits)."""
        digest = hashlib.sha256(self.stored.fingerprint.encode())
        for name in self.names:
            record = self.manifest.record(name)
            failed = [[one.id, one.kind] for one in record.failures]
            digest.update(json.dumps([name, record.sha256, failed]).encode())
        return digest.hexdigest()[:16]

    @cached_property
    def quality(self) -> Mapping[str, Mapping[str, str]]:
        """Its columns of quality: unit and meaning of each."""
        for name in self.names:
            record = self.manifest.record(name)
            if record.sha256 is None:
                continue
            if "codec" not in record.footer:  # another program wrote it
                return unknown_measures(self.columns)
            found: Mapping[str, Mapping[str, str]] = record.footer.get("quality", {})
            return found
        return {}

    def footer_of(self, record: CommitRecord) -> Mapping[str, Any]:
        """What a file says of itself that takes the place of a shard's."""
        if "codec" in record.footer:
            return record.footer
        return make_footer(self.stored.codec, self.stored.version, self.quality)

    @cached_property
    def columns(self) -> pa.Schema:
        """Its columns with one value a row, and `SECONDS`."""
        for name in self.names:
            record = self.manifest.record(name)
            if record.sha256 is not None:
                with self._fetched(record) as path, open(path, "rb") as file:  # noqa: PTH123
                    return with_seconds(self.form.columns(file, path))
        return with_seconds(SCALARS)

    def others(self, shard: int) -> list[str]:
        """Columns of a shard that was adopted which no row of ours has: they are in no file that is
        written of it. The index of pandas is none."""
        record = self.manifest.record(self.names[shard])
        adopted = (self.stored.derived or {}).get("command") == "adopt"
        if not adopted or record.sha256 is None:
            return []
        with self._fetched(record) as path, open(path, "rb") as file:  # noqa: PTH123
            found = self.form.columns(file, self._place(record))
        return [
            one.name
            for one in found
            if one.name not in (*SCALARS.names, *self.quality)
            and not one.name.startswith("__index_level_")
        ]

    def items(self, shard: int) -> Iterator[Item]:
        """What was planned for a shard, in order; no codes are read.

        Raises:
            ShardError: it is damaged, or not what was planned.
        """
        record = self.manifest.record(self.names[shard])
        self._known[shard] = record.sha256
        failed = {failure.id: failure for failure in record.failures}
        rows = self._forgiven(record) if self.allow_damaged else self._facts(record)
        at, facts = 0, next(rows, None)
        for recording in self.planned(shard):
            if recording.id in failed:
                failure = failed[recording.id]
                said = {name: getattr(failure, name) for name in failure.__slots__}
                yield Item(None, recording, {}, said)
                continue
            if isinstance(facts, Lost):
                yield Item(None, recording, {}, damaged(recording, facts.message))
            elif facts is not None and facts["id"] == recording.id:
                yield Item(at, _as_row(recording, facts), facts)
            elif self.allow_damaged:  # its block is gone, and with it what would be counted
                why = self.flaws.get(self._place(record)) or "it is not in its shard"
                yield Item(None, recording, {}, damaged(recording, why))
                continue
            else:
                raise self._other_rows(record)
            at, facts = at + 1, next(rows, None)
        if facts is not None and self.allow_damaged:
            raise self._other_rows(record)

    def form_like(self) -> ShardFormat:
        """The format with the settings of its first file."""
        for name in self.names if self.form.has_settings else ():
            record = self.manifest.record(name)
            if record.sha256 is not None:
                with self._fetched(record) as path, open(path, "rb") as file:  # noqa: PTH123
                    return self.form.like(file, self._place(record))
        return self.form

    def rows(self, shard: int) -> Iterator[Row]:
        """Every row of a shard, which is compared with its committed hash first.

        Raises:
            ShardError: damage.
        """
        record = self._same(shard)
        if record.sha256 is None:
            return
        with self._fetched(record, whole=True) as path, open(path, "rb") as file:  # noqa: PTH123
            yield from self.form.read(file, self._place(record))

    def salvaged(self, shard: int) -> Iterator[Row | Lost]:
        """The same, with the rows of a damaged shard that are whole, and what is wrong with the
        others.

        Raises:
            ShardError: damage that is not of single rows.
        """
        record = self._same(shard)
        if record.sha256 is None:
            return
        with self._hint(), self._fetched(record) as path, open(path, "rb") as file:  # noqa: PTH123
            if hash_file(path) == record.sha256:
                yield from self.form.read(file, self._place(record))
            else:
                yield from self._salvaged(file, self._place(record))

    def _same(self, shard: int) -> CommitRecord:
        """A shard's record, if its rows are still those that were counted."""
        record = self.manifest.record(self.names[shard])
        if self._known.get(shard, record.sha256) != record.sha256:
            raise OutputError(
                f"{self.out} was changed while it was read ({record.shard}): begin what is made of "
                "it anew, in another folder"
            )
        return record

    def _other_rows(self, record: CommitRecord) -> OtherRowsError:
        return OtherRowsError(
            f"{self._place(record)}: its rows are not those that were planned: run `codecshards "
            f"verify {self.out}`"
        )

    def _salvaged(self, file: IO[bytes], place: str) -> Iterator[Row | Lost]:
        """Rows of a file that is not the one that was committed. The last waits until it is known
        that damage was found: a file of other rows would have none."""
        last: Row | Lost | None = None
        lost = False
        for found in self.form.salvage(file, place):
            if last is not None:
                yield last
            lost = lost or not isinstance(found, Row)
            last = found.row if isinstance(found, Partial) else found
        if not lost and not self._flawed(file, place):
            raise OtherRowsError(
                f"{place}: damaged: not the bytes that were committed (SHA-256), and whole in "
                "itself: restore it"
            )
        if last is not None:
            yield last

    def _flawed(self, file: IO[bytes], place: str) -> bool:
        """Whether a file is damaged in what can be done without."""
        return self.allow_damaged and bool(self.form.flaws(file, place))

    def _forgiven(self, record: CommitRecord) -> Iterator[Mapping[str, Any] | Lost]:
        """`_facts`; of a shard that cannot be read those before that, or none."""
        try:
            yield from self._facts(record)
        except ShardError as error:
            self.flaws[self._place(record)] = str(error)

    def _facts(self, record: CommitRecord) -> Iterator[Mapping[str, Any] | Lost]:
        if record.sha256 is None:
            return
        with self._hint(), self._fetched(record) as path, open(path, "rb") as file:  # noqa: PTH123
            if self.allow_damaged and hash_file(path) != record.sha256:
                place = self._place(record)
                if flaws := self.form.flaws(file, place):
                    self.flaws[place] = f"{place}: damaged: {'; '.join(flaws)}"
            names = self.form.columns(file, self._place(record)).names
            file.seek(0)
            read = self.form.salvage_columns if self.salvage else self.form.read_columns
            for facts in read(file, self._place(record), names):
                if isinstance(facts, Lost):
                    yield facts
                    continue
                seconds = facts["num_samples"] / facts["sample_rate"]
                yield {**_NOTHING, **facts, SECONDS: seconds}

    @contextmanager
    def _hint(self) -> Iterator[None]:
        """What cannot be read says that more of it can be."""
        try:
            yield
        except OtherRowsError:
            raise
        except ShardError as error:
            if not self.salvage or self.allow_damaged:
                raise
            raise ShardError(f"{error}; --allow-damaged keeps what can be read") from error

    @contextmanager
    def _fetched(self, record: CommitRecord, whole: bool = False) -> Iterator[str]:
        """A local path to a shard's file; one whose commit was cut short waits under the name it
        was staged by."""
        final = self.manifest.place_of(record, self.form)
        for name in (final, record.staged):
            try:
                if name is None or self._storage.size(name) != record.bytes:
                    continue
            except FileNotFoundError:
                continue
            with self._storage.fetch(name) as path:
                if whole and hash_file(path) != record.sha256:
                    continue
                yield path
                return
        if self.allow_damaged and not whole and self._storage.exists(final):
            with self._storage.fetch(final) as path:
                yield path
            return
        raise ShardError(
            f"{self._place(record)}: not there, or not what was committed: run `codecshards "
            f"verify {self.out}`"
        )

    def _place(self, record: CommitRecord) -> str:
        return f"{self.root}/{data_name(record.shard, self.form)}"


def damaged(recording: Recording, message: str) -> Mapping[str, str]:
    """A row that was lost, as `Failure` has it."""
    return {
        "id": recording.id,
        "source_uri": recording.uri,
        "kind": str(FailureKind.DAMAGED),
        "message": message,
        "stage": SALVAGED,
    }


def open_parents(
    outs: list[str], new: str, salvage: bool = False, allow_damaged: bool = False
) -> list[Parent]:
    """
    Raises:
        OutputError: one is not there or unfinished.
        UsageError: two are one folder, or the new one is among them.
    """
    parents = [Parent(out, salvage, allow_damaged) for out in outs]
    roots = [parent.root for parent in parents]
    for at, root in enumerate(roots):
        if root in roots[:at]:
            raise UsageError(f"{outs[at]} is given twice: once is enough")
    root = open_storage(new).root
    if root in roots:
        raise UsageError(f"{new} is what it would be made from: choose another folder for it")
    for parent in roots:
        if not is_remote(root) and (root.startswith(f"{parent}/") or parent.startswith(f"{root}/")):
            raise UsageError(f"{new} and {parent} lie in each other: choose another folder")
    return parents


def _as_row(recording: Recording, facts: Mapping[str, Any]) -> Recording:
    """What was planned, as the row has it now."""
    said = {name: facts[name] for name in ("text", "language", "speaker")}
    return replace(recording, seconds=facts[SECONDS], **said)
