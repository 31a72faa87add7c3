"""What a manifest says: configuration, plan and commit records of an output folder, read and
checked. `pipelines.output.manifest.commits` writes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from pipelines.output.formats import ShardFormat
from pipelines.output.manifest.edits import Edit, pending
from pipelines.output.manifest.generations import (
    RETRY,
    Generation,
    first_of,
    listed,
    parsed,
    retried_ids,
)
from pipelines.output.manifest.names import (
    COMMITS,
    CONFIG,
    DATA,
    GENERATIONS,
    PRECISION,
    data_name,
    generation_name,
    record_name,
)
from pipelines.output.manifest.records import CommitRecord
from pipelines.output.plan import Plan
from pipelines.output.plans.together import Part, Plans
from pipelines.output.storage import Storage
from pipelines.output.stored_run import PlanFacts, StoredRun
from tokenizer.codecs.precision import PrecisionReport
from tokenizer.errors import ManifestError, OutputError, ShardError, UsageError
from tokenizer.sealing import unseal

LOOK_SECONDS = 1.0
"""for which it is taken as known whether an edit is being carried out"""


class StoredManifest:
    """The manifest of one output folder, to read."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._config: tuple[bytes, StoredRun] | None = None
        self._known: dict[tuple[str, str], Generation] = {}
        self._retried: dict[str, frozenset[str]] = {}
        self._edit: Edit | None = None
        self._looked = -LOOK_SECONDS

    def pending_edit(self, now: bool = False) -> Edit | None:
        """The edit that is committed and not carried out; `now` looks even if that was done a
        moment ago.

        Raises:
            ManifestError: its file is damaged.
        """
        if now or time.monotonic() - self._looked >= LOOK_SECONDS:
            self._edit = pending(self.storage, self._edit)
            self._looked = time.monotonic()
        return self._edit

    def place_of(self, record: CommitRecord, form: ShardFormat) -> str:
        """Where a committed shard's file lies now: under its final name, or, while an edit is
        carried out, still where that has staged it."""
        edit = self.pending_edit()
        waits = edit is not None and record.shard in edit.records and record.staged is not None
        if waits and self.storage.exists(record.staged or ""):
            return record.staged or ""
        return data_name(record.shard, form)

    def read_config(self) -> StoredRun | None:
        """The stored configuration; None on a fresh folder.

        Raises:
            OutputError: a folder that holds something else.
            ManifestError: it is damaged.
        """
        try:
            content = self.storage.read(CONFIG)
            if self._config is None or self._config[0] != content:
                self._config = content, StoredRun.from_json(self._unsealed(CONFIG, content))
            return self._config[1]
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise OutputError(f"{self.storage.root}/{CONFIG} cannot be read: {error}") from error
        except ManifestError:
            raise
        except UsageError as error:  # its checksum is right
            raise ManifestError(
                f"{self.storage.root}/{CONFIG}: of another version of codecshards ({error}): use "
                "that one here, or choose another OUT"
            ) from error

    def require_config(self) -> StoredRun:
        """The stored configuration.

        Raises:
            OutputError: there is none: not an output of `tokenize`.
        """
        stored = self.read_config()
        if stored is None:
            hint = (
                "; for shards alone `codecshards adopt` makes one"
                if self.storage.list(DATA)
                else ""
            )
            raise OutputError(
                f"{self.storage.root} is not an output of `codecshards tokenize`: it has no "
                f"{CONFIG}{hint}"
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
        """The first run's plan, the one that the configuration names. Local files are read in
        place, others once, to a temporary file.

        Raises:
            OutputError: there is none, or it cannot be read.
            ManifestError: it is damaged.
        """
        return self.plan_of(self.require_generations()[0])

    def read_plans(self) -> Plans:
        """The plans of all generations.

        Raises:
            OutputError, ManifestError: as for `read_plan`.
        """
        generations = self.require_generations()
        plans = [self.plan_of(one) for one in generations]
        void = self._void(generations)
        return Plans(
            [
                Part(plan, one.fingerprint, void[one.number])
                for one, plan in zip(generations, plans, strict=True)
            ]
        )

    def plan_of(self, generation: Generation) -> Plan:
        """A generation's plan.

        Raises:
            OutputError: there is none, or it cannot be read.
            ManifestError: it is damaged.
        """
        facts, seen = generation.plan, False
        # It may be moved to its place between two looks.
        for name in (generation.place, generation.waiting, generation.place):
            try:
                with self.storage.fetch(name) as path:
                    plan = Plan.from_path(path, facts.sha256, generation.before)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise OutputError(f"{self.storage.root}/{name} cannot be read: {error}") from error
            if plan is not None:
                return plan
            seen = True
        place = f"{self.storage.root}/{generation.place}"
        if seen:
            raise ManifestError(
                f"{place}: damaged: not the plan that was written (SHA-256): restore it, or choose "
                "another OUT"
            )
        raise ManifestError(f"{place} is missing: restore it, or choose another OUT")

    def require_generations(self) -> tuple[Generation, ...]:
        """As `generations`, of a folder that a run has begun on.

        Raises:
            OutputError: not an output of `tokenize`.
            ManifestError: its configuration or a generation's file is damaged.
        """
        self.plan_facts()
        return self.generations()

    def generations(self) -> tuple[Generation, ...]:
        """What was planned, in order; nothing before a run has begun.

        Raises:
            ManifestError: a file is damaged, missing among others, or another folder's.
        """
        stored = self.read_config()
        if stored is None or stored.plan is None:
            return ()
        found = [first_of(stored)]
        for name in listed(self.storage.list(GENERATIONS)):
            place = f"{GENERATIONS}/{name}"
            if place != generation_name(len(found)):
                missing = generation_name(len(found))
                raise ManifestError(
                    f"{self.storage.root}/{missing} is missing, and {name} is there: restore it, "
                    "or choose another OUT"
                )
            found.append(self._generation(place, found[-1], stored))
        return tuple(found)

    def _generation(self, place: str, before: Generation, stored: StoredRun) -> Generation:
        # What one holds never changes; which folder it is of may, where OUT was written anew.
        key = (place, stored.fingerprint)
        if key not in self._known:
            try:
                self._known[key] = parsed(self._unsealed(place), before, stored)
            except ValueError as error:
                raise ManifestError(
                    f"{self.storage.root}/{place}: not a generation of this folder ({error}): "
                    "restore it, or choose another OUT"
                ) from error
        return self._known[key]

    def _void(self, generations: Sequence[Generation]) -> list[frozenset[str]]:
        """For each generation the ids of which a later one gives the verdict."""
        void: list[frozenset[str]] = [frozenset()]
        for one in reversed(generations[1:]):
            again: frozenset[str] = frozenset()
            if one.kind == RETRY:
                if one.fingerprint not in self._retried:
                    self._retried[one.fingerprint] = retried_ids(self.plan_of(one))
                again = self._retried[one.fingerprint]
            void.append(void[-1] | again)
        return void[::-1]

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
        return [name for one in self.generations() for name in one.names]

    def committed_names(self) -> list[str]:
        """Names of the planned shards that have a commit record, in order."""
        there = self._there()
        return [name for name in self.planned_names() if f"{name}.json" in there]

    def committed(self) -> dict[str, CommitRecord]:
        """What `records` gives, by shard, in order.

        Raises:
            ShardError: one is damaged.
        """
        return {record.shard: record for record in self.records()}

    def records(self) -> Iterator[CommitRecord]:
        """The commit record of every planned shard that has one, in order, one at a time, as an
        edit has it that was cut short. Failures of recordings that were planned again since are
        not among them: the last verdict counts.

        Raises:
            ShardError: one is damaged.
        """
        generations = self.generations()
        there = self._there()
        void = self._void(generations)
        of = {name: one.number for one in generations for name in one.names}
        names = [name for name in of if f"{name}.json" in there]
        edit = self.pending_edit()
        edited = {} if edit is None else edit.records
        for name, written in self.records_of(names):
            record = edited.get(name, written)
            if isinstance(record, ShardError):
                raise record
            if record is not None:
                yield record.without(void[of[name]])

    def records_of(
        self, names: Sequence[str]
    ) -> Iterator[tuple[str, CommitRecord | ShardError | None]]:
        """The commit records of some shards, as they were written; None where there is none, and
        what is wrong with one."""
        contents = self.storage.read_all(map(record_name, names))
        for name, content in zip(names, contents, strict=True):
            try:
                yield name, None if content is None else self._parsed(name, content)
            except ShardError as error:
                yield name, error

    def _there(self) -> set[str]:
        """Files of the commit records that there are, also of one that an edit is just
        replacing."""
        edit = self.pending_edit()
        replaced = () if edit is None else edit.records
        return {*self.storage.list(COMMITS), *(f"{name}.json" for name in replaced)}

    def fingerprints(self) -> dict[str, str]:
        """What each planned shard's commit record is to bear, by shard."""
        return {name: one.fingerprint for one in self.generations() for name in one.names}

    def is_committed(self, shard: str) -> bool:
        """Whether there is a record, of whatever content."""
        return self.storage.exists(record_name(shard))

    def record(self, shard: str) -> CommitRecord:
        """One commit record, as it was written, or as an edit has it that is being carried out.

        Raises:
            FileNotFoundError: the shard is not committed.
            ShardError: the record is damaged, or another shard's.
        """
        edit = self.pending_edit()
        if edit is not None and shard in edit.records:
            return edit.records[shard]
        return self._parsed(shard, self.storage.read(record_name(shard)))

    def _parsed(self, shard: str, content: bytes) -> CommitRecord:
        name = f"{self.storage.root}/{record_name(shard)}"
        record = CommitRecord.from_json(content, name)
        if record.shard != shard:
            raise ShardError(
                f"{name}: not a commit record of this shard: it is that of {record.shard}"
            )
        return record

    def _unsealed(self, name: str, content: bytes | None = None) -> dict[str, Any]:
        try:
            return unseal(self.storage.read(name) if content is None else content)
        except ValueError as error:
            raise ManifestError(
                f"{self.storage.root}/{name}: damaged, or of a version without checksums "
                f"({error}): restore it, or choose "
                "another OUT; a copy of data/ alone can be loaded"
            ) from error
