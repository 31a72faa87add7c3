"""What a manifest says: configuration, plan and commit records of an output folder, read and
checked. `pipelines.output.manifest.commits` writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipelines.output.manifest.names import (
    COMMITS,
    CONFIG,
    PLAN,
    PRECISION,
    record_name,
    staged_plan_name,
)
from pipelines.output.manifest.records import CommitRecord
from pipelines.output.manifest.sealing import unseal
from pipelines.output.plan import Plan, shard_names
from pipelines.output.storage import Storage
from pipelines.output.stored_run import PlanFacts, StoredRun
from tokenizer.codecs.precision import PrecisionReport
from tokenizer.errors import ManifestError, OutputError, ShardError


class StoredManifest:
    """The manifest of one output folder, to read."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def read_config(self) -> StoredRun | None:
        """The stored configuration; None on a fresh folder.

        Raises:
            OutputError: a folder that holds something else.
            ManifestError: it is damaged.
        """
        try:
            return StoredRun.from_json(self._unsealed(CONFIG))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise OutputError(f"{self.storage.root}/{CONFIG} cannot be read: {error}") from error

    def require_config(self) -> StoredRun:
        """The stored configuration.

        Raises:
            OutputError: there is none: not an output of `tokenize`.
        """
        stored = self.read_config()
        if stored is None:
            raise OutputError(
                f"{self.storage.root} is not an output of `codecshards tokenize`: it has no "
                f"{CONFIG}"
            )
        return stored

    def require(self, wanted: str) -> None:
        """See that the folder is still that of this run.

        Args:
            wanted: fingerprint of the configuration and plan that the run began with.

        Raises:
            OutputError: it was deleted, or another run has begun there since.
        """
        stored = self.read_config()
        if stored is None:
            raise OutputError(
                f"{self.storage.root} was deleted or emptied during the run: run the same command "
                "again"
            )
        if stored.fingerprint != wanted:
            raise OutputError(
                f"{self.storage.root} was replaced by another run's during this one: choose "
                "another OUT"
            )

    def read_plan(self) -> Plan:
        """The stored plan, the one that the configuration names. Local files are read in place,
        others once, to a temporary file.

        Raises:
            OutputError: there is none, or it cannot be read.
            ManifestError: it is damaged.
        """
        facts = self.plan_facts()
        seen = False
        # It may be moved to its place between two looks.
        for name in (PLAN, staged_plan_name(facts.sha256), PLAN):
            try:
                with self.storage.fetch(name) as path:
                    plan = Plan.from_path(path, facts.sha256)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise OutputError(f"{self.storage.root}/{name} cannot be read: {error}") from error
            if plan is not None:
                return plan
            seen = True
        place = f"{self.storage.root}/{PLAN}"
        if seen:
            raise ManifestError(
                f"{place}: damaged: not the plan that was written (SHA-256): restore it, or choose "
                "another OUT"
            )
        raise ManifestError(f"{place} is missing: restore it, or choose another OUT")

    def plan_facts(self) -> PlanFacts:
        """What the configuration says of the plan.

        Raises:
            OutputError: not an output of `tokenize`.
            ManifestError: the configuration says nothing of it.
        """
        facts = self.require_config().plan
        if facts is None:
            raise ManifestError(f"{self.storage.root}/{CONFIG}: names no plan: choose another OUT")
        return facts

    def read_precision(self) -> PrecisionReport | None:
        """What was found out about "fast" codes; None when nothing was.

        Raises:
            OutputError: it is damaged.
        """
        if not self.storage.exists(PRECISION):
            return None
        try:
            return PrecisionReport.from_json(unseal(self.storage.read(PRECISION)))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ManifestError(
                f"{self.storage.root}/{PRECISION} cannot be read: remove it ({error})"
            ) from error

    def planned_names(self) -> list[str]:
        """Names of the shards that were planned, in order; none before a run has begun."""
        stored = self.read_config()
        if stored is None or stored.plan is None:
            return []
        return shard_names(stored.plan.named_splits)

    def committed_names(self) -> list[str]:
        """Names of the planned shards that have a commit record, in order."""
        there = set(self.storage.list(COMMITS))
        return [name for name in self.planned_names() if f"{name}.json" in there]

    def committed(self) -> dict[str, CommitRecord]:
        """The commit record of every planned shard that has one, by shard, in order.

        Raises:
            ShardError: one is damaged.
        """
        return {record.shard: record for record in self.records()}

    def records(self) -> Iterator[CommitRecord]:
        """The same records, one at a time."""
        return map(self.record, self.committed_names())

    def is_committed(self, shard: str) -> bool:
        """Whether there is a record, of whatever content."""
        return self.storage.exists(record_name(shard))

    def record(self, shard: str) -> CommitRecord:
        """One commit record.

        Raises:
            FileNotFoundError: the shard is not committed.
            ShardError: the record is damaged, or another shard's.
        """
        return self._parsed(shard, self.storage.read(record_name(shard)))

    def _fingerprint(self) -> str | None:
        stored = self.read_config()
        return None if stored is None else stored.fingerprint

    def _parsed(self, shard: str, content: bytes) -> CommitRecord:
        name = f"{self.storage.root}/{record_name(shard)}"
        record = CommitRecord.from_json(content, name)
        if record.shard != shard:
            raise ShardError(
                f"{name}: not a commit record of this shard: it is that of {record.shard}"
            )
        return record

    def _unsealed(self, name: str) -> dict[str, Any]:
        try:
            return unseal(self.storage.read(name))
        except ValueError as error:
            raise ManifestError(
                f"{self.storage.root}/{name}: damaged, or of a version without checksums "
                f"({error}): restore it, or choose "
                "another OUT; a copy of data/ alone can be loaded"
            ) from error
