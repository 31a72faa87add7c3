"""AudioFolder, which the Hub documents: `metadata.csv`, `.tsv`, `.jsonl` or `.parquet` with a
column `file_name`, relative to itself."""

from __future__ import annotations

import io
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from pipelines.corpus.layouts.base import (
    NO,
    YES,
    BadRow,
    Fit,
    Folder,
    Layout,
    Row,
    half,
    parent,
    split_of,
)
from pipelines.corpus.tables.columns import PATH_COLUMNS, pick, pick_fields
from pipelines.corpus.tables.lines import BadLine, Rows
from pipelines.corpus.tables.spans import read_span
from tokenizer.errors import SourceError

_ENDINGS = ("csv", "tsv", "jsonl", "parquet")


class AudioFolder(Layout):
    """One row for each line; columns as in any table."""

    title = "AudioFolder"
    reads = "text and more from metadata files"
    is_table = True

    def fits(self, folder: Folder) -> Fit:
        tables = _tables(folder)
        if not tables:
            return NO
        why = ""
        for name in tables:
            try:
                first = next((row for _, row in _read(folder, name)), None)
            except (SourceError, pa.ArrowException) as error:
                why = why or str(error).split(";")[0]
                continue
            if not isinstance(first, Mapping) or (column := _column(first)) is None:
                why = why or f"{name} has no `file_name` in its first row"
            elif folder.find(_beside(name, str(first[column]))) in folder.audio:
                return YES
            else:
                why = why or f"{name} names {first[column]!r}, which is not there"
        return half(why)

    def rows(self, folder: Folder) -> Iterator[Row | BadRow]:
        for name in _tables(folder):
            try:
                for place, row in _read(folder, name):
                    if isinstance(row, BadLine):
                        yield BadRow(place, str(row))
                        continue
                    try:
                        yield _row(row, place, name, folder.spec)
                    except ValueError as error:
                        yield BadRow(place, str(error))
            except (SourceError, pa.ArrowException) as error:
                yield BadRow(name, str(error))


def _tables(folder: Folder) -> list[str]:
    return [name for ending in _ENDINGS for name in folder.by_name.get(f"metadata.{ending}", [])]


def _read(folder: Folder, name: str) -> Iterator[tuple[str, Mapping[str, Any] | BadLine]]:
    file, rows = io.BytesIO(folder.content(name)), Rows(name, encoding=folder.encoding)
    ending = name.rpartition(".")[2]
    if ending == "parquet":
        found = rows.parquet(file)
    elif ending == "jsonl":
        found = rows.jsonl(file)
    else:
        found = rows.delimited(file, "\t" if ending == "tsv" else ",")
    for number, row in found:
        yield f"{name}, {rows.word} {number}", row


def _column(row: Mapping[str, Any]) -> str | None:
    return pick(
        [name for name, value in row.items() if isinstance(value, str) and value],
        ("file_name", *PATH_COLUMNS),
    )


def _beside(name: str, path: str) -> str:
    return posixpath.normpath(f"{parent(name)}{path}")


def _row(row: Mapping[str, Any], place: str, name: str, spec: str) -> Row:
    column = _column(row)
    if column is None:
        raise ValueError("no `file_name`")
    span, path = read_span(row), _beside(name, row[column])
    # A file's own name stays its id, as in a plain folder; parts of it add where they are.
    id = f"{path}{span.suffix}" if span.suffix else None
    told = row.get("split")
    return Row(
        path,
        place,
        pick_fields(row, (column, *span.used)),
        id,
        span.start,
        span.end,
        span.seconds,
        told if isinstance(told, str) and told else split_of(path, spec),
    )
