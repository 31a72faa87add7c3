"""Lhotse's manifests, `.jsonl` or `.jsonl.gz`: cuts, or recordings with supervisions. They are JSON
lines, and are read as such."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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
)
from pipelines.corpus.tables.spans import to_seconds

_ENDINGS = (".jsonl", ".jsonl.gz")
_KIND = re.compile(r"(^|[-_.])(cuts|recordings|supervisions)([-_.])")
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
        if _KIND.search(name.rpartition("/")[2]) or name in folder.given
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
    last = name.rpartition("/")[2]
    found = _KIND.search(last)
    return re.sub(r"\.jsonl(\.gz)?$", "", last[found.end() :]) or None if found else None


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
    recording, said = cut.get("recording"), cut.get("supervisions") or []
    if not isinstance(recording, dict) or not isinstance(said, list):
        kind = cut.get("type", "cut")
        return BadRow(_at(place, cut), f"a {kind} without a recording is not read")
    return _row(recording, cut, [each for each in said if isinstance(each, dict)], place, name)


def _row(
    recording: dict[str, Any],
    part: dict[str, Any],
    said: list[dict[str, Any]],
    place: str,
    name: str,
) -> Row | BadRow:
    """A row for a part of a recording, and what is said in it."""
    place = _at(place, part)
    try:
        path = _file(recording)
        start = to_seconds(part.get("start"), "start")
        length = to_seconds(part.get("duration"), "duration")
        known = float(recording.get("duration") or 0.0)
    except (TypeError, ValueError) as error:
        return BadRow(place, str(error))
    if recording.get("transforms"):
        return BadRow(place, "its recording has transforms, which are not applied")
    whole = not start and abs(length - known) < _CLOSE
    return Row(
        path,
        place,
        _values(recording, part, said),
        str(part["id"]) if part.get("id") else None,
        None if whole else start,
        None if whole else start + length,
        seconds=length,
        split=_split(name),
        base=parent(name),
    )


def _file(recording: Mapping[str, Any]) -> str:
    sources = recording.get("sources") or []
    if len(sources) != 1:
        raise ValueError(f"a recording of {len(sources)} files is not read: one is expected")
    kind, path = sources[0].get("type"), sources[0].get("source")
    if kind not in ("file", "url") or not isinstance(path, str):
        raise ValueError(f"a source of the type {kind!r} is never run or read: give audio files")
    return path


def _values(
    recording: Mapping[str, Any], part: Mapping[str, Any], said: list[dict[str, Any]]
) -> dict[str, Any]:
    """Text, speaker and language, and what else is told. Several people in one cut have no one
    speaker: who says what stays in `meta.supervisions`."""
    said = sorted(said, key=lambda each: each.get("start") or 0.0)
    values: dict[str, Any] = {}
    for each in [part, *said]:
        values |= each["custom"] if isinstance(each.get("custom"), dict) else {}
    for field in ("speaker", "language", "gender", "alignment"):
        found = [each[field] for each in said if each.get(field) is not None]
        if found and all(each == found[0] for each in found):
            values[field] = found[0]
    texts = [each["text"] for each in said if isinstance(each.get("text"), str)]
    if texts:
        values["text"] = " ".join(texts)
    if len(said) > 1:
        values["supervisions"] = said
        values.pop("alignment", None)
    channels = recording.get("channel_ids") or (recording.get("sources") or [{}])[0].get("channels")
    if "channel" in part and isinstance(channels, list) and len(channels) > 1:
        values["channel"] = part["channel"]
    return values


def _at(place: str, value: Mapping[str, Any]) -> str:
    return f"{place} ({value['id']})" if value.get("id") else place
