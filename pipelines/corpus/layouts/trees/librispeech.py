"""LibriSpeech (`19-198.trans.txt` in each chapter's folder, and `19-198.alignment.txt` where its
published alignments are unpacked over it) and MLS (`transcripts.txt` beside `audio/`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pipelines.corpus.layouts.base import (
    NO,
    YES,
    BadRow,
    Fit,
    Folder,
    Layout,
    Row,
    half,
    in_line,
    parent,
    split_of,
)
from pipelines.corpus.tables.alignment import ALIGNMENT, ERROR

_TRANSCRIPT = ".trans.txt"
_ALIGNED = re.compile(r'(?P<id>\S+)\s+"(?P<words>[^"]*)"\s+"(?P<ends>[^"]*)"')
_LANGUAGES = {
    "mls_dutch": "nl",
    "mls_english": "en",
    "mls_french": "fr",
    "mls_german": "de",
    "mls_italian": "it",
    "mls_polish": "pl",
    "mls_portuguese": "pt",
    "mls_spanish": "es",
}
"""by the folder's name, with or without `_opus` behind it"""


class LibriSpeech(Layout):
    """One row for each line of transcripts; the speaker is the first number of an utterance's
    name."""

    title = "LibriSpeech"
    reads = "text from transcripts of chapters"

    def fits(self, folder: Folder) -> Fit:
        tables = _tables(folder)
        if not tables:
            return NO
        for name in tables:
            utterance, text = _parts(folder.first_line(name))
            if text and _audio(folder, name, utterance) in folder.audio:
                return YES
        return half(f"the first line of {tables[0]} names no audio beside it")

    def rows(self, folder: Folder) -> Iterator[Row | BadRow]:
        for name in _tables(folder):
            timed = _timed(folder, name)

            def parse(
                place: str, line: str, name: str = name, timed: dict[str, Any] = timed
            ) -> Row:
                utterance, text = _parts(line)
                if not text:
                    raise ValueError("nothing behind the utterance's name")
                path = _audio(folder, name, utterance)
                values = {"text": text, "speaker": _speaker(path, utterance)}
                language = _language(f"{folder.spec}/{path}")
                told = values | language | timed.get(utterance, {})
                return Row(path, place, told, split=split_of(name, folder.spec))

            yield from in_line(folder, name, parse)


def _tables(folder: Folder) -> list[str]:
    return sorted([*folder.ending_in(_TRANSCRIPT), *folder.by_name.get("transcripts.txt", [])])


def _timed(folder: Folder, table: str) -> dict[str, dict[str, Any]]:
    """Times of words, by utterance: a line is `id ",ONE,,TWO" "0.1,0.5,0.6,0.9"`, words and
    silences with the second at which each ends (https://github.com/CorentinJ/librispeech-alignments)."""
    name = table.removesuffix(_TRANSCRIPT) + ".alignment.txt"
    found: dict[str, dict[str, Any]] = {}
    if not table.endswith(_TRANSCRIPT) or name not in folder.files:
        return found
    for place, line in folder.lines(name):
        parsed = None if isinstance(line, BadRow) else _ALIGNED.fullmatch(line.strip())
        if parsed is None:
            folder.notes.append(f"{place}: no times of words")
            continue
        words, ends = parsed["words"].split(","), parsed["ends"].split(",")
        if len(words) != len(ends):
            found[parsed["id"]] = {ERROR: f"{place}: {len(words)} words, {len(ends)} times"}
            continue
        starts = ["0", *ends]
        items = zip(starts, ends, words, strict=False)
        found[parsed["id"]] = {ALIGNMENT: [list(item) for item in items if item[2].strip()]}
    return found


def _parts(line: str) -> tuple[str, str]:
    utterance, _, text = line.partition("\t" if "\t" in line else " ")
    return utterance.strip(), text.strip()


def _audio(folder: Folder, table: str, utterance: str) -> str:
    home = parent(table)
    if table.endswith(_TRANSCRIPT):
        stem = f"{home}{utterance}"
    else:
        stem = "/".join([f"{home}audio", *utterance.split("_")[:2], utterance])
    return folder.stems.get(stem, f"{stem}.flac")


def _speaker(path: str, utterance: str) -> str | None:
    """The first part of a name, if a folder above is called so."""
    first = utterance.replace("-", "_").split("_")[0]
    return first if first in path.split("/")[:-1] else None


def _language(path: str) -> dict[str, str]:
    found = [
        _LANGUAGES[name]
        for part in path.split("/")
        if (name := part.removesuffix("_opus")) in _LANGUAGES
    ]
    return {"language": found[-1]} if found else {}
