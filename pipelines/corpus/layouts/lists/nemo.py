"""NeMo's manifests in a folder: JSON lines with `audio_filepath`, `offset`, `duration`, `text`, in
files called `…manifest….json`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from pipelines.corpus.layouts.base import NO, YES, BadRow, Fit, Folder, Layout, Row, half, parent
from pipelines.corpus.layouts.packed import is_tarred
from pipelines.corpus.tables.columns import pick_fields
from pipelines.corpus.tables.spans import read_span
from pipelines.corpus.tables.word_files import NamedCtms

_ENDINGS = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
_SPLIT = re.compile(r"(train|dev|test|valid|validation|eval)([-_][A-Za-z0-9-]+)*?(?=[-_.]|$)")
PATH = "audio_filepath"


class NeMo(Layout):
    """One row for each line; a file that is cut into segments is in several."""

    title = "NeMo"
    reads = "text from manifests"
    is_table = True

    def fits(self, folder: Folder) -> Fit:
        named = _named(folder)
        if not named:
            return NO
        wrong = [name for name in named if PATH not in folder.first_object(name)]
        if len(wrong) == len(named):
            return half(f"{wrong[0]} has no `{PATH}` in its first line")
        return YES

    def rows(self, folder: Folder) -> Iterator[Row | BadRow]:
        for name in _named(folder):
            found = _SPLIT.search(name.rpartition("/")[2])
            split = found.group(0) if found else None
            ctms = NamedCtms(_reader(folder, parent(name)))
            for place, value in folder.objects(name):
                if isinstance(value, BadRow):
                    yield value
                    continue
                try:
                    row = manifest_row(value, place, split, parent(name))
                    told = ctms.timed(row.values, row.path, row.start, row.end)
                    yield replace(row, values=told)
                except ValueError as error:
                    yield BadRow(place, str(error))


def _reader(folder: Folder, base: str) -> Callable[[str], bytes]:
    """Reads files of the folder by what a manifest calls them; aligners write down in full where
    they were told to write."""

    def read(named: str) -> bytes:
        inside = named.removeprefix(f"{folder.spec.rstrip('/')}/")
        parts = named.split("/")
        tails = ["/".join(parts[at:]) for at in range(1, len(parts))]
        names = [f"{base}{named.removeprefix('./')}", inside]
        names += [f"{home}{tail}" for tail in tails for home in (base, "")]
        name = next((name for name in names if name in folder.files), None)
        if name is None:
            raise OSError(f"no such file in {folder.spec}")
        return folder.content(name)

    return read


def _named(folder: Folder) -> list[str]:
    return [
        name
        for name in folder.ending_in(*_ENDINGS)
        if "manifest" in name.rpartition("/")[2] and not is_tarred(name)
    ]


def manifest_row(value: dict[str, Any], place: str, split: str | None, base: str) -> Row:
    """The row of a line.

    Raises:
        ValueError: it is none.
    """
    path = value.get(PATH)
    if not isinstance(path, str) or not path:
        raise ValueError(f"no `{PATH}`")
    span = read_span(value)
    values = pick_fields(value, (PATH, "id", *span.used))
    id = value.get("id")
    return Row(
        path,
        place,
        values,
        f"{path}{span.suffix}" if id in (None, "") else str(id),
        span.start,
        span.end,
        span.seconds,
        split,
        base=base,
    )
