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
    OUT/manifest/commits/*.json   one record a shard; those that bear the names of the plan's
                                  shards, and no others, count
    OUT/manifest/runs/*.json      one for each run that is at work
    OUT/manifest/precision.json   with --precision fast: how a sample of the codes compares with
                                  exact ones

Every JSON file ends with its own checksum (`pipelines.output.manifest.sealing`), and config.json
has that of the plan. Every reader compares them. A folder from before there were checksums is
refused in one line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pipelines.output.formats import ShardFormat
from pipelines.output.manifest.leases import half_written, is_over, remove_dead
from pipelines.output.manifest.names import (
    CONFIG,
    DATA,
    PLAN,
    PRECISION,
    STAGED_PLAN,
    STAGING,
    data_name,
    hash_stored,
    record_name,
    run_of,
    staged_plan_name,
)
from pipelines.output.manifest.reading import StoredManifest
from pipelines.output.manifest.records import CommitRecord, Failure, pack_counts, unpack_counts
from pipelines.output.manifest.sealing import seal
from pipelines.output.plan import Plan
from pipelines.output.stored_run import PlanFacts, StoredRun
from tokenizer.codecs.precision import PrecisionReport
from tokenizer.errors import OutputError, ShardError

__all__ = ["CommitRecord", "Failure", "Manifest", "pack_counts", "unpack_counts"]


class Manifest(StoredManifest):
    """The manifest of one output folder, to read and to write."""

    def write_precision(self, report: PrecisionReport) -> None:
        """Write it down, over what there was."""
        self.storage.write(PRECISION, seal(report.to_json()))

    def begin(self, run: StoredRun, plan: Plan) -> bool:
        """Store plan and configuration on a fresh folder, both or neither; False when another run
        has just done so."""
        if self.storage.exists(CONFIG):
            return False
        if self.storage.list(DATA):
            raise OutputError(
                f"{self.storage.root}/{DATA} holds files that no manifest knows: choose another OUT"
            )
        facts = PlanFacts(plan.sha256, plan.split, len(plan.shards), plan.count, plan.splits)
        run = replace(run, plan=facts)
        with self.storage.stage(staged_plan_name(plan.sha256)) as path:
            plan.save(path)
        won = self.storage.create(CONFIG, seal(run.to_json(), sort_keys=True))
        self._place_plan()
        return won

    def _place_plan(self) -> None:
        """Give the plan that the configuration names its place; others were staged by runs that
        came too late."""
        digest = self.plan_facts().sha256
        self.storage.move(staged_plan_name(digest), PLAN)
        for name in self.storage.list(STAGING):
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
        if record.betters(before):
            self.storage.remove_if(record_name(record.shard), content)
            return self.publish(record, form)
        if record.staged is not None:
            self.storage.remove(record.staged)
        return False

    def recover(self, form: ShardFormat) -> list[str]:
        """Finish commits that were cut short, withdraw those that are worth nothing, and throw away
        what dead runs staged.

        Returns:
            Shards whose records were withdrawn, and why, for a person to read.
        """
        if self.storage.exists(CONFIG):
            self._place_plan()
        staged = self.storage.list(STAGING)
        lying = self.storage.find(DATA)
        wanted = self._fingerprint()
        withdrawn = []
        for name in self.committed_names():
            try:
                content = self.storage.read(record_name(name))
            except FileNotFoundError:  # another run has just withdrawn it
                continue
            reason = self._settle(name, content, wanted, form, set(staged), lying)
            if reason is not None:
                self.storage.remove_if(record_name(name), content)
                withdrawn.append(f"{name}: {reason}; it is done again")
        self.tidy()
        return withdrawn

    def tidy(self, run: str | None = None) -> None:
        """Remove what belongs to runs that are over, or to `run`, and to no record: staged files,
        and the runs' leases."""
        over: dict[str, bool] = {} if run is None else {run: True}
        for name in self.storage.list(STAGING):
            of = run_of(name)
            if of is None:
                continue
            if of not in over:
                over[of] = is_over(self.storage, of)
            if over[of] and not self._is_recorded(name):
                self.storage.remove(f"{STAGING}/{name}")
        for name in half_written(self.storage):
            self.storage.remove(name)
        remove_dead(self.storage)

    def _settle(
        self,
        shard: str,
        content: bytes,
        wanted: str | None,
        form: ShardFormat,
        staged: set[str],
        lying: Mapping[str, int],
    ) -> str | None:
        """See that a committed file has its final name; otherwise why the record is worth
        nothing."""
        try:
            record = self._parsed(shard, content)
        except ShardError:
            return "its commit record was damaged"
        if wanted is not None and record.fingerprint != wanted:
            return "its commit record was that of another configuration or plan"
        # A file of the right size is the right one where nothing is staged: `verify` looks closer.
        waits = record.staged is not None and record.staged.rsplit("/", 1)[-1] in staged
        size = lying.get(form.file_name(shard))
        if not waits and size == (None if record.sha256 is None else record.bytes):
            return None
        return None if self._in_place(record, form) else "its file was gone or cut"

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

    def _is_recorded(self, name: str) -> bool:
        """Whether a staged file has been committed since it was listed."""
        try:
            return self.record(name.split(".", 1)[0]).staged == f"{STAGING}/{name}"
        except (FileNotFoundError, ShardError):
            return False
