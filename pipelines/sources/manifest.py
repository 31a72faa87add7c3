"""A manifest: JSONL, CSV or Parquet with a `path` column, and whatever else is known about each recording."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.remote import open_remote
from pipelines.sources.base import Source, is_remote, open_file, take_fields
from tokenizer.errors import ShapeError, SourceError
from tokenizer.types import Recording

ENDINGS = ("jsonl", "ndjson", "csv", "tsv", "parquet")
_OWN = ("path", "id", "start", "end", "duration")


class ManifestSource(Source):
    """Rows of a table; a relative `path` is relative to the manifest. The id is `id`, or `path` (with `#start-end`)."""

    def __init__(self, spec: str) -> None:
        self.spec = spec if is_remote(spec) else str(Path(spec).resolve())
        self._folder = self.spec.rsplit("/", 1)[0]

    def scan(self) -> Iterator[Recording]:
        for place, row in self._rows():
            yield self._recording(place, row)

    def open(self, recording: Recording) -> str | BinaryIO:
        return open_file(recording.uri)

    def _rows(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Each row, and how to name it in an error."""
        ending = self.spec.rsplit(".", 1)[-1].lower()
        try:
            with open_remote(self.spec) as file:
                if ending == "parquet":
                    yield from self._parquet(file)
                elif ending in ("csv", "tsv"):
                    yield from self._csv(file, "\t" if ending == "tsv" else ",")
                else:
                    yield from self._jsonl(file)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise SourceError(f"manifest {self.spec} cannot be read: {error}") from error

    def _jsonl(self, file: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for number, line in enumerate(io.TextIOWrapper(file, "utf-8-sig"), 1):
            if not line.strip():
                continue
            place = f"{self.spec}, line {number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise SourceError(f"{place}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise SourceError(f"{place}: a JSON object is expected, not {type(row).__name__}")
            yield place, row

    def _csv(self, file: Any, delimiter: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        reader = csv.DictReader(io.TextIOWrapper(file, "utf-8-sig", newline=""), delimiter=delimiter)
        for row in reader:
            place = f"{self.spec}, line {reader.line_num}"
            if None in row:
                raise SourceError(f"{place}: more columns than the header names")
            # A CSV has no way to say null but to say nothing.
            yield place, {key: value for key, value in row.items() if value not in ("", None)}

    def _parquet(self, file: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
        import pyarrow as pa

        from pipelines.arrow import open_parquet

        number = 0
        try:
            for batch in open_parquet(file).iter_batches(1024, use_threads=False):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{self.spec}, row {number}", row
        except pa.ArrowException as error:
            raise SourceError(f"manifest {self.spec} cannot be read: {error}") from error

    def _recording(self, place: str, row: Mapping[str, Any]) -> Recording:
        path = row.get("path")
        if not path:
            raise SourceError(f"{place}: no `path`")
        start, end = _seconds(place, row, "start"), _seconds(place, row, "end")
        fields, meta = take_fields({key: value for key, value in row.items() if key not in _OWN})
        segment = "" if start is None and end is None else f"#{start or 0:g}-{'' if end is None else f'{end:g}'}"
        known = _seconds(place, row, "duration")
        if known is None and end is not None:
            known = end - (start or 0.0)
        try:
            return Recording(
                id=str(row["id"]) if row.get("id") not in (None, "") else f"{path}{segment}",
                uri=self._resolve(str(path)),
                start=start,
                end=end,
                seconds=known,
                meta=meta,
                **fields,
            )
        except ShapeError as error:
            raise SourceError(f"{place}: {error}") from error

    def _resolve(self, path: str) -> str:
        if is_remote(path) or path.startswith("/"):
            return path
        return f"{self._folder}/{path}"


def _seconds(place: str, row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError) as error:
        raise SourceError(f"{place}: `{name}` is {value!r}, seconds are expected") from error
    if not math.isfinite(seconds) or seconds < 0:
        raise SourceError(f"{place}: `{name}` is {value!r}, seconds from 0 are expected")
    return seconds
