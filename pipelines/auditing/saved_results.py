"""Results of single recordings on their way into a report: of an audit under way, and of an audit
in passing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pipelines.auditing.choose.sampling import Chosen
from pipelines.auditing.options import AuditOptions
from pipelines.auditing.page.site import media
from pipelines.auditing.places import AUDIT, PARTS
from pipelines.auditing.results import RecordingAudit
from pipelines.auditing.while_tokenizing import digest, part_name
from pipelines.output.formats import ShardFormat
from pipelines.output.formats.schema import Row
from pipelines.output.formats.webdataset.writer import key_of
from pipelines.output.manifest.commits import Manifest
from pipelines.output.manifest.leases import SILENT_SECONDS
from pipelines.output.storage import Storage
from tokenizer.errors import ShardError

SUFFIX = ".json"


class Parts:
    """Results of an audit that is under way, one file a recording, so that it can be resumed."""

    def __init__(
        self,
        storage: Storage,
        fingerprint: str,
        shards: Mapping[str, str | None],
        state: Sequence[int],
    ) -> None:
        """`state`: of the folder, as `state_of` has it."""
        self._storage, self._fingerprint, self._shards = storage, fingerprint, shards
        self._state = list(state)

    def read(self, one: Chosen) -> RecordingAudit | None:
        """The result, if it is there with what the page plays of it, and was asked for the same."""
        try:
            values = json.loads(self._storage.read(self._name(one)))
            found = RecordingAudit.from_json(values["result"])
            return (
                found if values["of"] == self._of(one) and has_media(self._storage, found) else None
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None  # not there, or not ours: it is made again

    def media(self) -> set[str]:
        """What was written for the page, by this audit and by those that were broken off before
        it."""
        found: set[str] = set()
        for name in self._names():
            with suppress(OSError, ValueError, KeyError, TypeError):
                found.update(
                    media(json.loads(self._storage.read(f"{PARTS}/{name}"))["result"]["page"])
                )
        return found

    def write(self, one: Chosen, result: RecordingAudit) -> None:
        """Keep a result.

        Raises:
            OutputError: OUT cannot be written.
        """
        values = {"of": self._of(one), "state": self._state, "result": result.to_json()}
        self._storage.write(
            self._name(one),
            json.dumps(values, ensure_ascii=False).encode("utf-8", "backslashreplace"),
        )

    def clear(self) -> None:
        """Remove all of them, once they are in a report; what another audit is writing at this
        moment is let be."""
        dead = self._storage.leftovers(PARTS, SILENT_SECONDS)
        for name in (*self._names(), *dead):
            self._storage.remove(f"{PARTS}/{name}")

    def _names(self) -> list[str]:
        return [name for name in self._storage.list(PARTS) if name.endswith(SUFFIX)]

    def _name(self, one: Chosen) -> str:
        return f"{PARTS}/{key_of(one.entry.recording.id)}{SUFFIX}"

    def _of(self, one: Chosen) -> list[str | None]:
        return [self._fingerprint, one.entry.shard, self._shards.get(one.entry.shard)]


class PassingParts:
    """What `tokenize` found in passing, one file a shard. It stays, so that the same command need
    not read the sources."""

    def __init__(self, storage: Storage, form: ShardFormat, options: AuditOptions) -> None:
        self._storage, self._form, self._options = storage, form, options
        self._manifest = Manifest(storage)
        self._at: tuple[str, Mapping[str, Any]] = ("", {})

    def read(self, one: Chosen) -> RecordingAudit | None:
        """The result, if it is there, of exactly the codes that were committed, and asked for the
        same.

        Another worker may have committed the shard, and a later audit may have thrown the page's
        files away: then there is none, and the recording is audited from its source.
        """
        id = one.entry.recording.id
        try:
            values = self._of_shard(one.entry.shard)[id]
            found = RecordingAudit.from_json(values["result"])
            if values["codes"] != digest(read_row(self._manifest, self._form, one).codes):
                return None
        except (OSError, ValueError, KeyError, TypeError, ShardError):
            return None
        return found if not self._options.page or has_media(self._storage, found) else None

    def _of_shard(self, shard: str) -> Mapping[str, Any]:
        if self._at[0] != shard:
            values = json.loads(self._storage.read(part_name(shard)))
            self._at = (
                shard,
                values["recordings"] if values["of"] == self._options.fingerprint({}) else {},
            )
        return self._at[1]


def has_media(storage: Storage, found: RecordingAudit) -> bool:
    """Whether every file that the page plays and shows of a recording is there."""
    return all(storage.exists(f"{AUDIT}/{name}") for name in media(found.page))


def read_row(manifest: Manifest, form: ShardFormat, one: Chosen) -> Row:
    """The row of a recording.

    Raises:
        ShardError: its shard cannot be read, or does not hold it.
        FileNotFoundError: its shard is not there.
    """
    name = manifest.place_of(manifest.record(one.entry.shard), form)
    with manifest.storage.open(name) as file:
        row = form.read_one(file, f"{manifest.storage.root}/{name}", one.entry.recording.id)
    if row is None:
        raise ShardError(f"{name}: {one.entry.recording.id} is missing")
    return row
