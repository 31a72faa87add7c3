"""The rows of an output folder without their codes, a shard after the other: what `codecshards ls`
shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any

import pyarrow as pa

from pipelines.output.bare.shards import bare_shards, planned
from pipelines.output.formats import shard_format
from pipelines.output.formats.schema import SCALARS, SECONDS, with_seconds
from pipelines.output.manifest.commits import Manifest
from pipelines.output.manifest.names import data_name
from pipelines.output.storage import open_storage
from pipelines.output.where import Where
from tokenizer.errors import OutputError, ShardError, UsageError

_MADE_FROM = ("num_samples", "sample_rate")
_AT_ONCE = 512
"""rows that a condition is asked of"""
FAILURES = pa.schema([(name, pa.string()) for name in ("id", "kind", "stage", "message", "source")])

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Shard:
    """A shard that has rows."""

    places: tuple[str, ...]
    """where it may lie"""
    bytes: int | None
    """as committed; None where nothing says"""
    name: str | None = None
    """its final one, for messages"""


class Rows:
    """The committed rows of one output folder, and the recordings that failed."""

    def __init__(self, out: str) -> None:
        """
        Raises:
            OutputError: not an output of `tokenize`.
        """
        self._storage = open_storage(out)
        self._manifest = Manifest(self._storage)
        stored = self._manifest.read_config()
        self._bare = bare_shards(self._storage) if stored is None else []
        if self._bare:
            self._form = shard_format(self._bare[0].format)
        else:
            self._form = shard_format(self._manifest.require_config().config.format)

    def shards(self) -> tuple[int, int]:
        """How many are committed, and how many were planned; without a manifest how many are there,
        and are to be by their names."""
        if self._bare:
            return len(self._bare), planned(self._bare)
        return len(self._manifest.committed_names()), len(self._manifest.planned_names())

    def columns(self) -> list[str]:
        """Names of all columns with one value a row, as the first shard has them."""
        for shard in self._shards():
            with self._open(shard) as file:
                return list(self._schema(file, shard).names)
        return list(with_seconds(SCALARS).names)

    def rows(self, columns: Sequence[str], where: str | None = None) -> Iterator[Values]:
        """These columns of every row for which the condition holds, in the plan's order.

        Raises:
            UsageError: a column that is not there, or no condition.
            ShardError: a shard that is damaged or missing.
        """
        conditions: dict[tuple[str, ...], Where] = {}
        for shard in self._shards():
            with self._open(shard) as file:
                schema = self._schema(file, shard)
                _require(columns, schema)
                if where is not None:
                    key = tuple(map(str, schema))
                    condition = conditions.setdefault(key, Where(where, schema))
                asked = [*columns, *(_mentioned(where, schema) if where is not None else ())]
                found = self._read(file, shard, asked, schema)
                yield from found if where is None else _holding(found, condition)
        if where is not None and not conditions:  # to be told of it also where there is no row
            Where(where, with_seconds(SCALARS))

    def failures(self, where: str | None = None) -> Iterator[Values]:
        """Every recording that failed: the columns of `FAILURES`.

        Raises:
            OutputError: no manifest says.
        """
        self.require_failures()
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

    def require_failures(self) -> None:
        """
        Raises:
            OutputError: no manifest says what failed.
        """
        if self._bare:
            raise OutputError(
                f"{self._storage.root} has no manifest, which would say what failed: look where "
                "its shards were made"
            )

    def _shards(self) -> Iterator[_Shard]:
        """Those that have rows, each looked at when its turn comes."""
        for bare in self._bare:
            yield _Shard((bare.place,), None)
        if self._bare:
            return
        for name in self._manifest.committed_names():
            record = self._manifest.record(name)
            if record.sha256 is not None:
                place = self._manifest.place_of(record, self._form)
                # One whose commit was cut short waits under the name it was staged by.
                staged = () if record.staged is None else (record.staged,)
                yield _Shard((place, *staged), record.bytes, data_name(name, self._form))

    def _open(self, shard: _Shard) -> IO[bytes]:
        for place in shard.places:
            try:
                if shard.bytes in (None, self._storage.size(place)):
                    return self._storage.open(place)
            except FileNotFoundError:
                continue
        raise ShardError(
            f"{self._storage.root}/{shard.places[0]}: not there, or not what was committed: run "
            "`codecshards verify`"
        )

    def _schema(self, file: IO[bytes], shard: _Shard) -> pa.Schema:
        found = self._form.columns(file, self._name(shard))
        file.seek(0)
        return with_seconds(found)

    def _read(
        self, file: IO[bytes], shard: _Shard, columns: Sequence[str], schema: pa.Schema
    ) -> Iterator[Values]:
        """Of a column that another program has left out, nothing."""
        wanted: dict[str, None] = dict.fromkeys(columns)
        lacking = dict.fromkeys(name for name in wanted if name not in schema.names)
        stored = dict.fromkeys(name for name in wanted if name not in (SECONDS, *lacking))
        if SECONDS in wanted:
            stored |= dict.fromkeys(_MADE_FROM)
        for row in self._form.read_columns(file, self._name(shard), list(stored)):
            if SECONDS in wanted:
                row = {**row, SECONDS: row["num_samples"] / row["sample_rate"]}
            yield {**lacking, **row} if lacking else row

    def _name(self, shard: _Shard) -> str:
        return f"{self._storage.root}/{shard.name or shard.places[0]}"


def _require(columns: Sequence[str], schema: pa.Schema) -> None:
    for name in columns:
        if name not in (*schema.names, *SCALARS.names):
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
