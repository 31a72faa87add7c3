"""A plan's rows: recordings as columns of a Parquet file, a few thousand at a time, and back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tokenizer.types import Recording

GROUP = 4096
"""rows of a row group: what a reader of one shard reads at least"""
SCHEMA = pa.schema(
    [
        ("shard", pa.int32()),
        ("id", pa.string()),
        ("uri", pa.string()),
        ("locator", pa.string()),
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("seconds", pa.float64()),
        ("text", pa.string()),
        ("language", pa.string()),
        ("speaker", pa.string()),
        ("meta", pa.string()),
        ("channel", pa.int16()),
    ]
)


def _writer_of(ensure_ascii: bool) -> Callable[[Any], str]:
    """Writes JSON as `json.JSONEncoder(sort_keys=True)` does, which makes what it writes with anew
    for every value: half of the time, for values as small as these."""
    encoder = json.JSONEncoder(sort_keys=True, ensure_ascii=ensure_ascii)
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    strings = json.encoder
    escape: Any = strings.encode_basestring_ascii if ensure_ascii else strings.encode_basestring
    pieces: Any = make(None, encoder.default, escape, None, ": ", ", ", True, False, True)
    return lambda value: "".join(pieces(value, 0))


_locator, _meta = _writer_of(True), _writer_of(False)


def _located(locator: Mapping[str, Any]) -> str:
    """What `_locator` writes; most have a version alone, whose text is known."""
    if len(locator) == 1:
        (name,) = locator
        version = locator[name]
        if name == "version" and type(version) is str and _SIMPLE.fullmatch(version):
            return f'{{"version": "{version}"}}'
    return _locator(dict(locator))


_SIMPLE = re.compile(r"[A-Za-z0-9 .:/+=_-]*")
"""text that stands in JSON as it is"""
_PLAIN = ("id", "uri", "start", "end", "seconds", "text", "language", "speaker", "channel")
"""columns that hold a field as it is"""


class RowWriter:
    """Writes recordings to a plan's file, row group by row group; the same recordings give the same
    bytes."""

    def __init__(self, path: str) -> None:
        self._writer: Any = self._open(path)
        self._tables: list[pa.Table] = []
        self._empty()

    def _open(self, path: str) -> Any:
        return pq.ParquetWriter(
            path,
            SCHEMA,
            compression="zstd",
            store_schema=True,
            write_statistics=["shard", "id"],
            write_page_checksum=True,
        )

    def add(self, shard: int, recording: Recording) -> None:
        """One recording; shards come in order."""
        locator, meta = recording.locator, recording.meta
        self._shards.append(shard)
        self._recordings.append(recording)
        # As text they are small, whatever is in them.
        self._locators.append(_located(locator) if locator else None)
        self._metas.append(_meta(dict(meta)) if meta else None)
        if len(self._shards) == GROUP:
            self._write()

    def add_rows(self, table: pa.Table) -> None:
        """Rows as they are in another plan; a file is written in this way alone, or in the other
        alone."""
        self._tables.append(table)
        if sum(map(len, self._tables)) >= GROUP:
            whole = pa.concat_tables(self._tables)
            full = len(whole) // GROUP * GROUP
            self._writer.write_table(whole.slice(0, full), row_group_size=GROUP)
            self._tables = [whole.slice(full)]

    def close(self, facts: Mapping[str, str]) -> None:
        """Write what is left, and facts about the whole."""
        if self._shards:
            self._write()
        if any(map(len, self._tables)):
            self._writer.write_table(pa.concat_tables(self._tables), row_group_size=GROUP)
        self._writer.add_key_value_metadata(dict(facts))
        self._writer.close()

    def _write(self) -> None:
        kept = self._recordings
        columns: dict[str, list[Any]] = {
            name: [getattr(one, name) for one in kept] for name in _PLAIN
        }
        columns |= {"shard": self._shards, "locator": self._locators, "meta": self._metas}
        table = pa.table({name: columns[name] for name in SCHEMA.names}, SCHEMA)
        self._put(table)
        self._empty()

    def _put(self, table: pa.Table) -> None:
        self._writer.write_table(table, row_group_size=GROUP)

    def _empty(self) -> None:
        self._shards: list[int] = []
        self._recordings: list[Recording] = []
        self._locators: list[str | None] = []
        self._metas: list[str | None] = []


class Spool(RowWriter):
    """The same rows in a stream of Arrow's, for as long as a process wants them again: a third of
    the cost."""

    def _open(self, path: str) -> Any:
        options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
        return pa.ipc.new_stream(path, SCHEMA, options=options)

    def _put(self, table: pa.Table) -> None:
        self._writer.write_table(table)

    def end(self) -> None:
        """Write what is left."""
        if self._shards:
            self._write()
        self._writer.close()


def to_recordings(table: pa.Table) -> Iterable[Recording]:
    """Recordings from a plan's columns; those of plans from before there was a channel too."""
    there = set(table.column_names)
    loads: Callable[[str], Any] = json.loads
    columns: list[Sequence[Any]] = [
        table[name].to_pylist() if name in there else [None] * len(table)
        for name in (*_PLAIN, "locator", "meta")
    ]
    for id, uri, start, end, seconds, text, language, speaker, channel, locator, meta in zip(
        *columns, strict=True
    ):
        yield Recording(
            id,
            uri,
            loads(locator) if locator else {},
            start,
            end,
            seconds,
            text,
            language,
            speaker,
            loads(meta) if meta else {},
            channel,
        )
