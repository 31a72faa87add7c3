"""Every shard against its commit record, and every record against the plan: one line for each thing
wrong."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.output.bare.checking import problems_of_bare
from pipelines.output.bare.shards import without_manifest
from pipelines.output.formats import ShardFormat, shard_format
from pipelines.output.formats.schema import Row, ShardStats, make_footer
from pipelines.output.manifest.commits import CommitRecord, Manifest, unpack_counts
from pipelines.output.manifest.edits import EDITS, damaged
from pipelines.output.manifest.names import (
    COMMITS,
    CONFIG,
    DATA,
    GENERATIONS,
    PRECISION,
    STAGING,
    generation_name,
    hash_file,
    run_of,
)
from pipelines.output.manifest.records import EDITABLE, TIMINGS, Failure
from pipelines.output.manifest.strangers import strangers
from pipelines.output.plan import PlannedShard
from pipelines.output.quality.figures import Values
from pipelines.output.storage import Storage, open_storage
from pipelines.output.stored_run import StoredRun
from tokenizer.codecs.base import split
from tokenizer.errors import FailureKind, ManifestError, ShapeError, ShardError
from tokenizer.types import Recording

_SHOWN = 5
"""shards that are named where many are missing"""
Planned = Sequence[Recording] | None
"""what was planned for a shard; None where the plan is damaged"""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it was committed."""

    shard: str
    message: str

    def __str__(self) -> str:
        return f"{self.shard}: {self.message}"


def verify(out: str) -> list[Problem]:
    """Check an output folder, one shard in memory at a time; an empty list means all is well. Of
    shards without a manifest all that can be checked is (`pipelines.output.bare.checking`).

    Raises:
        OutputError: not an output of `tokenize`.
    """
    storage = open_storage(out)
    manifest = Manifest(storage)
    if without_manifest(storage):
        return [Problem(*found) for found in problems_of_bare(storage)]
    try:
        checker = _Checker(storage, manifest.require_config())
    except ManifestError as error:  # without it nothing else can be judged
        return [Problem(CONFIG, str(error))]
    problems: list[Problem] = []
    try:
        generations = manifest.require_generations()
    except ManifestError as error:
        return [Problem(GENERATIONS, str(error))]
    planned: dict[str, PlannedShard] = {}
    for generation in generations:
        try:
            planned |= {shard.name: shard for shard in manifest.plan_of(generation).shards}
        except ManifestError as error:
            problems.append(Problem(generation.place, str(error)))
    try:
        manifest.read_precision()
    except ManifestError as error:
        problems.append(Problem(PRECISION, str(error)))
    try:
        problems += _pending(manifest)
    except ManifestError as error:
        return [*problems, Problem(EDITS, str(error))]
    problems += [Problem(*found) for found in damaged(storage)]
    staged = {one.waiting: "the plan" for one in generations}
    missing: list[str] = []
    fingerprints = manifest.fingerprints()
    for name, record in manifest.records_of([*fingerprints]):
        if record is None:
            missing.append(name)
            continue
        if isinstance(record, ShardError):
            problems.append(Problem(name, str(record)))
            continue
        if record.staged is not None:
            staged[record.staged] = name
        problems += checker.shard(name, planned.get(name), record, fingerprints[name])
    problems += _unfinished(missing, len(fingerprints))
    plans = [place for one in generations[1:] for place in (generation_name(one.number), one.place)]
    found = strangers(storage, checker.format, [*fingerprints], staged, plans)
    return problems + [Problem(name, reason) for name, reason in found]


class _Checker:
    """Checks shards of one output folder."""

    def __init__(self, storage: Storage, stored: StoredRun) -> None:
        self.format: ShardFormat = shard_format(stored.config.format)
        self._storage = storage
        self._stored = stored
        self._manifest = Manifest(storage)
        self._spec = stored.codec
        self._lying = storage.find(DATA)

    def shard(
        self, name: str, planned: PlannedShard | None, record: CommitRecord, fingerprint: str
    ) -> list[Problem]:
        """Everything wrong with one committed shard; what was planned for it is not compared where
        the plan is damaged."""
        recordings = None if planned is None else planned.recordings
        try:
            messages = list(self._problems(name, recordings, record))
        except OSError as error:  # says nothing of what it holds, nor of the other shards
            why = error.strerror or error
            return [Problem(name, f"its file cannot be read ({why}): verify it again once it can")]
        if record.fingerprint != fingerprint:
            messages.insert(
                0, "was committed with another configuration or plan than the stored ones"
            )
        if messages:
            messages.append(self._remedy(record))
        return [Problem(name, message) for message in messages]

    def _remedy(self, record: CommitRecord) -> str:
        if record.edited or record.dropped:  # done again, it would be as it was before
            return "to heal it, restore it: it was edited since it was tokenized"
        command = str((self._stored.derived or {"command": "tokenize"})["command"])
        if command == "adopt":
            return "to heal it, restore it: it was not written here, but adopted"
        keeps = (
            f"; `codecshards expand {self._storage.root} NEW --allow-damaged` keeps what can be "
            "read"
        )
        return (
            f"to heal it, delete {COMMITS}/{record.shard}.json and run the same `{command}` again"
            + keeps * (command == "compress")
        )

    def _problems(self, shard: str, planned: Planned, record: CommitRecord) -> Iterator[str]:
        if record.format != self._stored.config.format:
            yield (
                f"its commit record says {record.format}, the configuration "
                f"{self._stored.config.format}"
            )
        yield from self._own_words(planned, record)
        name = self._manifest.place_of(record, self.format)
        failed = [failure.id for failure in record.failures]
        if record.sha256 is None:
            if self.format.file_name(shard) in self._lying:
                yield "has a file, though its record says that every recording failed"
            if any(
                (
                    record.rows,
                    record.frames,
                    record.chunks,
                    record.num_samples,
                    record.bytes,
                    record.flags,
                    record.staged,
                    record.codebook_counts,
                    record.scales,
                    record.groups,
                )
            ):
                yield "its record counts rows, and says that there is no file"
            yield from _fates(planned, [], failed)
            return
        try:
            with self._storage.fetch(name) as path:  # of a store one copy serves all
                size = Path(path).stat().st_size
                if size != record.bytes:
                    yield f"{size} bytes, {record.bytes} were committed"
                if hash_file(path) != record.sha256:
                    yield "its content is not what was committed (SHA-256 differs)"
                yield from self._content(planned, record, name, path, failed)
        except FileNotFoundError:
            yield f"its file is missing: {name}"

    def _own_words(self, planned: Planned, record: CommitRecord) -> Iterator[str]:
        """What a record says that is in no shard: how it came about, and its failures."""
        waiting = (record.staged or "").rpartition("/")
        if record.staged is not None and not (
            waiting[0] == STAGING
            and run_of(waiting[2]) is not None
            and waiting[2].startswith(f"{record.shard}.")
            and waiting[2].endswith(self.format.suffix)
        ):
            yield f"its record names {record.staged!r} for its staged file, which is none of it"
        wanted = {*TIMINGS} if self._stored.derived is None else {*record.timings} and {*TIMINGS}
        if {*record.timings} != wanted or not all(map(_is_time, record.timings.values())):
            yield "its timings are not those of a run"
        said = json.loads(json.dumps(make_footer(self._spec, "")["codec"]))
        # With a file it is held against that one's, which may be somebody else's.
        own = record.sha256 is None and (record.footer or self._stored.derived is None)
        if own and record.footer.get("codec") != said:
            yield "its record's footer is of another codec than the configuration"
        if {*record.edited} - {*EDITABLE}:
            yield f"its record says that {', '.join(record.edited)} was edited, which cannot be"
        recordings = {recording.id: recording for recording in planned or ()}
        for failure in record.failures:
            yield from _failure(failure, recordings.get(failure.id), record.edited)

    def _content(
        self, planned: Planned, record: CommitRecord, name: str, path: str, failed: list[str]
    ) -> Iterator[str]:
        stats, ids, flags, quality = ShardStats(), [], Flags(), Values()
        recordings = {recording.id: recording for recording in planned or ()}
        said = None
        try:
            with Path(path).open("rb") as file:
                for row in self.format.salvage(file, name):
                    if not isinstance(row, Row):
                        if row.message != said:  # rows that lie together are lost for one reason
                            yield f"{name}: damaged: {row.message}"
                        said = row.message
                        continue
                    ids.append(row.id)
                    yield from self._row(row)
                    if row.id in recordings:
                        yield from _carried(row, recordings[row.id], record.edited)
                    flags.add(row, recordings.get(row.id))
                    stats.place(row.meta)
                    quality.add(row.quality)
                    stats.add(
                        row.codes,
                        max(self._spec.codebook_size, int(row.codes.codes.max(initial=0)) + 1),
                    )
            with Path(path).open("rb") as file:
                footer = self.format.footer(file, name)
        except ShardError as error:
            yield str(error)
            return
        if said is not None:
            return
        for what in ("rows", "frames", "chunks", "num_samples"):
            if getattr(stats, what) != getattr(record, what):
                yield f"{getattr(stats, what)} {what}, {getattr(record, what)} were committed"
        if record.groups and stats.groups != record.groups:
            yield "its rows are not the channels of recordings that were committed"
        if footer != dict(record.footer):
            yield "its footer is not the one that was committed"
        yield from _counts(stats, record)
        yield from flags.problems(record.flags)
        if quality.figures() != record.quality:
            yield "its columns of quality are not spread as was committed"
        if record.scales and stats.scale_figures != record.scales:
            yield "the scales of its chunks are not spread as was committed"
        yield from _fates(planned, ids, failed)

    def _row(self, row: Row) -> Iterator[str]:
        if row.codes.n_q != self._spec.n_q:
            yield f"{row.id}: {row.codes.n_q} codebooks, the codec has {self._spec.n_q}"
        try:
            split(row.codes, self._spec)
        except ShapeError as error:
            yield f"{row.id}: {error}"


class Flags:
    """How many rows of a shard have each flag. A source may have a field of that name, which cannot
    be told from ours."""

    def __init__(self) -> None:
        self._ours: Counter[str] = Counter()
        self._possible: Counter[str] = Counter()

    def add(self, row: Row, recording: Recording | None) -> None:
        """Count one row."""
        flags = row.meta.get("flags")
        if not isinstance(flags, list):
            return
        found = {flag for flag in flags if isinstance(flag, str)}
        self._possible.update(found)
        if recording is None or flags != recording.meta.get("flags"):
            self._ours.update(found)

    def problems(self, committed: Mapping[str, int]) -> Iterator[str]:
        """Where a commit record counts otherwise."""
        for flag in sorted({*self._ours, *committed}):
            count = committed.get(flag, 0)
            if not self._ours[flag] <= count <= self._possible[flag]:
                yield f"{self._possible[flag]} rows with the flag {flag}, {count} were committed"


def _counts(stats: ShardStats, record: CommitRecord) -> Iterator[str]:
    """How often each code occurs, as counted now and as committed."""
    if record.codebook_counts is None:
        if stats.rows:
            yield "its record does not say how often each code occurs"
        return
    try:
        committed = unpack_counts(record.codebook_counts)
    except ShardError as error:
        yield str(error)
        return
    if stats.counts is None or not np.array_equal(stats.counts, committed):
        yield "its codes do not occur as often as was committed"


def _unfinished(missing: Sequence[str], planned: int) -> list[Problem]:
    """The first shards that are not committed, and how many there are."""
    found = [
        Problem(name, "not committed: the run is unfinished, run the same command again to go on")
        for name in missing[:_SHOWN]
    ]
    if len(missing) > _SHOWN:
        more = f"{len(missing):,} of {planned:,} shards in all"
        found.append(Problem(f"{len(missing) - _SHOWN:,} more", f"not committed: {more}"))
    return found


def _pending(manifest: Manifest) -> list[Problem]:
    """An edit that was cut short: its records are those that count, and readers know of it."""
    edit = manifest.pending_edit(now=True)
    if edit is None:
        return []
    return [
        Problem(
            f"{EDITS}/{edit.number:05d}.json",
            "this edit was cut short: `codecshards edit OUT --finish`, or any command that writes "
            "to OUT, finishes it",
        )
    ]


def _carried(row: Row, recording: Recording, edited: Collection[str]) -> Iterator[str]:
    """What a row has from its source, against the plan; columns that were edited since may be
    others."""
    for what, found, planned in (
        ("source_uri", row.source_uri, recording.uri),
        ("text", row.text, recording.text),
        ("language", row.language, recording.language),
        ("speaker", row.speaker, recording.speaker),
    ):
        if found != planned and what not in edited:
            yield f"{row.id}: {what} is not the planned one"
    for name in ("start", "end", "channel"):
        planned_at = getattr(recording, name)
        if planned_at is not None and row.meta.get(name) != planned_at:
            yield f"{row.id}: {name} is not the planned one"


def _failure(
    failure: Failure, recording: Recording | None, edited: Collection[str]
) -> Iterator[str]:
    """What is wrong with a recorded failure."""
    if failure.kind not in FailureKind.__members__.values():
        yield f"{failure.id}: {failure.kind!r} is no kind of failure"
    if not failure.message or not failure.stage:
        yield f"{failure.id}: its failure does not say what is wrong, and where it was noticed"
    if recording and failure.source_uri != recording.uri and "source_uri" not in edited:
        yield f"{failure.id}: source_uri of its failure is not the planned one"


def _is_time(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf  # type: ignore[operator]


def _fates(planned: Planned, rows: list[str], failed: list[str]) -> Iterator[str]:
    """Each planned recording is a row or a failure, once, in order."""
    if planned is None:
        return
    fates = Counter([*rows, *failed])
    expected = [recording.id for recording in planned]
    for id in expected:
        if fates[id] == 0:
            yield f"{id}: neither a row nor a recorded failure"
        elif fates[id] > 1:
            yield f"{id}: {fates[id]} times among rows and failures"
    known = set(expected)
    for id in fates:
        if id not in known:
            yield f"{id}: was not planned for this shard"
    made = set(rows)
    order = [id for id in expected if id in made]
    if order != [id for id in rows if id in known] and all(fates[id] <= 1 for id in fates):
        yield "its rows are not in the plan's order"
