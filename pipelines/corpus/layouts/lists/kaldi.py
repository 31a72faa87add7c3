"""Kaldi's data folders, which ESPnet and WeNet have too: `wav.scp`, `segments`, `text`, `utt2spk`,
`utt2lang`."""

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
    parent,
    split_of,
)
from pipelines.corpus.tables.alignment import ALIGNMENT, ERROR, stored, within
from pipelines.corpus.tables.spans import to_seconds
from pipelines.corpus.tables.word_files import Ctm
from pipelines.system.words import many
from tokenizer.errors import FailureKind

_SPLIT_UP = re.compile(r"(^|/)split\d+(utt)?/")
"""copies of a data folder in parts, for parallel jobs"""
_TO_THE_END = -1
"""end of a segment that goes on to its recording's"""
_BESIDE = {"utt2spk": "speaker", "utt2lang": "language"}
_CTM = ("ctm", "ctm.gz", "words.ctm", "word.ctm", "text.ctm")
"""what times of words may be called, best first"""
_CHANNELS = "reco2file_and_channel"
"""what a CTM calls a recording: `recording file channel`"""


class Kaldi(Layout):
    """One row for each segment, or each line of `wav.scp` where there are no segments."""

    title = "Kaldi"
    reads = "audio from wav.scp, text from text"

    def fits(self, folder: Folder) -> Fit:
        lists = _lists(folder)
        if not lists:
            return NO
        for name in lists:
            if len(folder.first_line(name).split(maxsplit=1)) != 2:
                return half(f"the first line of {name} is not `id file`")
        return YES

    def belongs(self, name: str, first_line: str) -> bool:
        return name == "wav.scp"

    def beside(self, name: str) -> list[str]:
        return ["segments", "text", *_BESIDE, *_CTM, _CHANNELS]

    def rows(self, folder: Folder) -> Iterator[Row | BadRow]:
        lists = _lists(folder)
        for name in lists:
            yield from _data_folder(folder, parent(name), several=len(lists) > 1)


def _lists(folder: Folder) -> list[str]:
    return [name for name in folder.by_name.get("wav.scp", []) if not _SPLIT_UP.search(name)]


def _data_folder(folder: Folder, data: str, several: bool) -> Iterator[Row | BadRow]:
    prefix = data if several else ""
    split = data.rstrip("/").rpartition("/")[2] or split_of("", folder.spec)
    audio, bad = _table(folder, f"{data}wav.scp")
    yield from bad
    beside, told = _beside(folder, data)
    yield from told
    timed = _Timed(folder, data)
    if f"{data}segments" in folder.files:
        whole, bad = _table(folder, f"{data}segments")
        yield from bad
    else:
        whole = {name: (place, f"{name} 0 -1") for name, (place, _) in audio.items()}
    for utterance, (place, span) in whole.items():
        values: dict[str, Any] = {
            field: found[utterance][1] for field, found in beside.items() if utterance in found
        }
        try:
            recording, start, end = _span(span)
            if recording not in audio:
                raise ValueError(f"no {recording} in {data}wav.scp")
        except ValueError as error:
            yield BadRow(f"{place} ({utterance})", str(error))
            continue
        values |= timed.words(utterance, recording, start, end)
        yield _row(audio[recording], place, prefix + utterance, values, (start, end), split, data)
    timed.note(whole.keys() | audio.keys())
    for place, utterance in (
        (place, name) for name, (place, _) in beside["text"].items() if name not in whole
    ):
        yield BadRow(f"{place} ({utterance})", "a transcript of no recording in wav.scp")


class _Timed:
    """Times of words in a data folder. Those that go by a recording's name are in its time, those
    by an utterance's in the utterance's own (`steps/get_train_ctm.sh` and its
    `--use-segments`)."""

    def __init__(self, folder: Folder, data: str) -> None:
        name = next((data + each for each in _CTM if data + each in folder.files), None)
        self._folder, self._name, self._ctm = folder, name, Ctm(())
        self._called: dict[str, tuple[str, str | None]] = {}
        if name is None:
            return
        self._ctm = Ctm(line for _, line in folder.lines(name) if isinstance(line, str))
        if data + _CHANNELS in folder.files:
            table, _ = _table(folder, data + _CHANNELS)
            for recording, (_, value) in table.items():
                file, *channel = value.split()
                self._called[recording] = file, next(iter(channel), None)

    def words(
        self, utterance: str, recording: str, start: float | None, end: float | None
    ) -> dict[str, Any]:
        """Words of an utterance as a row has them."""
        whole = start is None and end is None
        try:
            if utterance in self._ctm and (whole or utterance != recording):
                return _told(stored(self._ctm.words(utterance)))
            name, channel = self._called.get(recording, (recording, None))
            name, channel = (name, channel) if name in self._ctm else (recording, None)
            return _told(within(stored(self._ctm.words(name, channel)), start or 0.0, end))
        except ValueError as error:
            return {ERROR: f"{self._name}: {error}"}

    def note(self, known: set[str]) -> None:
        """Say which names of the CTM are of nothing that is there, and what is no word."""
        if self._ctm.short:
            self._folder.notes.append(
                f"{self._name}: passed over {many(self._ctm.short, 'line')} without `name channel "
                "start duration word`"
            )
        strangers = sorted(self._ctm.names - known - {file for file, _ in self._called.values()})
        if strangers:
            shown = ", ".join(strangers[:3]) + (" …" if strangers[3:] else "")
            self._folder.notes.append(
                f"{self._name}: words of {many(len(strangers), 'name')} that are neither a "
                f"recording's nor an utterance's: {shown}"
            )


def _told(words: list[list[Any]]) -> dict[str, Any]:
    return {ALIGNMENT: words} if words else {}


def _row(
    audio: tuple[str, str],
    place: str,
    id: str,
    values: dict[str, Any],
    span: tuple[float | None, float | None],
    split: str | None,
    data: str,
) -> Row | BadRow:
    _, path = audio
    if path.endswith("|") or path.startswith("|"):
        message = f"a command, which is never run: {path}; write its output to a file"
        return BadRow(f"{audio[0]} ({id})", message, FailureKind.UNREADABLE)
    if re.search(r"\.ark:\d+$", path):
        message = f"a place in an archive of Kaldi, which is not read: {path}; give audio files"
        return BadRow(f"{audio[0]} ({id})", message, FailureKind.UNREADABLE)
    start, end = span
    return Row(path, place, values, id, start, end, split=split, base=data)


def _beside(
    folder: Folder, data: str
) -> tuple[dict[str, dict[str, tuple[str, str]]], list[BadRow]]:
    """Text, speakers and languages, by utterance."""
    found: dict[str, dict[str, tuple[str, str]]] = {"text": {}}
    bad: list[BadRow] = []
    for name, field in {"text": "text", **_BESIDE}.items():
        if data + name in folder.files:
            found[field], wrong = _table(folder, data + name, may_lack=name == "text")
            bad += wrong
    return found, bad


def _table(
    folder: Folder, name: str, may_lack: bool = False
) -> tuple[dict[str, tuple[str, str]], list[BadRow]]:
    """Key → place and value of a file with `key value` in each line, and the lines that have none.

    Args:
        may_lack: a key without a value is fine, and left out.
    """
    found: dict[str, tuple[str, str]] = {}
    bad = []
    for place, line in folder.lines(name):
        if isinstance(line, BadRow):
            bad.append(line)
            continue
        key, *value = line.split(maxsplit=1)
        if key in found:
            bad.append(BadRow(f"{place} ({key})", f"{key} is there already, in {found[key][0]}"))
        elif value:
            found[key] = place, value[0].strip()
        elif not may_lack:
            bad.append(BadRow(f"{place} ({key})", "nothing behind the id"))
    return found, bad


def _span(text: str) -> tuple[str, float | None, float | None]:
    """Recording, start and end of a segment; -1 is the recording's end."""
    parts = text.split()
    if len(parts) not in (3, 4):
        raise ValueError("`utterance recording start end` is expected")
    start = to_seconds(parts[1], "start")
    if float(parts[2]) == _TO_THE_END:
        return parts[0], start or None, None
    return parts[0], start or None, to_seconds(parts[2], "end")
