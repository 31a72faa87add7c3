"""Parquet files with an audio column, as the Hub stores data sets; the audio is read as bytes, a
row at a time."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.corpus.sources.base import (
    Source,
    extension,
    is_remote,
    open_file,
    refuse_rejected,
    rejected,
)
from pipelines.corpus.sources.identity import (
    AUDIO,
    FILE,
    VERSION,
    changed,
    file_version,
    handle_version,
    require_same,
    row_version,
)
from pipelines.corpus.sources.listing import by_ending, holds_only, is_folder, list_folder
from pipelines.corpus.tables.audio_cells import (
    are_small,
    holds_bytes,
    is_bytes,
    lengths_of_group,
)
from pipelines.corpus.tables.columns import (
    AUDIO_COLUMNS,
    UniqueColumn,
    describe_row,
    pick,
    splits_of_files,
)
from pipelines.system.arrow import GroupSizes, open_parquet, sizes_of_group, sizes_of_groups
from pipelines.system.places import within
from pipelines.system.remote import open_remote
from tokenizer.errors import FailureKind, RecordingError, SourceError
from tokenizer.types import Recording


class ParquetSource(Source):
    """Every row of a file, or of every file in a folder, in order. The id is a column's, or
    `FILE-ROW`."""

    def __init__(self, spec: str) -> None:
        self.spec = spec if is_remote(spec) else str(Path(spec).resolve())
        self._group: tuple[tuple[str, int], _Group] | None = None

    @staticmethod
    def fits(spec: str) -> bool:
        """A folder of Parquet files, or one of them, with audio in it and not only paths."""
        if is_folder(spec):
            return holds_only(spec, "parquet")
        return extension(spec) == "parquet" and _holds_audio(spec)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_group": None}

    def scan(self) -> Iterator[Recording]:
        files = self._files()
        splits = splits_of_files(files)
        tables = [_Table(f"{self._folder()}/{name}", name, splits.get(name)) for name in files]
        unique = UniqueColumn(
            set.intersection(*(set(table.names()) for table in tables)) if tables else ()
        )
        small = are_small([f"{self._folder()}/{name}" for name in files])
        for table in tables:
            table.small = small
            table.count(unique)
        identity, note = unique.choose()
        if note:
            self.note(note)
        left_out: set[str] = set()
        for table in tables:
            yield from table.recordings(identity)
            left_out |= table.left_out
        if tables and not any(table.rows for table in tables):
            raise SourceError(f"{self.spec}: the table has no rows")
        if left_out:
            self.note(f"not kept, columns of bytes beside the audio: {', '.join(sorted(left_out))}")

    def open(self, recording: Recording) -> str | BinaryIO:
        refuse_rejected(recording)
        uri, number, row = (
            recording.uri,
            int(recording.locator["row_group"]),
            int(recording.locator["row"]),
        )
        group = self._read_group(uri, number)
        planned = recording.locator.get(VERSION)
        if self.check_versions and planned and (row >= len(group) or group.version(row) != planned):
            raise changed(f"{uri}, row {row} of group {number}", "another row is there")
        if self.check_versions:
            require_same(
                f"{uri}, row {row} of group {number}", recording.locator.get(FILE), group.of_file
            )
        if row >= len(group):
            raise RecordingError(
                FailureKind.NOT_FOUND, f"{uri}: group {number} has no row {row}", "open"
            )
        return audio_value(
            group.audio[row].as_py(),
            f"{uri}, row {row} of group {number}",
            self._folder(),
            self.follow_links,
        )

    def files(self) -> Mapping[str, str | None]:
        uris = [f"{self._folder()}/{name}" for name in self._files()]
        return {uri: file_version(uri) for uri in uris}

    def _folder(self) -> str:
        return (
            self.spec.rstrip("/").rsplit("/", 1)[0]
            if self.spec.endswith(".parquet")
            else self.spec.rstrip("/")
        )

    def _files(self) -> list[str]:
        """Names in the folder."""
        self.notes = ()
        if self.spec.endswith(".parquet") and (is_remote(self.spec) or Path(self.spec).is_file()):
            return [self.spec.rsplit("/", 1)[1]]
        listing = list_folder(self.spec, follow_links=self.follow_links)
        names = [name for name in listing.files if name.endswith(".parquet")]
        outside = [name for name in names if listing.files[name].outside is not None]
        if outside:
            raise SourceError(
                f"{self.spec}/{outside[0]}: a link that leaves the source; --follow-links follows "
                "it"
            )
        others = [name for name in listing.files if name not in names]
        self.notes = (
            *listing.notes(),
            *([f"not read, beside the Parquet files: {by_ending(others)}"] if others else []),
        )
        return names

    def _read_group(self, uri: str, number: int) -> _Group:
        # Rows are asked for in order: the group at hand serves the next ones too.
        if self._group is None or self._group[0] != (uri, number):
            try:
                with _opened(uri) as handle:
                    file = open_parquet(handle, checksums=True)
                    if number >= file.num_row_groups:
                        raise changed(uri, f"has {file.num_row_groups} row groups, others")
                    group = _Group(uri, file, number)
                    group.of_file = handle_version(handle, uri)
                    self._group = ((uri, number), group)
            except FileNotFoundError as error:
                raise RecordingError(
                    FailureKind.NOT_FOUND, f"{uri}: no such file", "open"
                ) from error
            except (pa.ArrowException, OSError, ValueError) as error:
                raise RecordingError(FailureKind.UNREADABLE, f"{uri}: {error}", "open") from error
        return self._group[1]


class _Group:
    """A row group with what tells its rows apart."""

    def __init__(
        self, uri: str, file: pq.ParquetFile, number: int, listed: GroupSizes | None = None
    ) -> None:
        """`listed`: what its columns hold, where rows are listed, and no audio is read."""
        self._uri, read_audio = uri, listed is None
        column = audio_column(file.schema_arrow)
        if column is None:
            raise changed(uri, "has no audio column, another schema")
        self.left_out = {
            field.name
            for field in file.schema_arrow
            if field.name != column and holds_bytes(field.type)
        }
        # Of a struct with bytes only the name is read while listing: the bytes are the audio.
        nested = pa.types.is_struct(file.schema_arrow.field(column).type)
        children = (
            {child.name for child in file.schema_arrow.field(column).type} if nested else set()
        )
        others = [
            name for name in file.schema_arrow.names if name not in self.left_out and name != column
        ]
        wanted = (
            [*others, column]
            if read_audio
            else [*others, *([f"{column}.path"] if "path" in children else [])]
        )
        table: Any = (
            file.read_row_group(number, columns=wanted, use_threads=False) if wanted else None
        )
        self.audio: Any = table[column] if table is not None and read_audio else None
        with_paths = table is not None and "path" in children
        self._paths: Any = (
            pc.struct_field(table[column], "path").to_pylist() if with_paths else None
        )
        self.rows = table.select(others).to_pylist() if table is not None and others else []
        self._count, sizes = listed or sizes_of_group(file, number)
        self._sizes = zlib.crc32(repr((self._count, sizes)).encode())
        of_audio = [size for path, size in sizes if path.split(".", 1)[0] == column]
        self.audio_sizes = f"{self._count}-{sum(of_audio)}"
        """rows, and bytes of their audio, as they are unpacked"""
        self._file: str | None = None
        self.of_file: str | None = None
        """version of the file that it was read from"""

    def __len__(self) -> int:
        return int(self._count)

    def version(self, row: int) -> str:
        """What tells a row from others: its values, the name of its audio, its group; the file
        where it has none of these."""
        values = self.rows[row] if self.rows else {}
        path = self._paths[row] if self._paths else None
        if not any(value is not None for value in values.values()) and path is None:
            self._file = self._file or file_version(self._uri)
            return f"{self._sizes:08x}-{self._file}"
        return f"{self._sizes:08x}-{row_version({'path': path, 'row': values})}"


class _Table:
    """One file, while it is listed."""

    def __init__(self, uri: str, name: str, split: str | None) -> None:
        self._uri, self._name, self._split = uri, name, split
        self.small = False
        """whether its audio is to be read for its lengths"""
        self._version: str | None = None
        self.left_out: set[str] = set()
        self.rows = 0
        """that were listed"""

    def names(self) -> list[str]:
        with self._file() as file:
            if audio_column(file.schema_arrow) is None:
                names = ", ".join(file.schema_arrow.names)
                raise SourceError(
                    f"{self._uri}: no audio column (one with bytes is expected) among {names}"
                )
            found: list[str] = file.schema_arrow.names
            twice = next((name for name in found if found.count(name) > 1), None)
            if twice is not None:
                raise SourceError(
                    f"{self._uri}: two columns are called `{twice}`: rename or drop one"
                )
            return found

    def count(self, unique: UniqueColumn) -> None:
        if unique.columns:
            with self._file() as file:
                for group in range(file.num_row_groups):
                    table = file.read_row_group(
                        group, columns=list(unique.columns), use_threads=False
                    )
                    for column in unique.columns:
                        for value in table[column].to_pylist():
                            unique.add(column, value)

    def recordings(self, identity: str | None) -> Iterator[Recording]:
        with self._file() as file:
            column, number = audio_column(file.schema_arrow), 0
            own = {} if self._version is None else {FILE: self._version}
            for at, sizes in enumerate(sizes_of_groups(file)):
                group = _Group(self._uri, file, at, sizes)
                audio = lengths_of_group(file, at, str(column), self.small, sizes)
                self.left_out |= group.left_out
                for row in range(len(group)):
                    fallback = f"{self._name.removesuffix('.parquet')}-{number:08d}"
                    seconds = next(audio, None)
                    try:
                        told = describe_row(
                            group.rows[row] if group.rows else {}, fallback, identity, self._split
                        )
                    except ValueError as error:
                        yield rejected(
                            fallback,
                            self._uri,
                            FailureKind.BAD_ROW,
                            f"{self._uri}, row {number + 1}: {error}",
                        )
                    else:
                        locator = {
                            "row_group": at,
                            "row": row,
                            "column": column,
                            VERSION: group.version(row),
                            AUDIO: group.audio_sizes,
                            **own,
                        }
                        told["seconds"] = seconds if told["seconds"] is None else told["seconds"]
                        yield Recording(uri=self._uri, locator=locator, **told)
                    number += 1
            self.rows = number

    @contextmanager
    def _file(self) -> Iterator[pq.ParquetFile]:
        try:
            with _opened(self._uri) as handle:
                self._version = handle_version(handle, self._uri)
                yield open_parquet(handle, checksums=True)
        except (
            pa.ArrowException,
            OSError,
            ValueError,
            RecordingError,
        ) as error:  # ValueError: names that are not UTF-8
            raise SourceError(f"{self._uri}: not a readable Parquet file: {error}") from error


def _opened(uri: str) -> Any:
    return open_remote(uri, ahead=False) if is_remote(uri) else Path(uri).open("rb")


def audio_value(value: Any, name: str, folder: str | None, follow: bool = False) -> str | BinaryIO:
    """The file in an audio cell: bytes, or a path that is stored instead of them.

    Args:
        name: of the cell, for messages.
        folder: where the data lies, which a path is relative to and must not leave unless `follow`;
            None: paths lead nowhere.

    Raises:
        RecordingError: an empty cell (NOT_FOUND), or a path that leads out of the data
            (UNREADABLE).
    """
    if isinstance(value, bytes):
        return io.BytesIO(value)
    if isinstance(value, dict) and value.get("bytes") is not None:
        return io.BytesIO(value["bytes"])
    path = value.get("path") if isinstance(value, dict) else value
    if isinstance(path, str) and path:
        if folder is None and not follow:
            message = (
                f"{name}: the cell has no audio but a path ({path!r}); --follow-links reads it"
            )
            raise RecordingError(FailureKind.UNREADABLE, message, "check")
        return open_file(within(path, folder or ".", follow=follow))
    raise RecordingError(FailureKind.NOT_FOUND, f"{name}: the row has no audio", "open")


def audio_column(schema: pa.Schema) -> str | None:
    """The column that holds audio: a struct with bytes, or binary; by its type first, then by its
    name."""
    declared = _declared(schema)
    sounds = [field.name for field in schema if declared.get(field.name) == "Audio"]
    structs = sounds or [
        field.name
        for field in schema
        if _is_file(field.type) and declared.get(field.name) in (None, "Audio")
    ]
    if structs:
        return pick(structs, AUDIO_COLUMNS) or next(
            (name for name in structs if "image" not in name.lower()), structs[0]
        )
    binary = [field.name for field in schema if is_bytes(field.type)]
    return pick(binary, AUDIO_COLUMNS)


def _declared(schema: pa.Schema) -> dict[str, str]:
    """What the columns are to the Hub's library, by name: `Audio`, `Image`, `Value` …; empty where
    it did not write the file."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature["_type"] for name, feature in features.items() if "_type" in feature}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _is_file(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and "bytes" in {child.name for child in kind}


def _holds_audio(spec: str) -> bool:
    try:
        with open_remote(spec, ahead=False) if is_remote(spec) else Path(spec).open("rb") as file:
            return audio_column(open_parquet(file).schema_arrow) is not None
    except (OSError, pa.ArrowException):
        return False  # the reader of tables says what is wrong
