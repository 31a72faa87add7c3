"""Lines of CSV and TSV into cells: a line that cannot be split costs itself, and no other."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from pipelines.corpus.sources.base import is_audio
from pipelines.corpus.tables.columns import PATH_COLUMNS, pick

DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars (`|`)"}
_MOST_LINES = 10_000
"""that a quoted field may go over"""


class BadLine(ValueError):
    """A line that is no row; the message says why, and does not name the file."""


def header_names(line: str, delimiter: str) -> list[str]:
    cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    return [name.strip() for name in cells]


def name_columns(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of columns, of which those without one are called by their numbers (`column_3`); and
    what those are called."""
    new: list[str] = []
    for number, name in enumerate(names, 1):
        own = f"column_{number}"
        while not name and own in names:
            own += "_"
        new.append(name or own)
    return new, [after for before, after in zip(names, new, strict=True) if not before]


def no_header(line: str, delimiter: str, path: str | None) -> str:
    """Why a first line is no header, and what to say."""
    likely = max(dict.fromkeys([delimiter, *DELIMITERS]), key=line.count)
    names = header_names(line, likely)
    wanted = f"`{path}`" if path else f"`path` (or {', '.join(PATH_COLUMNS[1:4])} …)"
    audio = next((n for n, name in enumerate(names, 1) if is_audio(name)), None)
    if audio is not None and path is None:
        longest = max(range(1, len(names) + 1), key=lambda n: (n != audio, len(names[n - 1])))
        text = f",text={longest}" if longest != audio else ""
        apart = f", separated by {DELIMITERS.get(likely, likely)}" if len(names) > 1 else ""
        return (
            f"no header: its first line is a row already{apart}; "
            f"--map path={audio}{text} says which column is which, by number"
        )
    apart = f" (separated by {DELIMITERS.get(likely, likely)})" if likely != delimiter else ""
    return (
        f"no header with a column {wanted}: its columns are {', '.join(names[:20])}{apart}; "
        "--map path=COLUMN names it, --map path=1,text=2 where the table has no header (as "
        "LJSpeech's metadata.csv), --delimiter what separates them"
    )


class Lines:
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


def split_tabs(source: Lines, delimiter: str, header: list[str]) -> _Cells:
    """TSV, a line a row: quotation marks are part of a sentence, unless a whole field is quoted as
    CSV has it."""
    while (line := source.take()) is not None:
        cells = line.rstrip("\r\n").split(delimiter)
        if len(cells) == len(header):
            yield source.number, [unquoted(cell) for cell in cells]
        elif any(cell.strip() for cell in cells):
            yield source.number, BadLine(f"{len(cells)} columns, the header names {len(header)}")


def unquoted(cell: str) -> str:
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


def split_quoted(
    source: Lines, delimiter: str, header: list[str], *, spaced: bool = False
) -> _Cells:
    """CSV. A quotation mark that is never closed, or closes where rows have been swallowed, costs
    its own line only.

    Args:
        source: lines behind the header.
        delimiter: between cells.
        header: names of the columns.
        spaced: whether a blank behind a delimiter is none of the cell, as in the header; one
            before a quotation mark never is, where the row then has all its cells.
    """
    while (line := source.take()) is not None:
        began, taken = source.number, [line]
        cells = _parse(line, delimiter, spaced)
        if not spaced and _has_spaced_quotes(line, cells, delimiter):
            skipped = _parse(line, delimiter, True)
            if isinstance(skipped, list) and len(skipped) == len(header):
                yield began, skipped
                continue
        while cells is None and len(taken) < _MOST_LINES and (more := source.take()) is not None:
            taken.append(more)
            if '"' in more:  # nothing else can close it
                cells = _parse("".join(taken), delimiter, spaced)
        swallowed = any(_looks_like_a_row(each, delimiter, header) for each in taken[1:])
        if isinstance(cells, list) and len(cells) == len(header) and not swallowed:
            yield began, cells
            continue
        source.put_back(taken[1:])
        if isinstance(cells, list) and len(taken) == 1:
            if any(cell.strip() for cell in cells):
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


def _has_spaced_quotes(line: str, cells: list[str] | BadLine | None, delimiter: str) -> bool:
    """Whether some cell of a line begins with a blank and a quotation mark."""
    if f"{delimiter} " not in line or '"' not in line:
        return False
    if isinstance(cells, list):
        return any(cell.startswith(" ") and cell.lstrip(" ").startswith('"') for cell in cells)
    return True


def _parse(text: str, delimiter: str, spaced: bool) -> list[str] | BadLine | None:
    """Cells of one record; None when a quoted field goes on behind its end."""
    lines = io.StringIO(text, newline="")
    try:
        reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=spaced)
        return next(reader, [])
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
