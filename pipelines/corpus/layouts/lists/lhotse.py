"""Lhotse's manifests, `.jsonl` or `.jsonl.gz`: cuts, or recordings with supervisions. They are JSON
lines, and are read as such."""

from __future__ import annotations

import math
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
    OneOf,
    Row,
    as_object,
    half,
    parent,
)
from pipelines.corpus.layouts.packed import is_shar
from pipelines.corpus.tables.alignment import (
    ALIGNMENT,
    ALIGNMENTS,
    ERROR,
    Word,
    read_words,
    stored,
)
from pipelines.corpus.tables.spans import to_seconds

_ENDINGS = (".jsonl", ".jsonl.gz")
_KIND = re.compile(r"(^|[-_.])(cuts|recordings|supervisions)([-_.])")
_WORDS = ("word", "words", "ctm")
"""kinds of alignments that are of words"""
_LOOSE = 0.1
"""seconds that a word may begin before what is said, or end behind it"""
_CLOSE = 1e-3
"""seconds within which a segment is the whole recording"""


class Lhotse(Layout):
    """One row for each cut; for each supervision, and each recording without one, where there are
    no cuts."""

    title = "Lhotse"
    reads = "text from supervisions"

    def fits(self, folder: Folder) -> Fit:
        named = _named(folder)
        if not named:
            return NO
        kinds = {name: _kind(folder.first_line(name)) for name in named}
        known = {name for name, kind in kinds.items() if kind}
        if not known:
            return NO
        alone = [name for name in known if kinds[name] == "supervisions"]
        if "cuts" not in kinds.values() and "recordings" not in kinds.values():
            return half(f"no recordings for {', '.join(sorted(alone))}")
        return YES

    def belongs(self, name: str, first_line: str) -> bool:
        return name.endswith(_ENDINGS) and bool(_kind(first_line))

    def beside(self, name: str) -> list[str]:
        return [
            name.replace(one, other)
            for one, other in (("supervisions", "recordings"), ("recordings", "supervisions"))
            if one in name
        ]

    def rows(self, folder: Folder) -> Iterator[Row | BadRow]:
        kinds = {name: _kind(folder.first_line(name)) for name in _named(folder)}
        cuts = [name for name, kind in kinds.items() if kind == "cuts"]
        for name in cuts:
            for place, value in folder.objects(name):
                yield value if isinstance(value, BadRow) else _of_cut(value, place, name)
        if not cuts:
            yield from _supervised(folder, kinds)


def _named(folder: Folder) -> list[str]:
    return [
        name
        for name in folder.ending_in(*_ENDINGS)
        if (_KIND.search(name.rpartition("/")[2]) or name in folder.given) and not is_shar(name)
    ]


def _kind(first_line: str) -> str:
    """Of a manifest, by its first line; empty where it is none."""
    first = as_object(first_line)
    if "supervisions" in first or ("recording" in first and "start" in first):
        return "cuts"
    if "sources" in first and "sampling_rate" in first:
        return "recordings"
    return "supervisions" if "recording_id" in first and "start" in first else ""


def _split(name: str) -> str | None:
    """`librispeech_cuts_train-clean-5.jsonl.gz` is about `train-clean-5`."""
    last = re.sub(r"\.jsonl(\.gz)?$", "", name.rpartition("/")[2])
    found = _KIND.search(f"{last}.")
    return last[found.end() :] or None if found else None


def _supervised(folder: Folder, kinds: Mapping[str, str]) -> Iterator[Row | BadRow]:
    """Rows of supervisions, each with its recording."""
    recordings: dict[str, tuple[str, str, dict[str, Any]]] = {}
    for name in (name for name, kind in kinds.items() if kind == "recordings"):
        for place, value in folder.objects(name):
            if isinstance(value, BadRow):
                yield value
            elif value.get("id") in recordings:
                yield BadRow(place, f"{value['id']} is there already")
            else:
                recordings[str(value.get("id"))] = place, name, value
    silent = dict(recordings)
    for name in (name for name, kind in kinds.items() if kind == "supervisions"):
        for place, value in folder.objects(name):
            if isinstance(value, BadRow):
                yield value
                continue
            found = recordings.get(str(value.get("recording_id")))
            if found is None:
                yield BadRow(_at(place, value), f"no recording {value.get('recording_id')}")
                continue
            silent.pop(str(value["recording_id"]), None)
            yield _row(found[2], value, [value], place, name)
    for place, name, recording in silent.values():
        whole = {"id": recording.get("id"), "start": 0.0, "duration": recording.get("duration")}
        yield _row(recording, whole, [], place, name)


def _of_cut(cut: dict[str, Any], place: str, name: str) -> Row | BadRow:
    recording = cut.get("recording")
    if not isinstance(recording, dict):
        kind = cut.get("type", "cut")
        return BadRow(_at(place, cut), f"a {kind} without a recording is not read")
    return _row(recording, cut, supervisions(cut), place, name)


def supervisions(cut: dict[str, Any]) -> list[dict[str, Any]]:
    """What is said in a cut."""
    said = cut.get("supervisions")
    return [each for each in said if isinstance(each, dict)] if isinstance(said, list) else []


def _row(
    recording: dict[str, Any],
    part: dict[str, Any],
    said: list[dict[str, Any]],
    place: str,
    name: str,
) -> Row | BadRow:
    """A row for a part of a recording, and what is said in it."""
    try:
        source, channel = _source(recording, part.get("channel"))
        path = _file(source)
        row = of_part(recording, part, said, _at(place, part))
    except (TypeError, ValueError) as error:
        return BadRow(_at(place, part), str(error))
    number, part_of = one_channel(recording, part, name, row)
    return replace(
        row,
        path=path,
        channel=channel,
        split=_split(name),
        base=parent(name),
        number=number,
        one_of=part_of,
    )


def one_channel(
    recording: Mapping[str, Any], part: Mapping[str, Any], name: str, row: Row
) -> tuple[int | None, OneOf | None]:
    """Which channel of a recording of several a part of it is, by its place among them, and the
    part that all of them are of; None where it is no single one.

    Args:
        name: of the list.
    """
    there = recording.get("channel_ids")
    if not isinstance(there, list):
        found = (each.get("channels") for each in recording.get("sources") or [])
        there = [number for each in found if isinstance(each, list) for number in each]
    asked = part.get("channel")
    asked = asked[0] if isinstance(asked, list) and len(asked) == 1 else asked
    id = recording.get("id")
    if len(there) < 2 or asked not in there or isinstance(asked, list) or not id:
        return None, None
    whole = row.start is None and row.end is None
    span = (row.start or 0.0, row.end if row.end is not None else row.seconds or 0.0)
    return there.index(asked), OneOf(str(id), name, span, whole, len(there))


def of_part(
    recording: Mapping[str, Any], part: dict[str, Any], said: list[dict[str, Any]], place: str
) -> Row:
    """What is told of a part of a recording: all of a row but where its audio lies.

    Raises:
        ValueError, TypeError: it cannot be one.
    """
    start = to_seconds(part.get("start"), "start")
    length = to_seconds(part.get("duration"), "duration")
    known = float(recording.get("duration") or 0.0)
    if recording.get("transforms"):
        raise ValueError("its recording has transforms, which are not applied")
    whole = not start and abs(length - known) < _CLOSE
    return Row(
        "",
        place,
        _values(part, said, start),
        str(part["id"]) if part.get("id") else None,
        None if whole else start,
        None if whole else start + length,
        seconds=length,
    )


def _source(recording: Mapping[str, Any], wanted: Any) -> tuple[Mapping[str, Any], int | None]:
    """The file that the channels of a part are in, and the one channel of it that is meant, from 0;
    None is all of them."""
    sources = [each for each in recording.get("sources") or [] if isinstance(each, dict)]
    asked = wanted if isinstance(wanted, list) else None if wanted is None else [wanted]
    if len(sources) > 1 and asked is not None and len(asked) == 1:
        sources = [each for each in sources if asked[0] in (each.get("channels") or [])]
    if len(sources) != 1:
        raise ValueError(f"a recording of {len(sources)} files is not read: one is expected")
    return sources[0], channel_of(sources[0].get("channels"), asked)


def channel_of(there: Any, asked: list[Any] | None) -> int | None:
    """The place of the one channel that is asked for among those of a file; None is all.

    Raises:
        ValueError: some of several are asked for, or one that is not there.
    """
    if not isinstance(there, list) or asked is None or set(asked) == set(there):
        return None
    if len(asked) != 1 or asked[0] not in there:
        raise ValueError(f"channels {asked} of {there}: one of them is read, or all")
    return int(there.index(asked[0]))


def _file(source: Mapping[str, Any]) -> str:
    kind, path = source.get("type"), source.get("source")
    if kind == "shar":
        raise ValueError("its audio is in a tar that is not beside this list: --layout shar")
    if kind not in ("file", "url") or not isinstance(path, str):
        raise ValueError(f"a source of the type {kind!r} is never run or read: give audio files")
    return path


def _values(part: Mapping[str, Any], said: list[dict[str, Any]], start: float) -> dict[str, Any]:
    """Text, speaker and language, and what else is told. Several people in one cut have no one
    speaker: who says what stays in `meta.supervisions`, and beside the words' times."""
    said = sorted(said, key=lambda each: _number(each.get("start")))
    values: dict[str, Any] = {}
    for each in [part, *said]:
        custom = each["custom"] if isinstance(each.get("custom"), dict) else {}
        values |= {key: value for key, value in custom.items() if not _is_stored(value)}
    for field in ("speaker", "language", "gender"):
        found = [each[field] for each in said if each.get(field) is not None]
        if found and all(each == found[0] for each in found):
            values[field] = found[0]
    texts = [each["text"] for each in said if isinstance(each.get("text"), str)]
    # A text that is none is told as such.
    wrong = [each["text"] for each in said if isinstance(each.get("text"), list | dict | bool)]
    if texts or wrong:
        values["text"] = wrong[0] if wrong else " ".join(texts)
    if len(said) > 1:
        values["supervisions"] = [
            {key: value for key, value in each.items() if key != ALIGNMENT} for each in said
        ]
    return values | _timed(part, said, start)


def _timed(part: Mapping[str, Any], said: list[dict[str, Any]], start: float) -> dict[str, Any]:
    """Times of words, and of what else was aligned by its own name, from the part's start on."""
    words: list[Word] = []
    others: dict[str, list[list[Any]]] = {}
    wrong = ""
    for each in said:
        kinds = each.get(ALIGNMENT)
        for kind, items in kinds.items() if isinstance(kinds, dict) else ():
            try:
                found = _words(items, each, part, start)
            except ValueError as error:
                wrong = wrong or f"{kind}: {error}"
                continue
            if kind in _WORDS:
                words += found
            else:
                others.setdefault(str(kind), []).extend(list(word[:3]) for word in found)
    told: dict[str, Any] = {ALIGNMENTS: others} if any(others.values()) else {}
    if wrong:
        return told | {ERROR: wrong}
    return told | ({ALIGNMENT: stored(words)} if words else {})


def _words(
    items: Any, said: Mapping[str, Any], part: Mapping[str, Any], start: float
) -> list[Word]:
    """Words of a supervision, or other things, from the part's start on. Their times are the
    recording's; where these do not fit what is said, the part's own.

    Raises:
        ValueError: times that cannot be, or fit neither.
    """
    found = read_words([_item(each) for each in items]) if isinstance(items, list) else None
    if not found:
        return []
    begins = 0.0 if said is part else _number(said.get("start"))
    ends = begins + _number(said.get("duration")) + _LOOSE
    for shift in (start, 0.0):
        moved = [(word[0] - shift, word[1] - shift, word[2]) for word in found]
        if all(begins - _LOOSE < first and last < ends for first, last, _ in moved):
            speaker = said.get("speaker")
            speaker = speaker if isinstance(speaker, str) else None
            end = _number(part.get("duration")) or math.inf
            return [
                (round(max(0.0, first), 6), round(last, 6), text, speaker)
                for first, last, text in moved
                if 0 <= (first + last) / 2 <= end
            ]
    raise ValueError("times are neither in the recording's time nor in the part's")


def _item(item: Any) -> Any:
    """A word as `[start, end, text]`; they come as `[symbol, start, duration, score]`."""
    values = list(item.values()) if isinstance(item, dict) else item
    if not isinstance(values, list) or len(values) < 3:
        return None
    symbol, start, length = values[:3]
    try:
        return [start, round(start + length, 8), symbol]
    except TypeError:
        return [start, length, symbol]


def _is_stored(value: Any) -> bool:
    """Whether a custom value is an array or a recording that lies elsewhere."""
    return isinstance(value, dict) and bool({"storage_type", "array", "sources"} & value.keys())


def _number(value: Any) -> float:
    known = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if known else 0.0


def _at(place: str, value: Mapping[str, Any]) -> str:
    return f"{place} ({value['id']})" if value.get("id") else place
