"""A folder of Parquet files with an audio column, as the Hub stores data sets; the audio is read as bytes, a row at a time."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.arrow import open_parquet
from pipelines.remote import filesystem, open_remote
from pipelines.sources.base import Source, is_remote, open_file
from pipelines.sources.table import AUDIO_COLUMNS, describe_row, pick
from tokenizer.errors import FailureKind, RecordingError, SourceError
from tokenizer.types import Recording


class ParquetSource(Source):
    """Every row of every file, in the files' order. The id is a column's, or `FILE-ROW`."""

    def __init__(self, spec: str) -> None:
        self.spec = spec if is_remote(spec) else str(Path(spec).resolve())
        self._group: tuple[str, int, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"spec": self.spec, "_group": None}

    def scan(self) -> Iterator[Recording]:
        fs, root = filesystem(self.spec)
        for path in sorted(path for path in fs.find(root) if path.endswith(".parquet")):
            uri = fs.unstrip_protocol(path) if is_remote(self.spec) else path
            try:
                with fs.open(path) as handle:
                    yield from _scan_file(uri, path[len(root) :].lstrip("/"), open_parquet(handle))
            except (pa.ArrowException, OSError) as error:
                raise SourceError(f"{uri}: not a readable Parquet file: {error}") from error

    def open(self, recording: Recording) -> str | BinaryIO:
        group = self._read_group(recording.uri, int(recording.locator["row_group"]), recording.locator["column"])
        value = group[int(recording.locator["row"])].as_py()
        return audio_value(value, recording.uri)

    def _read_group(self, uri: str, number: int, column: str) -> Any:
        # Rows are asked for in order: the group at hand serves the next ones too.
        if self._group is None or self._group[:2] != (uri, number):
            try:
                with open_remote(uri) as handle:
                    table = open_parquet(handle).read_row_group(number, columns=[column], use_threads=False)
            except FileNotFoundError as error:
                raise RecordingError(FailureKind.NOT_FOUND, f"{uri}: no such file", "open") from error
            except (pa.ArrowException, OSError) as error:
                raise RecordingError(FailureKind.UNREADABLE, f"{uri}: {error}", "open") from error
            self._group = (uri, number, table[column])
        return self._group[2]


def audio_value(value: Any, uri: str) -> str | BinaryIO:
    """The file in an audio cell: bytes, or a path that is stored instead of them.

    Raises:
        RecordingError: an empty cell (NOT_FOUND).
    """
    if isinstance(value, bytes):
        return io.BytesIO(value)
    if isinstance(value, dict):
        if value.get("bytes") is not None:
            return io.BytesIO(value["bytes"])
        if value.get("path"):
            return open_file(str(value["path"]))
    if isinstance(value, str) and value:
        return open_file(value)
    raise RecordingError(FailureKind.NOT_FOUND, f"{uri}: the row has no audio", "open")


def audio_column(schema: pa.Schema) -> str | None:
    """The column that holds audio: a struct with bytes, or binary; by its type first, then by its name."""
    structs = [
        field.name for field in schema if pa.types.is_struct(field.type) and "bytes" in {child.name for child in field.type}
    ]
    if structs:
        return pick(structs, AUDIO_COLUMNS) or structs[0]
    binary = [field.name for field in schema if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)]
    return pick(binary, AUDIO_COLUMNS)


def _scan_file(uri: str, name: str, file: pq.ParquetFile) -> Iterator[Recording]:
    column = audio_column(file.schema_arrow)
    if column is None:
        raise SourceError(f"{uri}: no audio column (one with bytes is expected) among {', '.join(file.schema_arrow.names)}")
    others = [field for field in file.schema_arrow.names if field != column]
    number = 0
    for group in range(file.num_row_groups):
        rows = file.read_row_group(group, columns=others, use_threads=False).to_pylist() if others else []
        for row in range(file.metadata.row_group(group).num_rows):
            fallback = f"{name.removesuffix('.parquet')}-{number:08d}"
            yield Recording(
                uri=uri,
                locator={"row_group": group, "row": row, "column": column},
                **describe_row(rows[row] if rows else {}, fallback),
            )
            number += 1
