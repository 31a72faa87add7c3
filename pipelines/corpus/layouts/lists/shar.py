"""Lhotse's Shar: `cuts.000000.jsonl.gz` beside `recording.000000.tar`, in which a cut's audio goes
by the cut's id (`lhotse.shar.readers.lazy`, `lhotse.shar.writers.audio`)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
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
    Packed,
    Row,
    half,
    parent,
    split_of,
)
from pipelines.corpus.layouts.lists.lhotse import channel_of, of_part, supervisions
from pipelines.corpus.layouts.packed import audio_of_shard, is_shar, whole_members
from tokenizer.errors import FailureKind

_NO_AUDIO = (".nodata", ".nometa")
"""endings of what stands in a tar for a cut without a recording"""
_FIELD = re.compile(r"(?P<field>\w+)\.(?P<shard>\d+)\.jsonl(\.gz)?")


class Shar(Layout):
    """One row for each cut; the fields of other lists of its shard are meta, those of other tars
    are not read."""

    title = "Lhotse Shar"
    reads = "audio from recording.*.tar, text from supervisions"

    def fits(self, folder: Folder) -> Fit:
        shards = _shards(folder)
        if not shards:
            return NO
        missing = [name for name in shards if audio_of_shard(name) not in folder.files]
        if len(missing) == len(shards):
            return half(f"no {audio_of_shard(missing[0])} beside {missing[0]}")
        return YES

    def belongs(self, name: str, first_line: str) -> bool:
        return is_shar(name)

    def beside(self, name: str) -> list[str] | None:
        return None if is_shar(name) else []

    def rows(self, folder: Folder) -> Iterator[Row | BadRow]:
        for name in _shards(folder):
            yield from _shard(folder, name)


def _shards(folder: Folder) -> list[str]:
    named = folder.given or folder.ending_in(".jsonl", ".jsonl.gz")
    return sorted(name for name in named if is_shar(name))


def _shard(folder: Folder, name: str) -> Iterator[Row | BadRow]:
    tar = audio_of_shard(name)
    if tar not in folder.files:
        yield BadRow(name, f"no {tar} beside it", FailureKind.NOT_FOUND)
        return
    audio, absent = dict[str, Packed](), set[str]()
    for member in whole_members(folder, tar):
        key, _, ending = member.name.rpartition(".")
        if f".{ending}" in _NO_AUDIO:
            absent.add(key)
        elif ending != "json" or key not in audio:  # the manifest comes behind its audio
            audio.setdefault(key, member)
    fields = _fields(folder, name)
    cuts = list(folder.objects(name))
    channels = _Channels((cut for _, cut in cuts), name)
    for place, cut in cuts:
        if isinstance(cut, BadRow):
            yield cut
            continue
        id = str(cut.get("id"))
        told = f"{place} ({id})"
        if id not in audio:
            why = f"{tar} has no recording of it"
            yield BadRow(told, why, FailureKind.BAD_ROW if id in absent else FailureKind.NOT_FOUND)
            continue
        try:
            row = _row(cut, told, audio[id], fields.get(id, {}), tar, folder.spec)
            number, one_of = channels.of(cut)
            yield replace(row, number=number, one_of=one_of)
        except (TypeError, ValueError) as error:
            yield BadRow(told, str(error))


def _row(
    cut: dict[str, Any], place: str, member: Packed, more: dict[str, Any], tar: str, spec: str
) -> Row:
    recording = cut.get("recording")
    if not isinstance(recording, dict):
        raise ValueError(f"a {cut.get('type', 'cut')} without a recording is not read")
    asked = cut.get("channel")
    row = of_part(recording, cut, supervisions(cut), place)
    listed = asked if asked is None or isinstance(asked, list) else [asked]
    channel = channel_of(recording.get("channel_ids"), listed)
    values = {**more, **row.values}
    split = split_of(tar, spec)
    return replace(row, path=tar, member=member, values=values, channel=channel, split=split)


class _Channels:
    """Tells cuts that are the channels of one part of a recording. Their list names the recording
    as it was before it was cut up, no times in it, and of its channels only a cut's own."""

    def __init__(self, cuts: Iterable[dict[str, Any] | BadRow], name: str) -> None:
        self._name = name
        self._numbers: defaultdict[tuple[str, float], list[int]] = defaultdict(list)
        for cut in cuts:
            found = None if isinstance(cut, BadRow) else _channel(cut)
            if found is not None:
                self._numbers[found[0]].append(found[1])

    def of(self, cut: dict[str, Any]) -> tuple[int | None, OneOf | None]:
        """As `lhotse.one_channel`. Of parts of one length that follow each other, it is not known
        which belong together."""
        found = _channel(cut)
        if found is None:
            return None, None
        (recording, length), number = found
        numbers = self._numbers[found[0]]
        if len(numbers) < 2 or sorted(numbers) != list(range(len(numbers))):
            return None, None
        part = OneOf(recording, self._name, (0.0, length), channels=len(numbers))
        return number, part


def _channel(cut: dict[str, Any]) -> tuple[tuple[str, float], int] | None:
    """The recording and length of a cut of one channel, and which it is."""
    asked, recording, length = cut.get("channel"), cut.get("recording"), cut.get("duration")
    asked = asked[0] if isinstance(asked, list) and len(asked) == 1 else asked
    id = recording.get("id") if isinstance(recording, dict) else None
    if not (id and isinstance(asked, int) and isinstance(length, int | float)):
        return None
    return (str(id), float(length)), asked


def _fields(folder: Folder, name: str) -> dict[str, dict[str, Any]]:
    """What other lists of a shard tell, by cut."""
    last = name.rpartition("/")[2]
    shard = last.split(".")[1]
    found: dict[str, dict[str, Any]] = {}
    for other in folder.ending_in(".jsonl", ".jsonl.gz"):
        match = _FIELD.fullmatch(other.rpartition("/")[2])
        if match is None or parent(other) != parent(name) or match["shard"] != shard:
            continue
        if match["field"] == "cuts":
            continue
        for _, value in folder.objects(other):
            if isinstance(value, dict) and match["field"] in value:
                own = found.setdefault(str(value.get("cut_id")), {})
                own[match["field"]] = value[match["field"]]
    return found
