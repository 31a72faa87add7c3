"""What was committed, and how a shard gets there.

    1  the shard is written to a name of its own in `manifest/staging/` and made durable
    2  its commit record, which holds that name and a hash, is created at
       `manifest/commits/SHARD.json`: first writer wins
    3  the winner moves the staged file to `data/SHARD.SUFFIX`; a loser throws its own away

The record is the commit. What is staged without a record never was; a record whose file is still
staged is rolled forward by whoever comes next, over whatever lies under the final name. So a file
under its final name is the file that its record describes, however many processes raced and
whichever of them were killed.

Several runs may be at work on one folder. The name of a staged file says which run it is of, and it
is removed by that run as it ends, or by another one once it is certain that the run is over
(`pipelines.output.manifest.leases`). The workers of a killed run outlive it by a second or two, and
what one of them has staged may go just before it commits. Its record then describes nothing; the
worker, or the next `recover`, withdraws it: removes the record if it is still that very one, so
that no newer one can go. A record that is damaged, or of another configuration or plan, is
withdrawn as well, and its shard done again. A shard with recordings that were unavailable is done
again too, once a run; its record gives way to the new one only if that is better (`supersede`).

    OUT/manifest/config.json      what was asked for, and the plan's hash; written once: first
                                  writer wins
    OUT/manifest/plan.parquet     which shard holds which recordings; staged before config.json is
                                  created, under a name that tells its hash, and moved here
                                  afterwards, by whoever comes first
    OUT/manifest/generations/     what was planned later, and the plans of that
    OUT/manifest/plans/           (`pipelines.output.manifest.generations`)
    OUT/manifest/commits/*.json   one record a shard; those that bear the names of the plan's
                                  shards, and no others, count
    OUT/manifest/edits/           what was changed later (`pipelines.output.manifest.edits`)
    OUT/manifest/runs/*.json      one for each run that is at work
    OUT/manifest/precision.json   with --precision fast: how a sample of the codes compares with
                                  exact ones

Every JSON file ends with its own checksum (`tokenizer.sealing`), and config.json
has that of the plan. Every reader compares them. A folder from before there were checksums is
refused in one line.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from pipelines.output.formats import ShardFormat
from pipelines.output.manifest.edits import EDITS, carry_out, history
from pipelines.output.manifest.generations import following
from pipelines.output.manifest.leases import half_written, is_over, remove_dead
from pipelines.output.manifest.names import (
    COMMITS,
    CONFIG,
    DATA,
    PRECISION,
    STAGED_PLAN,
    STAGING,
    data_name,
    generation_name,
    hash_stored,
    record_name,
    run_of,
    staged_generation_name,
    staged_plan_name,
)
from pipelines.output.manifest.reading import StoredManifest
from pipelines.output.manifest.records import (
    CommitRecord,
    Failure,
    Totals,
    pack_counts,
    unpack_counts,
)
from pipelines.output.plan import Plan
from pipelines.output.stored_run import PlanFacts, StoredRun
from tokenizer.codecs.precision import PrecisionReport
from tokenizer.errors import ManifestError, OutputError, ShardError
from tokenizer.sealing import seal

__all__ = ["CommitRecord", "Failure", "Manifest", "pack_counts", "unpack_counts"]


@dataclass(slots=True)
class Settled:
    """What is committed, once all that was cut short is finished."""

    names: list[str]
    """of the shards that were planned"""
    committed: set[str] = field(default_factory=set)
    totals: Totals = field(default_factory=Totals)
    withdrawn: list[str] = field(default_factory=list)
    """shards whose records were withdrawn, and why, for a person to read"""

    @property
    def missing(self) -> list[str]:
        """Shards that are not committed, in order."""
        return [name for name in self.names if name not in self.committed]


class Manifest(StoredManifest):
    """The manifest of one output folder, to read and to write."""

    def write_precision(self, report: PrecisionReport) -> None:
        """Write it down, over what there was."""
        self.storage.write(PRECISION, seal(report.to_json()))

    def begin(self, run: StoredRun, plan: Plan) -> bool:
        """Store plan and configuration on a fresh folder, both or neither; False when another run
        has just done so."""
        holds = self.storage.list(DATA)  # before the other look: another run may commit at once
        if self.storage.exists(CONFIG):
            return False
        if holds:
            raise OutputError(
                f"{self.storage.root}/{DATA} holds files that no manifest knows: choose another OUT"
            )
        run = replace(run, plan=_facts(plan))
        with self.storage.stage(staged_plan_name(plan.sha256)) as path:
            plan.save(path)
        won = self.storage.create(CONFIG, seal(run.to_json(), sort_keys=True))
        self._place_plans()
        return won

    def begin_generation(
        self, kind: str, plan: Plan, number: int, run: str, retried: int = 0
    ) -> bool:
        """Store the plan of what is done next; False when another run has begun a generation since
        this one was planned, whose shards come first.

        Args:
            kind: `APPEND` or `RETRY`.
            plan: of its recordings, made against the generations before.
            number: of them, and so its own.
            run: whose staged file the plan is: it holds a lease.
            retried: how many recordings of earlier plans it is to give the verdict of.
        """
        stored, before = self.require_config(), self.require_generations()
        if len(before) != number:
            return False
        generation = following(before[-1], kind, _facts(plan), stored)
        staged = staged_generation_name(generation.number, run)
        with self.storage.stage(staged) as path:
            plan.save(path)
        generation = replace(generation, staged=staged, retried=retried)
        begins = generation.to_json(stored.fingerprint)
        if not self.storage.create(generation_name(generation.number), begins):
            self.storage.remove(staged)
            return False
        self.storage.move(staged, generation.place)
        return True

    def _place_plans(self) -> None:
        """Give the plans of all generations their places. Of first plans others were staged by runs
        that came too late; the others belong to runs, and go with them (`tidy`)."""
        generations = self.require_generations()
        staged = self.storage.list(STAGING)
        for one in generations:
            if one.waiting.rsplit("/", 1)[-1] in staged:
                self.storage.move(one.waiting, one.place)
        for name in staged:
            if STAGED_PLAN.fullmatch(name):
                self.storage.remove(f"{STAGING}/{name}")

    def publish(self, record: CommitRecord, form: ShardFormat) -> bool:
        """Commit a shard that is staged; False when it was not this process that did (or nobody:
        see `recover`)."""
        won = self.storage.create(record_name(record.shard), record.to_json())
        if won:
            return self._roll_forward(record, form)
        if record.staged is not None:
            self.storage.remove(record.staged)
        return False

    def supersede(self, record: CommitRecord, form: ShardFormat) -> bool:
        """Commit a shard that was done again in place of its old record, if recordings that failed
        then have become rows now, or are filtered, and no row has gone; False when the old one
        stays.

        A process that is killed on its way leaves the old record, or none, or the new one: with
        none the shard is done once more.
        """
        try:
            content = self.storage.read(record_name(record.shard))
        except FileNotFoundError:  # another run has withdrawn it
            return self.publish(record, form)
        before = self._parsed(record.shard, content)
        # What a retry has planned since is its own to do: it would be there twice.
        if record.betters(before) and not self._is_retried(before):
            self.storage.remove_if(record_name(record.shard), content)
            return self.publish(record, form)
        if record.staged is not None:
            self.storage.remove(record.staged)
        return False

    def recover(self, form: ShardFormat) -> list[str]:
        """As `settle`; what was withdrawn."""
        return self.settle(form).withdrawn

    def settle(self, form: ShardFormat) -> Settled:
        """Finish commits that were cut short, withdraw those that are worth nothing, and throw away
        what dead runs staged. Every record is read once."""
        if self.storage.exists(CONFIG):
            self._place_plans()
        self.carry_out_edit(form)
        staged = set(self.storage.list(STAGING))
        lying = self.storage.find(DATA)
        generations = self.generations()
        found = Settled(names=[name for one in generations for name in one.names])
        void = self._void(generations)
        of = {name: one for one in generations for name in one.names}
        there = set(self.storage.list(COMMITS))
        names = [name for name in found.names if f"{name}.json" in there]
        for name, content in zip(
            names, self.storage.read_all(map(record_name, names)), strict=True
        ):
            if content is None:  # another run has just withdrawn it
                continue
            record = self._settle(name, content, of[name].fingerprint, form, staged, lying)
            if isinstance(record, str):
                self._refuse_to_lose_edits(name, record)
                self.storage.remove_if(record_name(name), content)
                found.withdrawn.append(f"{name}: {record}; it is done again")
            else:
                found.committed.add(name)
                found.totals.add(record.without(void[of[name].number]))
        self.tidy()
        return found

    def carry_out_edit(self, form: ShardFormat) -> None:
        """Finish an edit that was committed and cut short.

        Raises:
            ManifestError: it is damaged, or a file that it staged has gone.
        """
        while (edit := self.pending_edit(now=True)) is not None:
            carry_out(self.storage, edit, lambda record: self._in_place(record, form))

    def _refuse_to_lose_edits(self, shard: str, reason: str) -> None:
        """
        Raises:
            ManifestError: the shard was edited: done again, what was dropped would be back.
        """
        for edit in history(self.storage):
            if shard in edit.get("shards", ()):
                raise ManifestError(
                    f"{self.storage.root}: {shard}: {reason}, and edit {edit['number']} changed "
                    f"it: restore it, or remove {EDITS} to have it without any edit"
                )

    def tidy(self, run: str | None = None) -> None:
        """Remove what belongs to runs that are over, or to `run`, and to no record: staged files,
        the parts of those that a killed process did not upload to their end, and the runs'
        leases."""
        over: dict[str, bool] = {} if run is None else {run: True}

        def left(name: str) -> bool:
            of = run_of(name)
            if of is not None and of not in over:
                over[of] = is_over(self.storage, of)
            return of is not None and over[of] and not self._is_recorded(name)

        for name in filter(left, self.storage.list(STAGING)):
            self.storage.remove(f"{STAGING}/{name}")
        for name, upload in self.storage.uploads(STAGING):
            if left(name):
                self.storage.abort(f"{STAGING}/{name}", upload)
        for name in half_written(self.storage):
            self.storage.remove(name)
        remove_dead(self.storage)

    def _settle(
        self,
        shard: str,
        content: bytes,
        wanted: str,
        form: ShardFormat,
        staged: Collection[str],
        lying: Mapping[str, int],
    ) -> CommitRecord | str:
        """See that a committed file has its final name; otherwise why the record is worth
        nothing."""
        try:
            record = self._parsed(shard, content)
        except ShardError:
            return "its commit record was damaged"
        if record.fingerprint != wanted:
            return "its commit record was that of another configuration or plan"
        # A file of the right size is the right one where nothing is staged: `verify` looks closer.
        waits = record.staged is not None and record.staged.rsplit("/", 1)[-1] in staged
        size = lying.get(form.file_name(shard))
        if not waits and size == (None if record.sha256 is None else record.bytes):
            return record
        return record if self._in_place(record, form) else "its file was gone or cut"

    def _roll_forward(self, record: CommitRecord, form: ShardFormat) -> bool:
        """See that a committed file has its final name; without the file, withdraw the record."""
        if self._in_place(record, form):
            return True
        self.storage.remove_if(record_name(record.shard), record.to_json())
        return False

    def _in_place(self, record: CommitRecord, form: ShardFormat) -> bool:
        """Give a committed file its final name; whether the file that lies there now is the one
        that was committed."""
        final = data_name(record.shard, form)
        if record.sha256 is None:
            self.storage.remove(final)  # of an earlier commit
            return True
        if record.staged is not None and self.storage.move(record.staged, final):
            return True
        # Moved already, or thrown away: what lies there may be of an earlier commit.
        try:
            return (
                self.storage.size(final) == record.bytes
                and hash_stored(self.storage, final) == record.sha256
            )
        except FileNotFoundError:
            return False

    def _is_retried(self, record: CommitRecord) -> bool:
        """Whether a later generation gives the verdict of a recording that failed there."""
        generations = self.require_generations()
        void = self._void(generations)
        return any(
            failure.id in void[one.number]
            for one in generations
            if record.fingerprint == one.fingerprint
            for failure in record.failures
        )

    def _is_recorded(self, name: str) -> bool:
        """Whether a staged file has been committed since it was listed, or is a generation's
        plan."""
        if name.startswith("generation-"):
            return any(one.staged == f"{STAGING}/{name}" for one in self.generations())
        try:
            return self.record(name.split(".", 1)[0]).staged == f"{STAGING}/{name}"
        except (FileNotFoundError, ShardError):
            return False


def _facts(plan: Plan) -> PlanFacts:
    return PlanFacts(plan.sha256, plan.split, len(plan.shards), plan.count, plan.splits)
