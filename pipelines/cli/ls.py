"""`codecshards ls`."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from rich.cells import cell_len, chop_cells, set_cell_size

from pipelines.cli import EXIT_OK
from pipelines.system.words import one_line, printable

COLUMNS = ("id", "seconds", "speaker", "language", "text")
_OF_FAILURES = ("id", "kind", "stage", "message")
_LOOK = 200
"""rows by which the columns of a table are made as wide as they must be"""
_WIDEST = {"id": 0.4, "message": 0.5}
"""share of a line that a column may have; others"""
_OTHERS = 0.2
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser this command's arguments."""
    parser.set_defaults(run=run)
    parser.add_argument("out", metavar="OUT", help="output folder of `tokenize`")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--ids", action="store_true", help="ids alone, a line each")
    form.add_argument("--json", action="store_true", help="a JSON object a line")
    form.add_argument(
        "--tsv",
        action="store_true",
        help="tab-separated, with a head; \\t, \\n and \\\\ for tabs, line ends and backslashes "
        "(default where standard output is no terminal)",
    )
    parser.add_argument(
        "--where",
        metavar="EXPR",
        help="rows for which this is true, in SQL's words: \"seconds > 10 and speaker = 'ann'\"",
    )
    parser.add_argument(
        "--columns",
        metavar="NAME,...",
        help=f"columns to show, or all (default: {','.join(COLUMNS)})",
    )
    parser.add_argument(
        "--failures", action="store_true", help="the recordings that failed, instead"
    )


def run(given: argparse.Namespace) -> int:
    """Do what was asked for; the exit code."""
    from pipelines.output.rows import FAILURES, Rows

    rows = Rows(given.out)
    committed, planned = rows.shards()
    if committed < planned:
        print(f"{committed} of {planned} shards are committed so far", file=sys.stderr)
    columns = _columns(given, FAILURES.names if given.failures else rows.columns)
    found = rows.failures(given.where) if given.failures else rows.rows(columns, given.where)
    found = chain(list(islice(found, 1)), found)  # a name that is none is told before any line
    for line in _lines(given, found, columns):
        print(line)
        if getattr(sys.stdout, "gone", False):  # `ls OUT | head` has what it wants
            break
    return EXIT_OK


def _columns(given: argparse.Namespace, all_of: Any) -> list[str]:
    if given.ids:
        return ["id"]
    if given.columns is None:
        return list(_OF_FAILURES if given.failures else COLUMNS)
    if given.columns.strip() == "all":
        return list(all_of() if callable(all_of) else all_of)
    return [name.strip() for name in given.columns.split(",") if name.strip()]


def _lines(
    given: argparse.Namespace, rows: Iterator[Mapping[str, Any]], columns: Sequence[str]
) -> Iterator[str]:
    terminal = sys.stdout.isatty()
    if given.ids:
        return (one_line(row["id"]) if terminal else _cell(row["id"]) for row in rows)
    if given.json:
        return (_json(row, columns) for row in rows)
    if given.tsv or not terminal:
        cells = ("\t".join(_cell(row.get(name)) for name in columns) for row in rows)
        return chain(["\t".join(columns)], cells)
    return _table(rows, columns, shutil.get_terminal_size().columns)


def _json(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    values = {name: _finite(row.get(name)) for name in columns}
    if isinstance(values.get("meta"), str):
        values["meta"] = json.loads(values["meta"])
    return json.dumps(values, ensure_ascii=False)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: Any) -> str:
    """A value between tabs; one row is one line whatever is in it."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".") if math.isfinite(value) else ""
    return str(value).translate(_ESCAPES)


def _table(rows: Iterator[Mapping[str, Any]], columns: Sequence[str], width: int) -> Iterator[str]:
    """A line a row, none wider than the terminal."""
    first = [[_shown(row.get(name)) for name in columns] for row in islice(rows, _LOOK)]
    right = [
        bool(first) and all(_is_number(cells[at]) for cells in first if cells[at])
        for at in range(len(columns))
    ]
    wide = _widths(columns, first, width)
    rest = ([_shown(row.get(name)) for name in columns] for row in rows)
    for cells in chain([list(columns)], first, rest):
        fitted = [
            _fit(cell, size, to_right, name == "id")
            for cell, size, to_right, name in zip(cells, wide, right, columns, strict=True)
        ]
        yield "  ".join(fitted).rstrip()


def _widths(columns: Sequence[str], first: Sequence[Sequence[str]], width: int) -> list[int]:
    """The last column has what is left."""
    widths = []
    for at, name in enumerate(columns[:-1]):
        most = max(8, int(width * _WIDEST.get(name, _OTHERS)))
        longest = max((cell_len(cells[at]) for cells in first), default=0)
        widths.append(min(max(longest, len(name)), most))
    left = width - sum(widths) - 2 * len(widths)
    return [*widths, max(left, 8)]


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) >= 0.001 or value == 0 else f"{value:.3g}"
    return " ".join(printable(str(value)).split())


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _fit(cell: str, size: int, to_right: bool, keep_end: bool) -> str:
    """Exactly so wide. Of what is too long the beginning is kept, of a path its end."""
    if cell_len(cell) > size:
        if keep_end:
            kept = chop_cells(cell[::-1], size - 1)[0][::-1]
            return set_cell_size(f"…{kept}", size)
        return set_cell_size(set_cell_size(cell, size - 1).rstrip() + "…", size)
    room = " " * (size - cell_len(cell))
    return room + cell if to_right else cell + room
