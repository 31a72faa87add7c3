"""Edits of rows that are committed: all of one edit, or nothing of it.

    manifest/edits/00001.json        the commit of an edit; first writer wins. It holds the new
                                     commit record of every shard that it changes, whose `staged`
                                     names the new file, and the hash of the record before
    manifest/edits/00001.done.json   it has been carried out: staged files moved over `data/`,
                                     records replaced

Before the first file is there the folder is as it was before, whatever was staged. From then on
`Manifest.record` answers with the edit's records, and whoever writes to the folder next first
carries the edit out. When that is done the first file is cut down to what was asked for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.output.manifest.names import MANIFEST, record_name
from pipelines.output.manifest.records import CommitRecord
from pipelines.output.storage import Storage
from pipelines.system.words import many
from tokenizer.errors import ManifestError, ShardError
from tokenizer.sealing import seal, unseal

EDITS = f"{MANIFEST}/edits"
_BEGUN = re.compile(r"(\d{5})\.json")
_DONE = re.compile(r"(\d{5})\.done\.json")


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit that is committed and not carried out."""

    number: int
    """from 1"""
    of: str
    """fingerprint of the folder's configuration"""
    said: Mapping[str, Any]
    """what was asked for, and how many rows it is about"""
    records: Mapping[str, CommitRecord]
    """of each shard that it changes"""
    before: Mapping[str, str]
    """SHA-256 of the record that each of these replaces"""

    def to_json(self) -> bytes:
        """The file that commits it."""
        records = {name: one.to_json().decode() for name, one in self.records.items()}
        return seal(self._head() | {"records": records, "before": dict(self.before)})

    def to_history(self) -> bytes:
        """What stays of it."""
        return seal(self._head() | {"shards": sorted(self.records)})

    def _head(self) -> dict[str, Any]:
        return {"number": self.number, "of": self.of, "said": dict(self.said)}


def is_edit(file: str) -> bool:
    """Whether a file of `EDITS` is one of an edit, by its name."""
    return _BEGUN.fullmatch(file) is not None or _DONE.fullmatch(file) is not None


def next_number(storage: Storage) -> int:
    """That of the edit that comes next."""
    return max(_numbers(storage)[0], default=0) + 1


def pending(storage: Storage, known: Edit | None = None) -> Edit | None:
    """The edit that is committed and not carried out.

    Args:
        storage: of the output folder.
        known: the one that was found last, which is not read again.

    Raises:
        ManifestError: its file is damaged.
    """
    begun, done = _numbers(storage)
    left = sorted(begun - done)
    if not left:
        return None
    if known is not None and known.number == left[0]:
        return known
    return _read(storage, left[0])


def history(storage: Storage) -> list[dict[str, Any]]:
    """What was asked for by each edit, in order, and which shards it changed.

    Raises:
        ManifestError: a file is damaged.
    """
    return [_unsealed(storage, _name(number)) for number in sorted(_numbers(storage)[0])]


def damaged(storage: Storage) -> list[tuple[str, str]]:
    """Files of edits that are not as they were written, each with what is wrong with it."""
    found = []
    for name in sorted(filter(is_edit, storage.list(EDITS))):
        try:
            _unsealed(storage, f"{EDITS}/{name}")
        except ManifestError as error:
            found.append((f"{EDITS}/{name}", str(error)))
    return found


def described(values: Mapping[str, Any]) -> str:
    """One entry of `history`, for people."""
    said = values.get("said", {})
    rows = many(int(said.get("rows", 0)), "recording")
    if said.get("command") == "drop":
        return f"{rows} taken out" + (f": {said['reason']}" if said.get("reason") else "")
    return f"{', '.join(said.get('columns', ()))} of {rows} set"


def begin(storage: Storage, edit: Edit) -> bool:
    """Commit an edit; False when another of its number was first."""
    return storage.create(_name(edit.number), edit.to_json())


def carry_out(storage: Storage, edit: Edit, in_place: Callable[[CommitRecord], bool]) -> None:
    """Give its files and records their places. Several may do so at a time.

    Args:
        storage: of the output folder.
        edit: that was committed.
        in_place: gives a staged file its final name; whether it lies there.

    Raises:
        ManifestError: a file that it staged has gone.
    """
    for shard, record in edit.records.items():
        name, new = record_name(shard), record.to_json()
        try:
            content: bytes | None = storage.read(name)
        except FileNotFoundError:  # between the two steps below
            content = None
        if content not in (None, new) and _digest(content or b"") != edit.before[shard]:
            continue  # it was replaced again since, by a later edit
        if not in_place(record):
            raise ManifestError(
                f"{storage.root}/{record.staged}: is missing, and edit {edit.number} needs it: "
                "restore it"
            )
        if content not in (None, new):
            storage.remove_if(name, content or b"")
        storage.create(name, new)
    storage.create(f"{EDITS}/{edit.number:05d}.done.json", seal({"number": edit.number}))
    storage.write(_name(edit.number), edit.to_history())


def digest_of(content: bytes) -> str:
    """SHA-256 of a record that an edit replaces."""
    return _digest(content)


def _read(storage: Storage, number: int) -> Edit | None:
    values = _unsealed(storage, _name(number))
    if "records" not in values:  # it has just been carried out
        return None
    try:
        records = {
            name: CommitRecord.from_json(text.encode(), name)
            for name, text in values["records"].items()
        }
        before, said = values["before"], values["said"]
        if not isinstance(said, dict) or {*before} != {*records}:
            raise KeyError("before")
        return Edit(number, values["of"], said, records, dict(before))
    except (ShardError, KeyError, AttributeError, TypeError, ValueError) as error:
        raise ManifestError(f"{storage.root}/{_name(number)}: damaged: {error}") from error


def _numbers(storage: Storage) -> tuple[set[int], set[int]]:
    """Of the edits that were begun, and of those that are done."""
    names = storage.list(EDITS)
    begun, done = (
        {int(found.group(1)) for name in names if (found := kind.fullmatch(name))}
        for kind in (_BEGUN, _DONE)
    )
    return begun, done


def _unsealed(storage: Storage, name: str) -> dict[str, Any]:
    try:
        return unseal(storage.read(name))
    except (ValueError, FileNotFoundError) as error:
        raise ManifestError(f"{storage.root}/{name}: damaged ({error}): restore it") from error


def _name(number: int) -> str:
    return f"{EDITS}/{number:05d}.json"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
