"""NeMo's tarred data sets: `audio_0.tar` … beside `tarred_audio_manifest.json`, or beside
`sharded_manifests/manifest_0.json` …, whose rows name members, and the tar by `shard_id`."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pipelines.corpus.layouts.base import (
    NO,
    YES,
    BadRow,
    Fit,
    Folder,
    Layout,
    Packed,
    Row,
    half,
    parent,
    split_of,
)
from pipelines.corpus.layouts.lists.nemo import PATH, manifest_row
from pipelines.corpus.layouts.packed import is_tarred, whole_members
from tokenizer.errors import FailureKind

_TAR = re.compile(r"(?P<stem>.*?)(?P<shard>\d+)\.tar")
_SHARDED = "sharded_manifests/"
_PART = re.compile(r"-sub\d+$")
"""what NeMo adds to the name of a file for its second row, third …"""
_OPEN_TARS = 16
"""tars whose members are known at once; rows come shard by shard"""


class NeMoTarred(Layout):
    """One row for each line. A member that no line names is left out, as NeMo leaves it."""

    title = "NeMo tarred"
    reads = "audio from audio_*.tar, text from manifests"
    is_table = True

    def fits(self, folder: Folder) -> Fit:
        lists = _lists(folder)
        if not lists:
            return NO
        for name in lists:
            if PATH in folder.first_object(name) and _tars(folder, _home(name)):
                return YES
        return half(f"no tars beside {lists[0]}, or no `{PATH}` in its first line")

    def belongs(self, name: str, first_line: str) -> bool:
        return is_tarred(name)

    def beside(self, name: str) -> None:
        return None

    def rows(self, folder: Folder) -> Iterator[Row | BadRow]:
        for name in _lists(folder):
            home = _home(name)
            shards = _Shards(folder, _tars(folder, home))
            own = re.search(r"manifest_(\d+)\.", name)
            split = split_of(f"{home}x", folder.spec)
            for place, value in folder.objects(name):
                if isinstance(value, BadRow):
                    yield value
                    continue
                shard = value.get("shard_id", own.group(1) if own else None)
                try:
                    yield shards.row(value, place, shard, split)
                except ValueError as error:
                    yield BadRow(place, str(error))
            shards.note_unused()


class _Shards:
    """The tars of a manifest, and the members of those looked into last."""

    def __init__(self, folder: Folder, tars: dict[int, str]) -> None:
        self._folder, self._tars = folder, tars
        self._known: OrderedDict[int, dict[str, Packed]] = OrderedDict()
        self._count = 0
        self._used: set[tuple[int, int]] = set()
        self._looked: set[int] = set()

    def row(self, value: dict[str, Any], place: str, shard: Any, split: str | None) -> Row | BadRow:
        """A manifest's row.

        Raises:
            ValueError: it is none.
        """
        row = manifest_row(value, place, split, "")
        number = int(shard) if str(shard).isdigit() else None
        if number is not None and number not in self._tars:
            return BadRow(place, f"no tar of the shard {number}", FailureKind.NOT_FOUND)
        for each in self._tars if number is None else [number]:
            member = self._find(each, row.path)
            if member is not None:
                self._used.add((each, member.offset))
                tar = self._tars[each]
                id = f"{tar.removesuffix('.tar')}/{row.id}"
                values = {key: kept for key, kept in row.values.items() if key != "shard_id"}
                return replace(row, path=tar, member=member, id=id, base=None, values=values)
        where = "any tar" if number is None else self._tars[number]
        return BadRow(place, f"no {row.path} in {where}", FailureKind.NOT_FOUND)

    def _find(self, shard: int, path: str) -> Packed | None:
        members = self._members(shard)
        stem, dot, ending = path.rpartition(".")
        # Names are squashed when tars are made: `a/b.c.wav` becomes `a_b_c.wav`.
        squashed = f"{re.sub('[/.]', '_', stem)}{dot}{ending}"
        last = path.rpartition("/")[2]
        names = [path, squashed, last]
        names += [f"{_PART.sub('', name.rpartition('.')[0])}{dot}{ending}" for name in names]
        return next((members[name] for name in names if name in members), None)

    def _members(self, shard: int) -> dict[str, Packed]:
        if shard not in self._known:
            found = {
                each.name.removeprefix("./"): each
                for each in whole_members(self._folder, self._tars[shard])
            }
            if shard not in self._looked:
                self._looked.add(shard)
                self._count += len(found)
            self._known[shard] = found
            if len(self._known) > _OPEN_TARS:
                self._known.popitem(last=False)
        return self._known[shard]

    def note_unused(self) -> None:
        left = self._count - len(self._used)
        if left:
            self._folder.notes.append(
                f"{left:,} members of the tars have no row in the manifest: not taken"
            )
        unread = sorted(set(self._tars) - self._looked)
        if unread:
            names = ", ".join(self._tars[shard] for shard in unread[:3])
            self._folder.notes.append(f"{len(unread):,} tars have no row at all: {names}")


def _lists(folder: Folder) -> list[str]:
    """Manifests; those of shards only where there is none of them all."""
    named = [name for name in folder.ending_in(".json", ".jsonl", ".gz") if is_tarred(name)]
    whole = {_home(name) for name in named if _SHARDED not in name}
    return [name for name in named if _SHARDED not in name or _home(name) not in whole]


def _home(name: str) -> str:
    return parent(name).removesuffix(_SHARDED)


def _tars(folder: Folder, home: str) -> dict[int, str]:
    """Tars by their numbers; those called `audio_…` before others."""
    found: dict[int, str] = {}
    for name in sorted(folder.ending_in(".tar"), key=lambda name: "/audio_" not in f"/{name}"):
        match = _TAR.fullmatch(name.removeprefix(home)) if name.startswith(home) else None
        if match is not None and "/" not in match["stem"]:
            found.setdefault(int(match["shard"]), name)
    return dict(sorted(found.items()))
