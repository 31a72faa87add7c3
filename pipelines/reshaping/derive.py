"""A new output folder from others, under the same protocol as a run of `tokenize`: whenever it is
killed, the same command goes on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipelines.output.card import write_card
from pipelines.output.config import TokenizeConfig
from pipelines.output.formats import ShardFormat, shard_format
from pipelines.output.formats.schema import Row, make_footer, recording_of
from pipelines.output.manifest.commits import CommitRecord, Failure, Manifest, pack_counts
from pipelines.output.manifest.leases import Lease, new_run
from pipelines.output.manifest.names import CONFIG, hash_file, staged_name
from pipelines.output.manifest.records import Totals
from pipelines.output.plan import Plan, write_plan
from pipelines.output.storage import open_storage
from pipelines.output.stored_run import StoredRun
from pipelines.reshaping.clock import Clock
from pipelines.reshaping.copying import (
    Copier,
    Found,
    Rename,
    Sums,
    Wanted,
    in_order,
    losses,
    shuffled,
)
from pipelines.reshaping.moves import Move, Moves, NothingLeftError, Origins, order_key
from pipelines.reshaping.parents import Item, Parent
from pipelines.reshaping.sizes import ShardSize, place
from pipelines.system.words import format_hours, many
from pipelines.tokenizing.progress import Display
from tokenizer.codecs.base import CodecSpec
from tokenizer.errors import CodecshardsError, OutputError
from tokenizer.types import Recording

Selected = Iterator[tuple[int, Item]]
"""items that go into the new folder, each with the number of its split"""
Select = Callable[[int, int, Iterator[Item]], Selected]
"""of a parent's number, the number of its shard's split, and what is in the shard"""


@dataclass(frozen=True, slots=True)
class Derived:
    """A folder that was made from others."""

    out: str
    shards: int
    recordings: int
    """rows"""
    seconds: float
    failures: int
    """recordings without a row, carried from the parents"""
    splits: Mapping[str, int]
    """shards of each split"""
    lost: int = 0
    """recordings whose rows were damaged, and are failures now"""
    partial: int = 0
    """recordings that lack some of their codes, as `meta` says"""


def _as_it_is(parent: int, row: Row, recording: Recording) -> Row:
    del parent, recording
    return row


def _all(parent: int, split: int, items: Iterator[Item]) -> Selected:
    del parent
    return ((split, item) for item in items)


def _same(parent: int, recording: Recording) -> Recording:
    del parent
    return recording


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is to be made."""

    command: str
    arguments: Mapping[str, Any]
    """everything that decides the rows and their order, for the new folder's configuration"""
    parents: Sequence[Parent]
    new: str
    config: TokenizeConfig
    spec: CodecSpec
    size: ShardSize
    select: Select = _all
    splits: Sequence[str] = ()
    """names of those to be; none are the parents'"""
    seed: int | None = None
    """of the order; None keeps the parents'"""
    as_planned: Callable[[int, Recording], Recording] = _same
    """a parent's recording as the new plan has it"""
    rename: Rename = _as_it_is
    form: ShardFormat | None = None
    """what shards are written with; None is the configuration's format, as a parent of that format
    has it"""
    was: Mapping[str, Any] = field(default_factory=dict)
    """what is written down of the parents beside this, for the way back"""
    unique: Callable[[Sequence[str]], CodecshardsError] | None = None
    """what to say of ids that come twice; None where they cannot"""

    def derived(self) -> dict[str, Any]:
        """What the configuration of the new folder says of it."""
        return {
            "command": self.command,
            "arguments": dict(self.arguments),
            **({"was": dict(self.was)} if self.was else {}),
            "parents": [
                {
                    "path": one.root,
                    "fingerprint": one.stored.fingerprint,
                    "generations": len(one.manifest.generations()),
                    "state": one.state,
                }
                for one in self.parents
            ],
        }


def derive(task: Task, display: Display) -> Derived:
    """Make a folder, or finish what was begun.

    Raises:
        OutputError: it holds something else, cannot be written, or a parent has changed since it
            was begun.
        UsageError: nothing would be in it.
        ShardError: a parent is damaged.
    """
    with ExitStack() as stack:
        work = _Derivation(task, display, stack)
        run = new_run()
        stack.callback(work.tidy, run)
        stack.enter_context(Lease(work.storage, run, while_there=CONFIG))
        return work.do(run)


class _Derivation:
    def __init__(self, task: Task, display: Display, stack: ExitStack) -> None:
        self._task, self._display = task, display
        self._clock, self._copied = Clock(display), 0
        self.storage = open_storage(task.new)
        self._manifest = Manifest(self.storage)
        first = task.parents[0]
        same = task.config.format == first.stored.config.format
        self._form = task.form or (first.form_like() if same else shard_format(task.config.format))
        self._origins = Origins(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="codecshards-origins-"))
        )
        self._names = list(task.splits) or splits_of(task.parents)
        self._stored, self._plan = self._begin()

    def tidy(self, run: str) -> None:
        """Remove what this run has staged and not committed."""
        with suppress(CodecshardsError, OSError):  # what ended the run is told, not this
            self._manifest.tidy(run)

    def do(self, run: str) -> Derived:
        """Write every shard that is not there yet."""
        for line in self._manifest.recover(self._form):
            self._display.message(line)
        there = set(self._manifest.committed_names())
        shards = [shard for shard in self._plan.shards if shard.name not in there]
        if not shards:
            self._display.message(f"{self._task.new}: every shard is there, nothing to do")
        elif there:
            self._display.message(
                f"resuming: {len(there)} of {len(self._plan.shards)} shards are there"
            )
        self._write([Wanted(shard, self._origins) for shard in shards], run)
        return self._finish()

    def _begin(self) -> tuple[StoredRun, Plan]:
        """What is stored, now or by an earlier run, and its plan."""
        task = self._task
        wanted = StoredRun(task.config, task.spec, version("codecshards"), derived=task.derived())
        stored = self._manifest.read_config()
        if stored is not None:
            _require_same(task.new, stored, wanted)
        plan = self._make_plan()
        if stored is None:
            self._manifest.begin(wanted, plan)
            stored = self._manifest.require_config()
            _require_same(task.new, stored, wanted)
        kept = self._manifest.read_plan()
        if kept.sha256 != plan.sha256 and not _same_rows(kept, plan):
            raise OutputError(
                f"{task.new} was begun from other rows than those that are there now: choose "
                "another folder"
            )
        return stored, kept

    def _make_plan(self) -> Plan:
        task = self._task
        names = self._names
        with Moves() as moves:
            self._collect(moves)
            if task.unique is not None and (twice := moves.twice(3)):
                raise task.unique(twice)
            if not moves.rows:
                raise NothingLeftError(f"{task.command}: no recording is left: nothing was written")
            counts: dict[int, set[int]] = {}

            def seen(move: Move, shard: int) -> None:
                counts.setdefault(move.rank, set()).add(shard)
                self._origins.add(move)

            def splits() -> list[tuple[str, int]]:
                return [(names[rank], len(counts[rank])) for rank in sorted(counts)]

            notes = tuple(dict.fromkeys(note for one in task.parents for note in one.notes))
            placed = place(moves.ordered(), task.size.most, seen)
            plan = write_plan(placed, names[0], lambda: notes, splits)
            self._origins.end()
            return plan

    def _collect(self, moves: Moves) -> None:
        task = self._task
        shards = sum(len(parent.names) for parent in task.parents)
        done, others = 0, dict[str, None]()
        for number, parent in enumerate(task.parents):
            for shard in range(len(parent.names)):
                split = parent.split_of(shard)
                of = self._names.index(split) if split in self._names else 0
                for rank, item in task.select(number, of, parent.items(shard)):
                    moves.add(self._move(rank, number, shard, item))
                others |= dict.fromkeys(parent.others(shard))
                done += 1
                self._clock.say(f"reading what is there: {done} of {shards} shards")
        moves.end()
        if others:
            self._display.message(f"columns of another program are left out: {', '.join(others)}")

    def _move(self, rank: int, parent: int, shard: int, item: Item) -> Move:
        task = self._task
        recording = task.as_planned(parent, item.recording)
        failure = item.failure and {**item.failure, "id": recording.id}
        size = task.size.of(item.facts, task.spec, task.config.format)
        key = 0 if task.seed is None else order_key(task.seed, group_of(recording))
        return Move(rank, key, parent, shard, item.row, size, failure, recording)

    def _write(self, wanted: Sequence[Wanted], run: str) -> None:
        task = self._task
        copier = Copier(task.parents, task.spec, task.rename)
        footer = make_footer(task.spec, self._stored.version, task.parents[0].quality)
        ways = in_order if task.seed is None else shuffled
        total = len(self._plan.shards)
        done = total - len(wanted)
        for one, rows in ways(wanted, copier):
            record = self._stage(one, rows, footer, run)
            self._manifest.require(self._stored.fingerprint)
            self._manifest.publish(record, self._form)
            done += 1
            self._clock.say(f"{100 * done // total}%: {done} of {total} shards")

    def _stage(
        self, wanted: Wanted, rows: Found, footer: Mapping[str, Any], run: str
    ) -> CommitRecord:
        """A shard's file, and its record."""
        name, sums = wanted.planned.name, Sums(self._task.spec)
        staged, size, digest = None, 0, None
        if len(wanted.places()):
            staged = staged_name(name, self._form, run)
            with self.storage.stage(staged) as path:
                self._form.write(path, sums.over(self._told(rows)), footer)
                size, digest = Path(path).stat().st_size, hash_file(path)
        stats = sums.stats
        if not stats.rows:  # all that was to be in it was lost
            staged, size, digest = None, 0, None
        return CommitRecord(
            shard=name,
            format=self._task.config.format,
            fingerprint=self._stored.fingerprint,
            rows=stats.rows,
            frames=stats.frames,
            chunks=stats.chunks,
            num_samples=stats.num_samples,
            bytes=size,
            sha256=digest,
            staged=staged,
            failures=tuple(Failure(**failure) for failure in wanted.failures()),
            flags=dict(sorted(sums.flags.items())),
            codebook_counts=pack_counts(stats.counts),
            footer=footer,
            groups=stats.groups,
            scales=stats.scale_figures,
            quality=sums.quality.figures(),
        )

    def _told(self, rows: Found) -> Found:
        """Rows as they pass: a large shard takes its time."""
        for one in rows:
            self._copied += 1
            self._clock.say(f"{self._copied:,} of {self._plan.count:,} recordings")
            yield one

    def _finish(self) -> Derived:
        self._manifest.require(self._stored.fingerprint)
        self._copy_precision()
        totals = Totals.over(self._manifest.records())
        write_card(self.storage, self._stored, totals)
        seconds = totals.num_samples / self._task.spec.sample_rate
        lost, partial = losses(self._task.parents, self._manifest.records())
        facts = self._manifest.plan_facts()
        self._display.message(
            f"{self._task.new}: {many(totals.rows, 'recording')}, {format_hours(seconds)}, in "
            f"{many(totals.shards, 'shard')}"
            + (f"; {many(totals.failures - lost, 'failure')} carried" * (totals.failures > lost))
            + (f"; {many(lost, 'recording')} lost to damage" if lost else "")
            + (f"; {many(partial, 'recording')} kept without damaged codes" if partial else "")
        )
        return Derived(
            self._task.new,
            totals.shards,
            totals.rows,
            seconds,
            totals.failures,
            dict(facts.named_splits),
            lost,
            partial,
        )

    def _copy_precision(self) -> None:
        """How codes of `--precision fast` compare with exact ones is as true of the new folder."""
        reports = [one.manifest.read_precision() for one in self._task.parents]
        known = [report for report in reports if report is not None]
        if known:
            total = known[0]
            for report in known[1:]:
                total = total + report
            self._manifest.write_precision(total)


def splits_of(parents: Sequence[Parent]) -> list[str]:
    """Names of all splits of some folders, as they come."""
    return list(dict.fromkeys(name for parent in parents for name in parent.splits))


def group_of(recording: Recording) -> str:
    """What stays together: channels of one recording."""
    return recording_of({**recording.meta, "channel": recording.channel}) or recording.id


def _require_same(new: str, stored: StoredRun, wanted: StoredRun) -> None:
    """
    Raises:
        OutputError: the folder is another command's.
    """
    if stored.derived is None:
        raise OutputError(f"{new} holds what `codecshards tokenize` wrote: choose another folder")
    before, now = stored.derived, wanted.derived or {}
    said = [
        f"{what}: {there!r} there, {here!r} now"
        for what, there, here in _compared(before, now)
        if there != here
    ]
    said += stored.differences(wanted) if not said else []
    if said:
        raise OutputError(
            f"{new} was made or begun by another command ({'; '.join(said)}): choose another "
            "folder, or the same command"
        )


def _compared(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Name, value there and value now of everything that a command is made of."""
    yield "command", before.get("command"), now.get("command")
    old, new = before.get("arguments", {}), now.get("arguments", {})
    for name in sorted({*old, *new}):
        yield f"--{name.replace('_', '-')}", old.get(name), new.get(name)
    places = [[one["path"] for one in each.get("parents", ())] for each in (before, now)]
    yield "made from", places[0], places[1]
    if places[0] == places[1]:
        for one, other in zip(before["parents"], now["parents"], strict=True):
            there, here = (f"state {each['state']}" for each in (one, other))
            yield f"{one['path']} has changed since", there, here


def _same_rows(one: Plan, other: Plan) -> bool:
    """Whether two plans put the same recordings into the same shards."""
    if one.splits != other.splits or one.count != other.count:
        return False
    rows = ([shard.rows for shard in plan.shards] for plan in (one, other))
    return next(rows) == next(rows) and all(
        a == b for a, b in zip(one.ids(), other.ids(), strict=True)
    )
