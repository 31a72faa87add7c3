"""FMA: `tracks.csv`, whose header has two lines and a third for the index, beside or above
`000/000002.mp3`."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterator

from pipelines.corpus.layouts.base import NO, YES, BadRow, Fit, Folder, Layout, Row, half

_TABLE = "tracks.csv"
_AUDIO = re.compile(r"(?:.*/)?(?P<number>\d{6})\.\w+")
_KEPT = {
    ("track", "title"): "title",
    ("artist", "name"): "artist",
    ("album", "title"): "album",
    ("track", "genre_top"): "genre",
    ("track", "genres"): "genres",
    ("track", "genres_all"): "genres_all",
    ("track", "tags"): "tags",
    ("track", "date_recorded"): "date",
    ("track", "date_created"): "date_created",
    ("track", "number"): "track",
    ("track", "composer"): "composer",
    ("track", "license"): "license",
    ("track", "language_code"): "language",
    ("track", "lyricist"): "lyricist",
    ("album", "date_released"): "date_released",
    ("set", "subset"): "subset",
}
"""columns that are about the recording"""
_LISTS = ("genres", "genres_all", "tags")
_SPLIT = ("set", "split")


class FMA(Layout):
    """One row for each file that the table has a line for; lines without a file are no failures, as
    the sets are parts of what the table is about."""

    title = "FMA"
    reads = "title, artist, genre and split from tracks.csv"

    def fits(self, folder: Folder) -> Fit:
        tables = _tables(folder)
        if not tables:
            return NO
        if not any(_AUDIO.fullmatch(name) for name in folder.audio):
            return half(
                f"{tables[0]} has the two lines of FMA's header, and no audio is 000002.mp3"
            )
        return YES

    def rows(self, folder: Folder) -> Iterator[Row | BadRow]:
        files = {
            int(found["number"]): name
            for name in folder.audio
            if (found := _AUDIO.fullmatch(name)) is not None
        }
        for table in _tables(folder):
            csv.field_size_limit(sys.maxsize)  # lives of artists are long
            lines = csv.reader(io.StringIO(folder.text(table, "replace"), newline=""))
            head = list(zip(next(lines), next(lines), strict=False))
            next(lines, None)
            for cells in lines:
                number = int(cells[0]) if cells and cells[0].isdigit() else None
                place = f"{table}, line {lines.line_num}"
                if not any(cell.strip() for cell in cells):
                    continue
                if number is None or len(cells) != len(head):
                    yield BadRow(place, f"{len(cells)} columns, the header names {len(head)}")
                elif number in files:
                    yield _row(dict(zip(head, cells, strict=True)), files.pop(number), place)


def _row(told: dict[tuple[str, str], str], name: str, place: str) -> Row:
    values = {
        kept: _list(told[column]) if kept in _LISTS else told[column]
        for column, kept in _KEPT.items()
        if told.get(column, "").strip()
    }
    return Row(name, place, values, split=told.get(_SPLIT) or None)


def _list(text: str) -> list[int | str]:
    """`[21, 45]` or `['live', 'loud']`, as Python writes a list."""
    parts = [part.strip().strip("'\"") for part in text.strip("[] ").split(",")]
    return [int(part) if part.isdigit() else part for part in parts if part]


def _tables(folder: Folder) -> list[str]:
    found = []
    for name in folder.by_name.get(_TABLE, []):
        first = folder.first_line(name).split(",")
        if {"album", "artist", "set", "track"} <= set(first):
            found.append(name)
    return found
