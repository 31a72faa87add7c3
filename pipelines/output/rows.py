"""The rows of an output folder without their codes, a shard after the other: what `codecshards ls`
shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import IO, Any

import pyarrow as pa

from pipelines.output.formats import shard_format
from pipelines.output.formats.schema import SCALARS
from pipelines.output.manifest.commits import CommitRecord, Manifest
from pipelines.output.manifest.names import data_name
from pipelines.output.storage import open_storage
from pipelines.output.where import Where
from tokenizer.errors import ShardError, UsageError

SECONDS = "seconds"
"""a column that shards do not have: their samples over their rate"""
_MADE_FROM = ("num_samples", "sample_rate")
_AT_ONCE = 512
"""rows that a condition is asked of"""
FAILURES = pa.schema([(name, pa.string()) for name in ("id", "kind", "stage", "message", "source")])

Values = Mapping[str, Any]


class Rows:
    """The committed rows of one output folder, and the recordings that failed."""

    def __init__(self, out: str) -> None:
        """
        Raises:
            OutputError: not an output of `tokenize`.
        """
        self._storage = open_storage(out)
        self._manifest = Manifest(self._storage)
        self._form = shard_format(self._manifest.require_config().config.format)

    def shards(self) -> tuple[int, int]:
        """How many are committed, and how many were planned."""
        return len(self._manifest.committed_names()), len(self._manifest.planned_names())

    def columns(self) -> list[str]:
        """Names of all columns with one value a row, as the first shard has them."""
        for record in self._records():
            with self._open(record) as file:
                return list(self._schema(file, record).names)
        return list(_with_seconds(SCALARS).names)

    def rows(self, columns: Sequence[str], where: str | None = None) -> Iterator[Values]:
        """These columns of every row for which the condition holds, in the plan's order.

        Raises:
            UsageError: a column that is not there, or no condition.
            ShardError: a shard that is damaged or missing.
        """
        conditions: dict[tuple[str, ...], Where] = {}
        for record in self._records():
            with self._open(record) as file:
                schema = self._schema(file, record)
                _require(columns, schema)
                if where is not None:
                    key = tuple(map(str, schema))
                    condition = conditions.setdefault(key, Where(where, schema))
                asked = [*columns, *(_mentioned(where, schema) if where is not None else ())]
                found = self._read(file, record, asked)
                yield from found if where is None else _holding(found, condition)
        if where is not None and not conditions:  # to be told of it also where there is no row
            Where(where, _with_seconds(SCALARS))

    def failures(self, where: str | None = None) -> Iterator[Values]:
        """Every recording that failed: the columns of `FAILURES`."""
        condition = None if where is None else Where(where, FAILURES)
        for record in self._manifest.records():
            found: Iterator[Values] = (
                {
                    "id": failure.id,
                    "kind": failure.kind,
                    "stage": failure.stage,
                    "message": failure.message,
                    "source": failure.source_uri,
                }
                for failure in record.failures
            )
            yield from found if condition is None else _holding(found, condition)

    def _records(self) -> Iterator[CommitRecord]:
        """Of the shards that have rows, each read when its turn comes."""
        for name in self._manifest.committed_names():
            record = self._manifest.record(name)
            if record.sha256 is not None:
                yield record

    def _open(self, record: CommitRecord) -> IO[bytes]:
        """A shard's file; one whose commit was cut short waits under the name it was staged by."""
        name = self._manifest.place_of(record, self._form)
        for place in (name, record.staged):
            try:
                if place is not None and self._storage.size(place) == record.bytes:
                    return self._storage.open(place)
            except FileNotFoundError:
                continue
        raise ShardError(
            f"{self._storage.root}/{name}: not there, or not what was committed: run "
            "`codecshards verify`"
        )

    def _schema(self, file: IO[bytes], record: CommitRecord) -> pa.Schema:
        found = self._form.columns(file, self._place(record))
        file.seek(0)
        return _with_seconds(found)

    def _read(
        self, file: IO[bytes], record: CommitRecord, columns: Sequence[str]
    ) -> Iterator[Values]:
        wanted = dict.fromkeys(columns)
        stored = dict.fromkeys(name for name in wanted if name != SECONDS)
        if SECONDS in wanted:
            stored |= dict.fromkeys(_MADE_FROM)
        for row in self._form.read_columns(file, self._place(record), list(stored)):
            if SECONDS in wanted:
                yield {**row, SECONDS: row["num_samples"] / row["sample_rate"]}
            else:
                yield row

    def _place(self, record: CommitRecord) -> str:
        return f"{self._storage.root}/{data_name(record.shard, self._form)}"


def _with_seconds(schema: pa.Schema) -> pa.Schema:
    """Where a condition reads only some columns, the others are null."""
    own = [one.with_nullable(True) for one in schema if one.name != SECONDS]
    return pa.schema([*own, pa.field(SECONDS, pa.float64())])


def _require(columns: Sequence[str], schema: pa.Schema) -> None:
    for name in columns:
        if name not in schema.names:
            raise UsageError(
                f"--columns {name}: there is no such column; there are {', '.join(schema.names)}"
            )


def _mentioned(where: str, schema: pa.Schema) -> list[str]:
    """Columns that a condition may be about: those whose names occur in it."""
    if "*" in where and re.search(r"\bcolumns\b", where, re.IGNORECASE):
        return list(schema.names)
    words = {word.lower() for word in re.findall(r"\w+", where)}
    return [name for name in schema.names if set(re.findall(r"\w+", name.lower())) <= words]


def _holding(rows: Iterator[Values], condition: Where) -> Iterator[Values]:
    while batch := list(islice(rows, _AT_ONCE)):
        try:
            answers = condition.holds(batch)
        except pa.ArrowException as error:  # a column that says one thing and holds another
            raise UsageError(f"--where {condition.expression!r}: {error}") from error
        for row, holds in zip(batch, answers, strict=True):
            if holds:
                yield row
