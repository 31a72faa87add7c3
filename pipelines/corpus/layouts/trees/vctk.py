"""VCTK: `txt/p225/p225_001.txt`, and the audio in `wav48/p225/` or `wav48_silence_trimmed/p225/`,
there with `_mic1` and `_mic2`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipelines.corpus.layouts.base import NO, YES, BadRow, Fit, Folder, Layout, Row, half

_TEXT = re.compile(r"(?P<home>(?:.*/)?)txt/(?P<speaker>[^/]+)/(?P<name>(?P=speaker)_[^/]+)\.txt")
_AUDIO = re.compile(
    r"(?P<home>(?:.*/)?)wav[^/]*/(?P<speaker>[^/]+)/(?P<name>(?P=speaker)_.+?)(?P<mic>_mic\d)?\.\w+"
)
_INFO = "speaker-info.txt"


class VCTK(Layout):
    """One row for each file, so two for an utterance that two microphones took; `meta.utterance`
    says which belong together."""

    title = "VCTK"
    reads = "text from txt/"

    def fits(self, folder: Folder) -> Fit:
        texts = _texts(folder)
        if not texts:
            return NO
        if any(found and _key(found) in texts for found in map(_AUDIO.fullmatch, folder.audio)):
            return YES
        home = any("/wav48" in f"/{name}" for name in folder.audio)
        return half("no audio has the name of a text in txt/") if home else NO

    def rows(self, folder: Folder) -> Iterator[Row | BadRow]:
        texts, speakers = _texts(folder), _speakers(folder)
        heard = set()
        for name in folder.audio:
            found = _AUDIO.fullmatch(name)
            if found is None:
                continue
            speaker, key = found["speaker"], _key(found)
            values = {"speaker": speaker, "utterance": found["name"], **speakers.get(speaker, {})}
            if found["mic"]:
                values["mic"] = found["mic"].strip("_")
            place = texts.get(key)
            if place is not None:
                heard.add(key)
                try:
                    values["text"] = folder.text(place).strip()
                except ValueError as error:
                    yield BadRow(place, str(error))
            yield Row(name, place or name, values)
        for key, place in texts.items():
            if key not in heard:
                yield BadRow(place, "a transcript of no recording")


def _key(found: re.Match[str]) -> tuple[str, str]:
    return found["home"], found["name"]


def _texts(folder: Folder) -> dict[tuple[str, str], str]:
    """Home and name of an utterance → its text's file."""
    return {
        _key(found): name
        for name in folder.ending_in(".txt")
        if (found := _TEXT.fullmatch(name)) is not None
    }


def _speakers(folder: Folder) -> dict[str, dict[str, str]]:
    """What is told of speakers, by name: columns are apart by spaces, and the last may hold
    some."""
    found: dict[str, dict[str, str]] = {}
    for name in folder.by_name.get(_INFO, []):
        header: list[str] = []
        for _, line in folder.lines(name):
            if isinstance(line, BadRow):
                continue
            cells = line.strip().split(maxsplit=4)
            if not header:
                header = [cell.lower() for cell in cells]
                continue
            told = dict(zip(header[1:], cells[1:], strict=False))
            speaker = cells[0] if cells[0][0].isalpha() else f"p{cells[0]}"
            found[speaker] = told
    return found
