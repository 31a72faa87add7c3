"""A manifest: JSONL, CSV, TSV or Parquet with a column of files, and whatever else is known about
each recording."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from pipelines.corpus.sources.base import (
    Place,
    Source,
    extension,
    is_remote,
    open_file,
    refuse_rejected,
    rejected,
    told,
)
from pipelines.corpus.sources.identity import VERSION, Versions, file_version, require_version
from pipelines.corpus.sources.listing import is_folder
from pipelines.corpus.tables.columns import PATH_COLUMNS, UnusedColumns, pick, pick_fields
from pipelines.corpus.tables.lines import NOT_UTF8, BadLine, Rows
from pipelines.corpus.tables.plain_rows import PlainRow, PlainRows
from pipelines.corpus.tables.spans import read_span
from pipelines.corpus.tables.values import clean, take_fields
from pipelines.corpus.tables.word_files import NamedCtms
from pipelines.corpus.tables.word_times import SegmentTimes
from pipelines.system.places import local_path, scheme, spelled
from pipelines.system.remote import open_remote
from tokenizer.errors import FailureKind, RecordingError, SourceError
from tokenizer.types import Recording

ENDINGS = ("jsonl", "ndjson", "csv", "tsv", "parquet")
_PLAIN = ("txt", "lst", "list")
"""endings that say nothing of how a table is written"""
_PACKED = ("jsonl.gz", "ndjson.gz", "json.gz", "csv.gz", "tsv.gz")
_FIRST = 256
"""bytes in which something other than spaces is looked for"""
PLACE = "row"
"""key of a locator: where the table names a file that was not there when it was listed"""
_OWN = ("id", "start", "end", "offset", "duration")


class ManifestSource(Source):
    """Rows of a table; a relative path is relative to the manifest. The id is `id`, or the path
    (with `#start-end`)."""

    follows = frozenset({"--map", "--audio-root", "--delimiter", "--encoding"})

    def __init__(self, spec: str) -> None:
        self.spec = spec if is_remote(spec) else str(Path(spec).resolve())
        self._folder = self.spec.rsplit("/", 1)[0]
        self._stated: tuple[str, str | None] = ("", None)
        self._versions = Versions()
        self._ctms = NamedCtms(self._read_named)

    @staticmethod
    def fits(spec: str) -> bool:
        fits = extension(spec) in (*ENDINGS, "json", *_PLAIN) or spec.lower().endswith(_PACKED)
        return fits and not is_folder(spec)

    def scan(self) -> Iterator[Recording]:
        yield from SegmentTimes().settle(self._listed())

    def _listed(self) -> Iterator[Recording]:
        self.notes = ()
        columns = self.hints.columns
        rows = Rows(
            self.spec,
            given=self.hints.delimiter,
            path=columns.get("path"),
            mapped=tuple(columns.values()),
            encoding=self.hints.encoding,
            numbered=self.hints.numbered,
        )
        unused = UnusedColumns()
        name = self.spec.rsplit("/", 1)[-1]
        used, lost, first = 0, 0, ""
        root = self._root()
        strange = columns or is_remote(self.spec) or clean(root) != root
        usual = None if strange else PlainRows()
        for number, row in self._rows(rows):
            try:
                if isinstance(row, BadLine):
                    raise row
                plain = None if usual is None else usual.read(row)
                recording = (
                    self._recording(row, unused) if plain is None else self._plain(plain, unused)
                )
                if VERSION not in recording.locator and not is_remote(recording.uri):
                    # It may be there when its turn comes; if not, this is where to look.
                    lost += 1
                    recording = replace(recording, locator={PLACE: f"{rows.word} {number}"})
                used += 1
                yield recording
            except (ValueError, RecordingError) as error:
                kind = error.kind if isinstance(error, RecordingError) else FailureKind.BAD_ROW
                place = f"{self.spec}, {rows.word} {number}{_called(row)}"
                message = f"{place}: {clean(str(error))}"
                first = first or message
                yield rejected(f"{name}#{rows.word}-{number}", self.spec, kind, message)
        self._say(rows, unused, lost, used)
        if first and not used:
            raise SourceError(f"no {rows.word} of it can be used; {first}")
        if not used:
            what = "a header and no rows" if rows.header else "no rows"
            raise SourceError(f"{self.spec}: the table has {what}")

    def _say(self, rows: Rows, unused: UnusedColumns, lost: int, used: int) -> None:
        """Note what was found out about the table."""
        if lost:
            self.note(
                f"{lost:,} of {used:,} rows name files that are not there; if paths begin "
                "elsewhere, --audio-root says where"
            )
        if rows.no_text:
            self.note(f"{rows.no_text:,} {rows.word}s are {NOT_UTF8}")
        if rows.found:
            self.note(f"read as {', '.join(rows.found)}")
        for note in unused.notes():
            self.note(note)
        if rows.empty:
            self.note(f"passed over: {rows.empty} empty rows")
        if rows.unended:
            self.note(
                "the table's last line has no line end: if the file was cut there, its last word "
                "is not whole"
            )

    def open(self, recording: Recording) -> str | BinaryIO:
        refuse_rejected(recording)
        if self.check_versions:
            require_version(recording.uri, recording.locator.get(VERSION))
        try:
            return open_file(recording.uri)
        except RecordingError as error:
            place = recording.locator.get(PLACE)
            if place is None or error.kind is not FailureKind.NOT_FOUND:
                raise
            message = f"{self.spec}, {place}: {error}"
            raise RecordingError(error.kind, message, "open") from error

    def place(self, recording: Recording) -> Place | None:
        return Place(recording.uri)

    def _rows(self, rows: Rows) -> Iterator[tuple[int, Mapping[str, Any] | BadLine]]:
        import pyarrow as pa

        ending = extension(self.spec.lower().removesuffix(".gz"))

        try:
            with (
                open_remote(self.spec)
                if is_remote(self.spec)
                else Path(self.spec).open("rb") as raw
            ):
                packed = self.spec.lower().endswith(".gz")
                file = gzip.open(raw) if packed else raw  # noqa: SIM115  (closed with `raw`)
                if ending == "parquet":
                    yield from rows.parquet(file)
                elif ending in ("csv", "tsv") or (ending in _PLAIN and not _is_json(file)):
                    for number, row in rows.delimited(file, "," if ending == "csv" else "\t"):
                        if rows.header:
                            self._require_columns(rows.header)
                        yield number, row
                else:
                    yield from rows.jsonl(file)
        except (OSError, EOFError, zlib.error, UnicodeError, pa.ArrowException) as error:
            raise SourceError(f"manifest {self.spec} cannot be read: {told(error)}") from error

    def _require_columns(self, header: list[str]) -> None:
        for name, column in self.hints.columns.items():
            if column not in header:
                raise SourceError(
                    f"--map {name}={column}: {self.spec} has no such column, only "
                    f"{', '.join(header[:20])}"
                )

    def _plain(self, row: PlainRow, unused: UnusedColumns) -> Recording:
        """What `_recording` makes of a row that is as most are."""
        path = row.path
        if path[0] in "/~" or "://" in path:
            uri = self._resolve(path)
        else:
            uri = spelled(f"{self._root()}/{path}")
        unused.add(row.meta)
        version = self._version(uri)
        return Recording(
            row.id,
            uri,
            {} if version is None else {VERSION: version},
            None,
            None,
            row.seconds,
            row.text,
            row.language,
            row.speaker,
            row.meta,
        )

    def _recording(self, row: Mapping[str, Any], unused: UnusedColumns) -> Recording:
        """A row's recording.

        Raises:
            ValueError, RecordingError: the row cannot be one.
        """
        columns = self.hints.columns
        wanted = (columns["path"],) if "path" in columns else PATH_COLUMNS
        column = pick([name for name, value in row.items() if value not in (None, "")], wanted)
        path = row[column] if column else None
        if column is None or not isinstance(path, str):
            raise ValueError(_no_path(row, wanted))
        span = read_span(row, columns)
        own = (*_OWN, column, columns.get("id", "id"), *span.used)
        values = self._ctms.timed(pick_fields(row, own, columns), path, span.start, span.end)
        fields, meta = take_fields(values)
        unused.add({name: value for name, value in values.items() if name in meta})
        uri = self._resolve(path)
        version = self._version(uri)
        return Recording(
            id=clean(_id(row, columns.get("id", "id")) or f"{path}{span.suffix}"),
            uri=uri,
            locator={} if version is None else {VERSION: version},
            start=span.start,
            end=span.end,
            seconds=span.seconds,
            meta=meta,
            **fields,
        )

    def _resolve(self, path: str) -> str:
        """Where a path in the manifest leads. The list is the user's own and may name any local
        file; what else it may name is what SOURCE is: URLs of the scheme that the manifest was
        given by."""
        own, named = scheme(self.spec), scheme(path)
        if is_remote(path):
            if named != own and not self.follow_links:
                raise RecordingError(
                    FailureKind.UNREADABLE,
                    f"{path!r}: a URL in a manifest that is not from there; --follow-links reads "
                    "it all the same",
                    "check",
                )
            return path
        if is_remote(self.spec):
            if (
                named or path.startswith(("/", "~")) or ".." in path.split("/")
            ) and not self.follow_links:
                message = (
                    f"{path!r}: a path that leads out of the manifest's folder; --follow-links "
                    "reads it all the same"
                )
                raise RecordingError(FailureKind.UNREADABLE, message, "check")
            return (
                local_path(path)
                if named or path.startswith(("/", "~"))
                else f"{self._root()}/{path}"
            )
        beside = f"{self._root()}/{path}"
        if named or (path.startswith("~") and not os.path.lexists(beside)):
            beside = local_path(path)
        found = spelled(path if path.startswith("/") else beside)
        try:
            found.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(f"the path {clean(path)!r} is no text") from error
        return found

    def _read_named(self, path: str) -> bytes:
        """A file with what is said, which a row names."""
        uri = self._resolve(path)
        with cast(BinaryIO, open_remote(uri)) if is_remote(uri) else Path(uri).open("rb") as file:
            return file.read()

    def _root(self) -> str:
        """Where relative paths begin."""
        root = self.hints.audio_root
        if root is None:
            return self._folder
        return root.rstrip("/") if is_remote(root) else str(Path(local_path(root)).resolve())

    def _version(self, uri: str) -> str | None:
        if is_remote(uri):
            return self._versions.of(uri)
        if self._stated[0] != uri:
            self._stated = (uri, file_version(uri))
        return self._stated[1]


def _is_json(file: Any) -> bool:
    first = file.read(_FIRST).lstrip()[:1]
    file.seek(0)
    return first in (b"{", b"[")


def _called(row: Mapping[str, Any] | BadLine) -> str:
    """The name that a bad row has given itself, to find it by."""
    own = None if isinstance(row, BadLine) else row.get("id")
    return f" ({clean(own)})" if isinstance(own, str) and own else ""


def _id(row: Mapping[str, Any], column: str) -> str | None:
    value = row.get(column)
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, bool | list | dict):
        raise ValueError(f"`{column}` is a {type(value).__name__}, a string is expected")
    return None if value in (None, "") else str(value)


def _no_path(row: Mapping[str, Any], wanted: tuple[str, ...]) -> str:
    if "supervisions" in row or "recording" in row:
        return (
            "a Lhotse cut set is not read: export it as JSON lines with `path`, `start`, `end`, "
            "`text`"
        )
    others = f" (or {', '.join(wanted[1:4])} …)" if wanted[1:] else ""
    return f"no `{wanted[0]}`{others} among {', '.join(map(str, list(row)[:20])) or 'nothing'}"
