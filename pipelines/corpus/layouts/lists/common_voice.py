"""Common Voice: `train.tsv`, `dev.tsv`, `test.tsv`, `validated.tsv` … beside `clips/`."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.corpus.layouts.base import NO, YES, BadRow, Fit, Folder, Layout, Row, half, parent
from pipelines.corpus.tables.columns import pick_fields
from pipelines.corpus.tables.lines import BadLine, Rows

_SPLITS = ("train", "dev", "test", "validated", "other", "invalidated")
"""a clip is in several tables: the first says its split"""
_REJECTED = "invalidated"
"""clips that listeners found not to say what the sentence says"""


class CommonVoice(Layout):
    """One row for each clip. The sentence of a clip that was voted down is no transcript: it stays
    in `meta.sentence`."""

    title = "Common Voice"
    reads = "text from its tables (none for clips that were voted down)"

    def fits(self, folder: Folder) -> Fit:
        tables = _tables(folder)
        if not tables:
            return NO
        wrong = next((why for name in tables if (why := _wrong(folder, name))), "")
        return half(wrong) if wrong else YES

    def rows(self, folder: Folder) -> Iterator[Row | BadRow]:
        seen: dict[str, str] = {}
        for name in _tables(folder):
            lengths = _lengths(folder, parent(name))
            split = name.rpartition("/")[2].removesuffix(".tsv")
            rows = Rows(name, encoding=folder.encoding)
            for number, row in rows.delimited(io.BytesIO(folder.content(name)), "\t"):
                place = f"{name}, line {number}"
                clip = None if isinstance(row, BadLine) else row.get("path")
                if isinstance(row, BadLine) or not clip:
                    message = str(row) if isinstance(row, BadLine) else "no `path`"
                    yield BadRow(place, message)
                    continue
                path = _clip(folder, parent(name), clip)
                if seen.setdefault(path, name) == name:
                    yield _row(row, path, place, split, lengths.get(clip))


def _row(
    row: Mapping[str, Any], path: str, place: str, split: str, seconds: float | None
) -> Row | BadRow:
    values = pick_fields(row, ("path",))
    if split == _REJECTED:
        values["sentence"] = values.pop("text", None)
    return Row(path, place, values, seconds=seconds, split=split)


def _tables(folder: Folder) -> list[str]:
    """Those beside a folder of clips, or that should be."""
    named = [name for split in _SPLITS for name in folder.by_name.get(f"{split}.tsv", [])]
    clips = {
        home.removesuffix("clips/")
        for home in {parent(audio) for audio in folder.audio}
        if home.endswith("clips/")
    }
    beside = [name for name in named if parent(name) in clips]
    return beside or [name for name in named if "client_id" in folder.first_line(name)]


def _wrong(folder: Folder, name: str) -> str:
    """What is amiss with a table; empty where nothing is."""
    header = folder.first_line(name).split("\t")
    missing = [column for column in ("path", "sentence") if column not in header]
    if missing:
        return f"{name} has no column `{missing[0]}`"
    if not any(audio.startswith(f"{parent(name)}clips/") for audio in folder.audio):
        return f"no audio in clips/ beside {name}"
    return ""


def _clip(folder: Folder, home: str, clip: str) -> str:
    """A clip's file; tables of early versions leave its ending out."""
    path = f"{home}clips/{clip}"
    return path if path in folder.files else folder.stems.get(path, path)


def _lengths(folder: Folder, home: str) -> dict[str, float]:
    """Seconds of clips, where the corpus tells."""
    name = f"{home}clip_durations.tsv"
    if name not in folder.files:
        return {}
    found = {}
    for _, line in folder.lines(name):
        clip, _, length = line.partition("\t") if isinstance(line, str) else ("", "", "")
        if length.strip().isdigit():
            found[clip] = int(length) / 1000
    return found
