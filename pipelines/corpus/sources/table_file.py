"""A manifest: JSONL, CSV, TSV or Parquet with a column of files, and whatever else is known about
each recording."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.corpus.sources.base import (
    Source,
    extension,
    is_remote,
    open_file,
    refuse_rejected,
    rejected,
)
from pipelines.corpus.sources.identity import VERSION, file_version, require_version
from pipelines.corpus.sources.listing import is_folder
from pipelines.corpus.tables.columns import PATH_COLUMNS, pick, pick_fields
from pipelines.corpus.tables.lines import BadLine, Rows
from pipelines.corpus.tables.values import clean, take_fields
from pipelines.system.places import local_path, scheme, spelled
from pipelines.system.remote import open_remote
from tokenizer.errors import FailureKind, RecordingError, SourceError
from tokenizer.types import Recording

ENDINGS = ("jsonl", "ndjson", "csv", "tsv", "parquet")
_OWN = ("id", "start", "end", "offset", "duration")


class ManifestSource(Source):
    """Rows of a table; a relative path is relative to the manifest. The id is `id`, or the path
    (with `#start-end`)."""

    def __init__(self, spec: str) -> None:
        self.spec = spec if is_remote(spec) else str(Path(spec).resolve())
        self._folder = self.spec.rsplit("/", 1)[0]
        self._stated: tuple[str, str | None] = ("", None)

    @staticmethod
    def fits(spec: str) -> bool:
        return extension(spec) in ENDINGS and not is_folder(spec)

    def scan(self) -> Iterator[Recording]:
        self.notes = ()
        rows = Rows(self.spec)
        name = self.spec.rsplit("/", 1)[-1]
        used, first = 0, ""
        for number, row in self._rows(rows):
            place = f"{self.spec}, {rows.word} {number}"
            try:
                if isinstance(row, BadLine):
                    raise row
                recording = self._recording(row)
                used += 1
                yield recording
            except (ValueError, RecordingError) as error:
                kind = error.kind if isinstance(error, RecordingError) else FailureKind.BAD_ROW
                message = f"{place}{_called(row)}: {clean(str(error))}"
                first = first or message
                yield rejected(f"{name}#{rows.word}-{number}", self.spec, kind, message)
        if rows.empty:
            self.note(f"passed over: {rows.empty} empty rows")
        if rows.unended:
            self.note(
                "the table's last line has no line end: if the file was cut there, its last word "
                "is not whole"
            )
        if first and not used:
            raise SourceError(f"no {rows.word} of it can be used; {first}")

    def open(self, recording: Recording) -> str | BinaryIO:
        refuse_rejected(recording)
        if self.check_versions:
            require_version(recording.uri, recording.locator.get(VERSION))
        return open_file(recording.uri)

    def _rows(self, rows: Rows) -> Iterator[tuple[int, Mapping[str, Any] | BadLine]]:
        ending = self.spec.rsplit(".", 1)[-1].lower()
        import pyarrow as pa

        try:
            with (
                open_remote(self.spec)
                if is_remote(self.spec)
                else Path(self.spec).open("rb") as file
            ):
                if ending == "parquet":
                    yield from rows.parquet(file)
                elif ending in ("csv", "tsv"):
                    yield from rows.delimited(file, "\t" if ending == "tsv" else ",")
                else:
                    yield from rows.jsonl(file)
        except (OSError, UnicodeError, pa.ArrowException) as error:
            raise SourceError(f"manifest {self.spec} cannot be read: {error}") from error

    def _recording(self, row: Mapping[str, Any]) -> Recording:
        """A row's recording.

        Raises:
            ValueError, RecordingError: the row cannot be one.
        """
        column = pick(
            [name for name, value in row.items() if value not in (None, "")], PATH_COLUMNS
        )
        path = row[column] if column else None
        if column is None or not isinstance(path, str):
            raise ValueError(_no_path(row))
        start, end, known = _span(row)
        fields, meta = take_fields(pick_fields(row, (*_OWN, column)))
        segment = (
            ""
            if start is None and end is None
            else f"#{start or 0:.12g}-{'' if end is None else f'{end:.12g}'}"
        )
        uri = self._resolve(path)
        version = self._version(uri)
        return Recording(
            id=clean(_id(row) or f"{path}{segment}"),
            uri=uri,
            locator={} if version is None else {VERSION: version},
            start=start,
            end=end,
            seconds=known,
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
                else f"{self._folder}/{path}"
            )
        beside = f"{self._folder}/{path}"
        if named or (path.startswith("~") and not os.path.lexists(beside)):
            beside = local_path(path)
        found = spelled(path if path.startswith("/") else beside)
        try:
            found.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(f"the path {clean(path)!r} is no text") from error
        return found

    def _version(self, uri: str) -> str | None:
        """Of a local file; one request for each remote file would take longer than reading the
        list."""
        if is_remote(uri):
            return None
        if self._stated[0] != uri:
            self._stated = (uri, file_version(uri))
        return self._stated[1]


def _called(row: Mapping[str, Any] | BadLine) -> str:
    """The name that a bad row has given itself, to find it by."""
    own = None if isinstance(row, BadLine) else row.get("id")
    return f" ({clean(own)})" if isinstance(own, str) and own else ""


def _id(row: Mapping[str, Any]) -> str | None:
    value = row.get("id")
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, bool | list | dict):
        raise ValueError(f"`id` is a {type(value).__name__}, a string is expected")
    return None if value in (None, "") else str(value)


def _span(row: Mapping[str, Any]) -> tuple[float | None, float | None, float | None]:
    """Start, end and length in seconds. `offset` is NeMo's word for start; a length beside a start
    is where to end."""
    start, end, length = _seconds(row, "start"), _seconds(row, "end"), _seconds(row, "duration")
    offset = _seconds(row, "offset")
    if start is not None and offset is not None and start != offset:
        raise ValueError(f"`start` is {start:g} and `offset` is {offset:g}: which is meant?")
    start = offset if start is None else start
    if start is not None and end is None and length is not None:
        end = start + length
    if end is not None and end <= (start or 0.0):
        raise ValueError(f"a segment of no length: end {end:g} is not after start {start or 0.0:g}")
    return start, end, end - (start or 0.0) if end is not None else length


def _seconds(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        raise ValueError(f"`{name}` is {value!r}, seconds are expected")
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"`{name}` is {value!r}, seconds are expected") from error
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"`{name}` is {value!r}, seconds from 0 are expected")
    return seconds


def _no_path(row: Mapping[str, Any]) -> str:
    if "supervisions" in row or "recording" in row:
        return (
            "a Lhotse cut set is not read: export it as JSON lines with `path`, `start`, `end`, "
            "`text`"
        )
    return (
        f"no `path` (or {', '.join(PATH_COLUMNS[1:4])} …) among "
        f"{', '.join(map(str, list(row)[:20])) or 'nothing'}"
    )
