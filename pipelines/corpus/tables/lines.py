"""Rows of tables in text and Parquet files, each with its place; a line that is no row is told as
one, and the others go on."""

from __future__ import annotations

import codecs
import csv
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.corpus.sources.base import is_audio
from pipelines.corpus.tables.columns import PATH_COLUMNS, pick
from tokenizer.errors import SourceError

DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars (`|`)"}
_MOST_LINES = 10_000
"""that a quoted field may go over"""


class BadLine(ValueError):
    """A line that is no row; the message says why, and does not name the file."""


@dataclass(slots=True)
class Rows:
    """A table's rows: `(number, row or why it is none)`, numbers as an editor counts lines (or
    rows, in Parquet)."""

    name: str
    """of the file, for messages"""
    word: str = "line"
    empty: int = 0
    """rows of nothing but separators, which are passed over"""
    header: list[str] = field(default_factory=list)
    given: str | None = None
    """delimiter that the user named"""
    path: str | None = None
    """column that the user named for the files"""
    numbered: bool = False
    """there is no header: columns are called 1, 2, 3 …"""
    found: list[str] = field(default_factory=list)
    """what was found out about how it is written, and is not as its ending says"""
    unended: bool = False
    """the last line of a CSV or TSV has no line end: it may have been cut"""

    def jsonl(self, file: Any) -> Iterator[tuple[int, Mapping[str, Any] | BadLine]]:
        """One JSON object a line."""
        for number, raw in enumerate(_text_or_bytes(file), 1):
            try:
                line = (
                    raw
                    if isinstance(raw, str)
                    else raw.decode("utf-8-sig" if number == 1 else "utf-8")
                )
                if not line.strip():
                    continue
                row = json.loads(line)
            except UnicodeDecodeError as error:
                yield number, BadLine(f"not UTF-8: {error.reason} at byte {error.start}")
            except RecursionError:
                yield number, BadLine("nested too deeply")
            except ValueError as error:
                yield number, BadLine(f"not JSON: {error}")
            else:
                is_object = isinstance(row, dict)
                yield (
                    number,
                    row
                    if is_object
                    else BadLine(f"a JSON object is expected, not {type(row).__name__}"),
                )

    def delimited(
        self, file: Any, delimiter: str
    ) -> Iterator[tuple[int, Mapping[str, Any] | BadLine]]:
        """CSV or TSV, with a header.

        Raises:
            SourceError: a header that cannot be used.
        """
        csv.field_size_limit(sys.maxsize)
        encoding = _encoding(file)
        if encoding == "utf-16":
            self.found.append("UTF-16")
        text = io.TextIOWrapper(file, encoding, "surrogateescape", newline="")
        source = _Lines(text)
        first = source.take()
        if first is None:
            raise SourceError(f"{self.name}: the table is empty")
        if self.numbered:
            delimiter, quoted = self._count_columns(first, delimiter), first.startswith('"')
            source.put_back([first])
        else:
            expected = self.given or delimiter
            self.header, delimiter, quoted = self._read_header(first, expected)
            if delimiter != expected:
                self.found.append(f"separated by {DELIMITERS[delimiter]}")
        split = _split_quoted if delimiter != "\t" or quoted else _split_tabs
        for number, cells in split(source, delimiter, self.header):
            if isinstance(cells, BadLine):
                yield number, cells
            elif not any(cells):
                self.empty += 1
            elif any(
                "\udc80" <= char <= "\udcff" for cell in cells for char in cell if char > "\ud7ff"
            ):
                yield number, BadLine("not UTF-8")
            else:
                # A CSV has no way to say null but to say nothing.
                yield (
                    number,
                    {
                        name: cell
                        for name, cell in zip(self.header, cells, strict=True)
                        if cell != ""
                    },
                )
        self.unended = not source.last.endswith(("\n", "\r"))

    def parquet(self, file: Any) -> Iterator[tuple[int, Mapping[str, Any] | BadLine]]:
        """Rows of a Parquet file, columns of bytes left out."""
        from pipelines.corpus.sources.parquet import holds_bytes
        from pipelines.system.arrow import open_parquet

        self.word, number = "row", 0
        table = open_parquet(file, checksums=True)
        self.header = list(table.schema_arrow.names)
        self._refuse_twice()
        columns = [field.name for field in table.schema_arrow if not holds_bytes(field.type)]
        for batch in table.iter_batches(1024, columns=columns, use_threads=False):
            for row in batch.to_pylist():
                number += 1
                yield number, row

    def _count_columns(self, line: str, delimiter: str) -> str:
        """Name the columns of a table without a header by their numbers; its delimiter."""
        delimiter = self.given or max([delimiter, *DELIMITERS], key=line.count)
        self.header = [str(n) for n in range(1, len(_header_names(line, delimiter)) + 1)]
        self.found.append(
            f"{len(self.header)} columns without a header, by "
            f"{DELIMITERS.get(delimiter, delimiter)}"
        )
        return delimiter

    def _read_header(self, line: str, delimiter: str) -> tuple[list[str], str, bool]:
        """Column names, what separates them, and whether they are quoted."""
        if "\udc80" <= max(line, default="") <= "\udcff":
            raise SourceError(f"{self.name}: the header is not UTF-8: save the table as UTF-8")
        tried = [delimiter, *(other for other in DELIMITERS if other != delimiter)]
        tried = tried if self.given is None else [self.given]
        for each in tried:
            names = _header_names(line, each)
            if pick(names, (self.path,) if self.path else PATH_COLUMNS) is not None:
                self.header = names
                self._refuse_twice()
                return names, each, line.lstrip().startswith('"')
        names = _header_names(line, delimiter)
        likely = max(DELIMITERS, key=line.count)
        why = f"its columns are {', '.join(names[:20])}"
        if len(names) == 1 and line.count(likely):
            why = (
                f"its first line is separated by {DELIMITERS[likely]} and names no column of files"
            )
        wanted = f"`{self.path}`" if self.path else f"`path` (or {', '.join(PATH_COLUMNS[1:4])} …)"
        raise SourceError(
            f"{self.name}: no header with a column {wanted}: "
            f"{why}; "
            "--map path=COLUMN names it, --map path=1,text=2 where the table has no header (as "
            "LJSpeech's metadata.csv), --delimiter what separates them"
        )

    def _refuse_twice(self) -> None:
        twice = sorted({name for name in self.header if self.header.count(name) > 1})
        if twice:
            raise SourceError(
                f"{self.name}: two columns are called `{twice[0]}`: rename or drop one"
            )


def _header_names(line: str, delimiter: str) -> list[str]:
    cells = next(csv.reader([line], delimiter=delimiter), [])
    return [name.strip() for name in cells]


def _encoding(file: Any) -> str:
    """UTF-8, or UTF-16 where a byte order mark says so."""
    mark = file.read(2)
    file.seek(0)
    return "utf-16" if mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def _text_or_bytes(file: Any) -> Iterator[str | bytes]:
    return (
        iter(io.TextIOWrapper(file, "utf-16", newline=""))
        if _encoding(file) == "utf-16"
        else iter(file)
    )


class _Lines:
    """Lines of a text that can be put back."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = iter(text)
        self._back: list[str] = []
        self.number = 0
        """of the line taken last"""
        self.last = ""

    def take(self) -> str | None:
        line = self._back.pop() if self._back else next(self._text, None)
        if line is not None:
            self.number, self.last = self.number + 1, line
        return line

    def put_back(self, lines: Sequence[str]) -> None:
        self._back += reversed(lines)
        self.number -= len(lines)


_Cells = Iterator[tuple[int, list[str] | BadLine]]


def _split_tabs(source: _Lines, delimiter: str, header: list[str]) -> _Cells:
    """TSV, a line a row: quotation marks are part of a sentence, unless a whole field is quoted as
    CSV has it."""
    while (line := source.take()) is not None:
        cells = line.rstrip("\r\n").split(delimiter)
        if len(cells) == len(header):
            yield source.number, [_unquoted(cell) for cell in cells]
        elif any(cells):
            yield source.number, BadLine(f"{len(cells)} columns, the header names {len(header)}")


def _unquoted(cell: str) -> str:
    """A field that a CSV writer has quoted since there are quotes in it; any other stays as it
    is."""
    inside = cell[1:-1]
    written_so = (
        len(cell) > 2
        and cell[0] == cell[-1] == '"'
        and '""' in inside
        and '"' not in inside.replace('""', "")
    )
    return inside.replace('""', '"') if written_so else cell


def _split_quoted(source: _Lines, delimiter: str, header: list[str]) -> _Cells:
    """CSV. A quotation mark that is never closed, or closes where rows have been swallowed, costs
    its own line only."""
    while (line := source.take()) is not None:
        began, taken = source.number, [line]
        cells = _parse(line, delimiter)
        while cells is None and len(taken) < _MOST_LINES and (more := source.take()) is not None:
            taken.append(more)
            if '"' in more:  # nothing else can close it
                cells = _parse("".join(taken), delimiter)
        swallowed = any(_looks_like_a_row(each, delimiter, header) for each in taken[1:])
        if isinstance(cells, list) and len(cells) == len(header) and not swallowed:
            yield began, cells
            continue
        source.put_back(taken[1:])
        if isinstance(cells, list) and len(taken) == 1:
            if any(cells):
                yield began, BadLine(f"{len(cells)} columns, the header names {len(header)}")
        else:
            what = (
                cells
                if isinstance(cells, BadLine)
                else "a quotation mark that is not closed in its row"
            )
            yield (
                began,
                BadLine(f"{what}; write quotation marks within a field twice, in quotation marks"),
            )


def _parse(text: str, delimiter: str) -> list[str] | BadLine | None:
    """Cells of one record; None when a quoted field goes on behind its end."""
    try:
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        return None if "unexpected end of data" in str(error) else BadLine(str(error))


def _looks_like_a_row(line: str, delimiter: str, header: list[str]) -> bool:
    cells = line.rstrip("\r\n").split(delimiter)
    column = pick(header, PATH_COLUMNS)
    return (
        column is not None
        and len(cells) >= len(header)
        and is_audio(cells[header.index(column)].strip('"'))
    )
