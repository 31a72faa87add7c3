"""Rows of tables in text and Parquet files, each with its place; a line that is no row is told as
one, and the others go on."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.corpus.sources.base import is_audio
from pipelines.corpus.tables.cells import (
    DELIMITERS,
    BadLine,
    Lines,
    header_names,
    name_columns,
    no_header,
    split_quoted,
    split_tabs,
)
from pipelines.corpus.tables.columns import PATH_COLUMNS, pick, usual_names
from pipelines.corpus.tables.documents import BadValue, document_rows
from tokenizer.errors import SourceError

__all__ = ["NOT_UTF8", "BadLine", "Rows", "marked_encoding"]

_MOST_SHAPES = 1_000
"""sets of keys that are remembered"""
_HEAD = 1 << 16
"""bytes that are looked at to tell how a file is written"""
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""marks at a file's beginning, the longer ones first"""
_UNREADABLE = re.compile("[\udc80-\udcff]")
"""bytes that are no characters"""
_OTHERS = {
    b"PK\x03\x04": "a workbook of Excel, or a zip",
    b"\xd0\xcf\x11\xe0": "a workbook of Excel",
    b"PAR1": "a Parquet file",
    b"\x1f\x8b": "a file that gzip has packed",
    b"ARROW1": "an Arrow file",
}
"""what is taken for a table by its name, by how it begins"""
NOT_UTF8 = "not UTF-8; if it is written in another encoding, --encoding names that (cp1252 …)"


@dataclass(slots=True)
class Rows:
    """A table's rows: `(number, row or why it is none)`, numbers as an editor counts lines (or
    rows, in Parquet)."""

    name: str
    """of the file, for messages"""
    word: str = "line"
    empty: int = 0
    """rows of nothing but separators, which are passed over"""
    no_text: int = 0
    """rows that are not in the table's encoding"""
    header: list[str] = field(default_factory=list)
    given: str | None = None
    """delimiter that the user named"""
    path: str | None = None
    """column that the user named for the files"""
    mapped: tuple[str, ...] = ()
    """columns that the user named"""
    encoding: str | None = None
    """that the user named; a mark at the file's beginning says more"""
    numbered: bool = False
    """there is no header: columns are called 1, 2, 3 …"""
    found: list[str] = field(default_factory=list)
    """what was found out about how it is written, and is not as its ending says"""
    _shapes: dict[tuple[str, ...], dict[str, str]] = field(default_factory=dict)
    """keys of rows → their usual names"""
    unended: bool = False
    """the last line of a CSV or TSV has no line end: it may have been cut"""

    def jsonl(self, file: Any) -> Iterator[tuple[int, Mapping[str, Any] | BadLine]]:
        """One JSON object a line; or an array or object of them (`documents`), which is told from
        its beginning."""
        encoding, head = self._open(file)
        if _is_document(head.decode(encoding, "replace").lstrip("\ufeff"), self.name):
            yield from self._document(io.TextIOWrapper(file, encoding, _errors(encoding)))
            return
        for number, line in enumerate(io.TextIOWrapper(file, encoding, _errors(encoding)), 1):
            if _UNREADABLE.search(line):
                yield number, self._no_text()
                continue
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except RecursionError:
                yield number, BadLine("nested too deeply")
            except ValueError as error:
                yield number, BadLine(f"not JSON: {error}")
            else:
                yield number, self._usual(row)

    def _document(
        self, text: io.TextIOWrapper
    ) -> Iterator[tuple[int, Mapping[str, Any] | BadLine]]:
        self.word = "item"
        self.found.append("one JSON document")
        for number, row in enumerate(document_rows(text.read, self.path), 1):
            if isinstance(row, BadValue):
                yield number, BadLine(str(row))
            else:
                yield number, self._usual(row)

    def _no_text(self) -> BadLine:
        self.no_text += 1
        return BadLine(NOT_UTF8 if self.encoding is None else f"not {self.encoding}")

    def _usual(self, row: Any) -> Mapping[str, Any] | BadLine:
        """A row with its columns under their usual names, if it is one."""
        if not isinstance(row, dict):
            return BadLine(f"a JSON object is expected, not {type(row).__name__}")
        shape = tuple(row)
        usual = self._shapes.get(shape)
        if usual is None:
            usual = usual_names(shape, self.mapped)
            if len(self._shapes) < _MOST_SHAPES:
                self._shapes[shape] = usual
        return {str(usual.get(name, name)): value for name, value in row.items()} if usual else row

    def _open(self, file: Any) -> tuple[str, bytes]:
        """How a file is written, and its beginning.

        Raises:
            SourceError: it is no text.
        """
        head = file.read(_HEAD)
        file.seek(0)
        marked = marked_encoding(head)
        if marked is None and self.encoding is None:
            for magic, what in _OTHERS.items():
                if head.startswith(magic):
                    raise SourceError(f"{self.name}: {what}, not a text: save it as CSV in UTF-8")
            if head[:512].count(0) > len(head[:512]) // 8:  # a few may stand in sentences
                raise SourceError(
                    f"{self.name}: holds zero bytes: save it as UTF-8, or say --encoding utf-16-le "
                    "if that is what it is written in"
                )
        if marked and self.encoding is None:
            self.found.append(marked.upper())
        return marked or self.encoding or "utf-8-sig", head

    def delimited(
        self, file: Any, delimiter: str
    ) -> Iterator[tuple[int, Mapping[str, Any] | BadLine]]:
        """CSV or TSV, with a header.

        Raises:
            SourceError: a header that cannot be used.
        """
        csv.field_size_limit(sys.maxsize)
        encoding, _ = self._open(file)
        source = Lines(io.TextIOWrapper(file, encoding, _errors(encoding), newline=""))
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
                self.found.append(f"columns separated by {DELIMITERS[delimiter]}")
        rows = (
            split_quoted(source, delimiter, self.header, spaced=_is_spaced(first, delimiter))
            if delimiter != "\t" or quoted
            else split_tabs(source, delimiter, self.header)
        )
        for number, cells in rows:
            if isinstance(cells, BadLine):
                yield number, cells
            elif not any(cells):
                self.empty += 1
            elif any(_UNREADABLE.search(cell) for cell in cells):
                yield number, self._no_text()
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
        from pipelines.corpus.tables.audio_cells import holds_bytes
        from pipelines.system.arrow import open_parquet

        self.word, number = "row", 0
        table = open_parquet(file, checksums=True)
        self.header = list(table.schema_arrow.names)
        self._refuse_twice()
        columns = [field.name for field in table.schema_arrow if not holds_bytes(field.type)]
        usual = usual_names(columns, self.mapped)
        names = [usual.get(name, name) for name in columns]
        for batch in table.iter_batches(1024, columns=columns, use_threads=False):
            for row in batch.rename_columns(names).to_pylist():
                number += 1
                yield number, row

    def _count_columns(self, line: str, delimiter: str) -> str:
        """Name the columns of a table without a header by their numbers; its delimiter."""
        delimiter = self.given or max([delimiter, *DELIMITERS], key=line.count)
        self.header = [str(n) for n in range(1, len(header_names(line, delimiter)) + 1)]
        shown = DELIMITERS.get(delimiter) or repr(delimiter)
        columns = f"{len(self.header)} columns without a header, by {shown}"
        self.found.append(columns if len(self.header) > 1 else "one column without a header")
        return delimiter

    def _read_header(self, line: str, delimiter: str) -> tuple[list[str], str, bool]:
        """Column names, what separates them, and whether they are quoted."""
        if _UNREADABLE.search(line):
            raise SourceError(f"{self.name}: the header is {NOT_UTF8}")
        tried = [delimiter, *(other for other in DELIMITERS if other != delimiter)]
        tried = tried if self.given is None else [self.given]
        for each in tried:
            names = header_names(line, each)
            usual = usual_names(names, self.mapped)
            names = [usual.get(name, name) for name in names]
            if pick(names, (self.path,) if self.path else PATH_COLUMNS) is not None:
                names, nameless = name_columns(names)
                if nameless:
                    without = "a column" if len(nameless) == 1 else f"{len(nameless)} columns"
                    shown = ", ".join(nameless[:3]) + (" …" if nameless[3:] else "")
                    self.found.append(f"{without} without a name: {shown}")
                self.header = names
                self._refuse_twice()
                return names, each, line.lstrip().startswith('"')
        raise SourceError(f"{self.name}: {no_header(line, delimiter, self.path)}")

    def _refuse_twice(self) -> None:
        twice = sorted({name for name in self.header if self.header.count(name) > 1})
        if twice:
            raise SourceError(
                f"{self.name}: two columns are called `{twice[0]}`: rename or drop one"
            )


def _is_spaced(header: str, delimiter: str) -> bool:
    """Whether a header has a blank behind each of its delimiters."""
    behind = header.split(delimiter)[1:]
    return bool(behind) and all(name.startswith(" ") and name.strip() for name in behind)


def marked_encoding(head: bytes) -> str | None:
    """The encoding that a byte order mark at a file's beginning says, but for UTF-8's."""
    return next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)


def _is_document(head: str, name: str) -> bool:
    """Whether JSON is one document, and no object a line."""
    first, _, rest = head.lstrip().partition("\n")
    rest = rest.lstrip()
    try:
        value = json.loads(first)
    except RecursionError:
        return False
    except ValueError:
        value = None
    if rest and value is not None:
        return False
    if isinstance(value, dict):
        return not pick(value, PATH_COLUMNS) and any(
            isinstance(each, dict | list) or is_audio(key) for key, each in value.items()
        )
    if first.startswith("["):
        return True
    if not rest:
        return (
            first.startswith("{") and value is None and ".json" in name and len(first) > _HEAD // 2
        )
    return first.startswith("{") and not rest.startswith("{")


def _errors(encoding: str) -> str:
    """What cannot be decoded is kept where an encoding can, and costs its row."""
    return "strict" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
