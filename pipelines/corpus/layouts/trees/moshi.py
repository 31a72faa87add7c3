"""Dialogues as moshi is trained on them: stereo, one speaker a channel, `x.json` beside `x.wav`
with `alignments: [[word, [start, end], speaker], …]`, and lists of `{"path": …, "duration": …}`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pipelines.corpus.layouts.base import (
    NO,
    YES,
    BadRow,
    Fit,
    Folder,
    Layout,
    Row,
    as_object,
    half,
    parent,
    split_of,
)
from pipelines.corpus.tables.alignment import with_alignment
from pipelines.corpus.tables.values import SIDECAR_ERROR
from tokenizer.errors import SourceError

_KEY = "alignments"
_LOOKED_AT = 5
"""transcripts that are opened to tell the layout"""
_SPLIT = re.compile(r"(train|dev|test|valid|validation|eval)(?=[-_.]|$)")


class Moshi(Layout):
    """One row for each dialogue: who says which word when is `meta.alignment`, the text is all
    words in the order of their times. Both channels are one recording."""

    title = "moshi dialogues"
    reads = "text and times of words from .json beside the audio"

    def fits(self, folder: Folder) -> Fit:
        beside = [f"{stem}.json" for stem in folder.stems if f"{stem}.json" in folder.files]
        if not beside:
            return NO
        looked = beside[:_LOOKED_AT]
        told = [name for name in looked if _KEY in _object(folder, name)]
        if any(_has_words(_object(folder, name)) for name in told):
            return YES
        return half(f"`{_KEY}` of {told[0]} is no list of [word, [start, end], …]") if told else NO

    def belongs(self, name: str, first_line: str) -> bool:
        return name.endswith(".jsonl") and _is_list(first_line)

    def beside(self, name: str) -> None:
        return None

    def rows(self, folder: Folder) -> Iterator[Row | BadRow]:
        lists = [name for name in folder.ending_in(".jsonl") if _is_list(folder.first_line(name))]
        lists = [name for name in lists if name in folder.given] or lists
        listed = set()
        for name in lists:
            found = _SPLIT.search(name.rpartition("/")[2])
            for place, value in folder.objects(name):
                path = None if isinstance(value, BadRow) else value.get("path")
                if isinstance(value, BadRow) or not isinstance(path, str) or not path:
                    yield value if isinstance(value, BadRow) else BadRow(place, "no `path`")
                    continue
                own = f"{parent(name)}{path.removeprefix('./')}"
                own = folder.find(own) or own
                listed.add(own)
                seconds = value.get("duration")
                seconds = float(seconds) if isinstance(seconds, int | float) else None
                split = found.group(1) if found else split_of(own, folder.spec)
                row = Row(path, place, seconds=seconds, split=split, base=parent(name))
                yield from _row(folder, own, row)
        if not folder.given:
            for stem, name in folder.stems.items():
                if name not in listed and f"{stem}.json" in folder.files:
                    split = split_of(name, folder.spec)
                    yield from _row(folder, name, Row(name, name, split=split))


def _row(folder: Folder, audio: str, row: Row) -> Iterator[Row | BadRow]:
    """A dialogue's row; a transcript that cannot be read is told in it, and its audio stays."""
    name = f"{audio.rpartition('.')[0]}.json"
    values: Mapping[str, Any] = {}
    if name in folder.files:
        given = {_KEY: _object(folder, name).get(_KEY)}
        values = with_alignment(given)
        if values == given:
            why = f"`{_KEY}` is no list of [word, [start, end], speaker]"
            values = {SIDECAR_ERROR: f".json: {why}"}
    yield replace(row, values=values)


def _has_words(told: dict[str, Any]) -> bool:
    return with_alignment({_KEY: told.get(_KEY)}) != {_KEY: told.get(_KEY)}


def _object(folder: Folder, name: str) -> dict[str, Any]:
    try:
        return as_object(folder.text(name))
    except (SourceError, ValueError):
        return {}


def _is_list(first_line: str) -> bool:
    first = as_object(first_line)
    return "path" in first and first.keys() <= {"path", "duration"}
