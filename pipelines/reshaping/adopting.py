"""A manifest for shards that lie there without one: as another program has written them anew, or as
they were copied."""

from __future__ import annotations

import pickle
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import PurePosixPath
from typing import IO, Any

from pipelines.output.blobs import Blob, LocalBlob, RemoteBlob
from pipelines.output.cache import ByteCache
from pipelines.output.card import write_card
from pipelines.output.config import TokenizeConfig
from pipelines.output.formats import SHARD_FORMATS, ShardFormat, shard_format
from pipelines.output.formats.parquet.unverified import UNKNOWN, one_spec
from pipelines.output.formats.reading import count_rows
from pipelines.output.formats.schema import Row
from pipelines.output.manifest.commits import CommitRecord, Manifest, pack_counts
from pipelines.output.manifest.names import (
    CONFIG,
    DATA,
    PLAN,
    hash_stored,
    record_name,
    staged_plan_name,
)
from pipelines.output.manifest.records import Totals
from pipelines.output.plan import Plan, shard_names, write_plan
from pipelines.output.plans.distinct import DistinctIds
from pipelines.output.storage import RemoteStorage, Storage, open_storage
from pipelines.output.stored_run import PlanFacts, StoredRun
from pipelines.reshaping.card_facts import told_by_card
from pipelines.reshaping.copying import Sums
from pipelines.reshaping.derive import Derived
from pipelines.system.words import format_hours, many
from pipelines.tokenizing.progress import Display, open_display
from tokenizer.codecs import describe_codec
from tokenizer.codecs.base import CodecSpec, split
from tokenizer.errors import OutputError, ShapeError, ShardError, UsageError
from tokenizer.sealing import seal
from tokenizer.types import Recording

ADOPTED = "(adopted)"
"""the source of a folder of which nobody knows it"""
FIRST_SPLIT = "train"
"""of files whose names say nothing, and before all others"""
_NUMBERED = re.compile(r"(\w+)-(\d{5,6})(?:-of-(\d{5}))?")


@dataclass(frozen=True, slots=True)
class _File:
    """One shard's file."""

    place: str
    """where it lies now"""
    name: str
    """of the shard that it becomes"""


def adopt_codes(
    out: str,
    *,
    codec: str | None = None,
    bandwidth: float | None = None,
    n_q: int | None = None,
    revision: str | None = None,
    like: str | None = None,
    quiet: bool = True,
) -> Derived:
    """Write a manifest for a folder of Parquet files, tars or archives of codes, so that they are
    verified, and can be edited, split and merged. Files are read, and moved to `data/` under the
    names of shards; their content stays as it is.

    Args:
        out: the folder.
        codec: what the codes are of, where no footer says so.
        bandwidth: of that codec, in kbps.
        n_q: its codebooks, instead.
        revision: of that codec.
        like: another output folder of the same codec instead.
        quiet: no word of progress.

    Raises:
        UsageError: no shards, several codecs or formats, an id twice, or a codec that no footer
            and no argument tells of.
        OutputError: the folder has a manifest.
        ShardError: a file is damaged, or no shard of codes.
    """
    with open_display(quiet) as display:
        return _Adoption(out, display).work(_asked(codec, bandwidth, n_q, revision, like))


class _Adoption:
    def __init__(self, out: str, display: Display) -> None:
        self._out, self._display = out, display
        self._storage = open_storage(out)
        self._manifest = Manifest(self._storage)
        self._stored = self._manifest.read_config()
        if self._stored is not None:
            if not self._is_unfinished(self._stored):
                raise OutputError(f"{out} has a manifest: there is nothing to adopt")
            self._format = self._stored.config.format
        else:
            self._format, self._files = _listed(self._storage, out)
        self._form: ShardFormat = shard_format(self._format)

    def _is_unfinished(self, stored: StoredRun) -> bool:
        """Whether it was cut short after its configuration: its plan has not its place yet."""
        adopted = (stored.derived or {}).get("command") == "adopt"
        return adopted and not self._storage.exists(PLAN)

    def work(self, asked: CodecSpec | None) -> Derived:
        """Do it; the configuration comes last, and without it nothing counts."""
        if self._stored is not None:
            return self._finish(self._stored)
        with tempfile.TemporaryFile(prefix="codecshards-records-") as records:
            return self._work(self._spec(asked), records)

    def _work(self, spec: CodecSpec, records: IO[bytes]) -> Derived:
        plan = self._plan(spec, records)
        facts = PlanFacts(plan.sha256, plan.split, len(plan.shards), plan.count, plan.splits)
        config = TokenizeConfig(
            ADOPTED,
            codec=spec.codec,
            revision=spec.revision,
            bandwidth=spec.bandwidth,
            format=self._format,
            split=plan.split,
            precision=spec.precision,
        )
        derived: dict[str, Any] = {"command": "adopt", "arguments": {}, "parents": []}
        stored = StoredRun(config, spec, version("codecshards"), facts, derived)
        records.seek(0)
        for file in self._files:
            found: CommitRecord = pickle.load(records)
            self._put(file, replace(found, fingerprint=stored.fingerprint))
        with self._storage.stage(staged_plan_name(plan.sha256)) as path:
            plan.save(path)
        if not self._storage.create(CONFIG, seal(stored.to_json(), sort_keys=True)):
            raise OutputError(f"{self._out} has just been given a manifest by somebody else")
        return self._finish(stored)

    def _finish(self, stored: StoredRun) -> Derived:
        """Give the plan its place, and say what there is."""
        self._manifest.recover(self._form)
        totals = Totals.over(self._manifest.records())
        write_card(self._storage, stored, totals)
        seconds = totals.num_samples / stored.codec.sample_rate
        splits = dict(self._manifest.plan_facts().named_splits)
        self._display.message(
            f"{self._out}: {many(totals.rows, 'recording')}, {format_hours(seconds)}, adopted in "
            f"{many(totals.shards, 'shard')}"
        )
        return Derived(self._out, totals.shards, totals.rows, seconds, 0, splits)

    def _spec(self, asked: CodecSpec | None) -> CodecSpec:
        blobs = [self._blob(file.place) for file in self._files]
        found = [count_rows(self._format, blob)[1] for blob in blobs]
        spec = one_spec(found, [blob.name for blob in blobs])
        if spec.codec != UNKNOWN:
            return spec
        said_by = "what was asked for"
        if asked is None:
            asked, said_by = told_by_card(self._storage, spec), "what README.md says"
            if asked is not None:
                self._display.message(
                    f"{self._out}: by its README.md these are codes of {asked.codec}, "
                    f"{asked.bandwidth:g} kbps"
                )
        if asked is None:
            raise UsageError(
                f"{self._out}: no footer says which codec these are codes of ({spec.n_q} "
                f"codebooks, {spec.sample_rate} Hz), and no README.md: give --codec and "
                "--bandwidth, or --like OUT"
            )
        one_spec([asked, *found], [f"{said_by} ({asked.codec})", *(blob.name for blob in blobs)])
        return asked

    def _plan(self, spec: CodecSpec, records: IO[bytes]) -> Plan:
        """What is there. What each file's commit record will say waits on disk: counts of codes add
        up over many files."""
        splits = list(Counter(file.name.rsplit("-", 3)[0] for file in self._files).items())
        with DistinctIds() as ids:

            def placed() -> Iterator[tuple[int, Recording]]:
                for number, file in enumerate(self._files):
                    self._display.message(f"reading {file.place}")
                    sums = Sums(spec)
                    for row, recording in self._rows(file, spec):
                        ids.add(row.id, file.place)
                        next(sums.over(iter([(row, recording)])))
                        yield number, recording
                    pickle.dump(self._record(file, sums), records)
                ids.check()

            several = splits if len(splits) > 1 else []
            return write_plan(placed(), splits[0][0], splits=lambda: several)

    def _rows(self, file: _File, spec: CodecSpec) -> Iterator[tuple[Row, Recording]]:
        place = f"{self._storage.root}/{file.place}"
        empty = True
        with self._storage.open(file.place) as content:
            for row in self._form.read(content, place):
                empty = False
                try:
                    split(row.codes, spec)
                except ShapeError as error:
                    raise ShardError(f"{place}: {row.id}: {error}") from error
                yield row, _planned(row)
        if empty:
            raise ShardError(f"{place}: has no rows: take it away first")

    def _put(self, file: _File, record: CommitRecord) -> None:
        """Give a file its place, and its record."""
        final = _final(file.name, self._form)
        if file.place != final:
            self._storage.move(file.place, final)
        self._storage.write(record_name(file.name), record.to_json())

    def _record(self, file: _File, sums: Sums) -> CommitRecord:
        """All but the fingerprint, which is that of the plan too."""
        with self._storage.open(file.place) as content:
            footer = self._form.footer(content, file.place)
        stats = sums.stats
        return CommitRecord(
            shard=file.name,
            format=self._format,
            fingerprint="",
            rows=stats.rows,
            frames=stats.frames,
            chunks=stats.chunks,
            num_samples=stats.num_samples,
            bytes=self._storage.size(file.place),
            sha256=hash_stored(self._storage, file.place),
            staged=None,
            failures=(),
            flags=dict(sorted(sums.flags.items())),
            codebook_counts=pack_counts(stats.counts),
            footer=footer,
            groups=stats.groups,
            scales=stats.scale_figures,
            quality=sums.quality.figures(),
        )

    def _blob(self, place: str) -> Blob:
        name = f"{self._storage.root}/{place}"
        if isinstance(self._storage, RemoteStorage):
            fs, path = self._storage.locate(place)
            return RemoteBlob(fs, path, name, None, None, ByteCache(1, len))
        return LocalBlob(name, None, None)


def _asked(
    codec: str | None,
    bandwidth: float | None,
    n_q: int | None,
    revision: str | None,
    like: str | None,
) -> CodecSpec | None:
    if codec is not None and like is not None:
        raise UsageError("--codec and --like: give one of them")
    if like is not None:
        return Manifest(open_storage(like)).require_config().codec
    if codec is None:
        return None
    return describe_codec(codec, bandwidth=bandwidth, n_q=n_q, revision=revision)


def _listed(storage: Storage, out: str) -> tuple[str, list[_File]]:
    """The format, and every file with the name of the shard that it becomes: files that are called
    as shards are keep their numbers."""
    suffixes = {shard_format(name).suffix: name for name in SHARD_FORMATS}
    places = [
        f"{folder}/{name}".lstrip("/")
        for folder in (DATA, "")
        for name in storage.list(folder)
        if PurePosixPath(name).suffix in suffixes and not name.startswith(".")
    ]
    kinds = {PurePosixPath(place).suffix for place in places}
    if len(kinds) != 1:
        said = f"several formats ({', '.join(sorted(kinds))})" if kinds else "no shards"
        raise UsageError(f"{out} holds {said}: adopt takes Parquet files, or tars")
    found: dict[str, list[str]] = {}
    for place in places:
        found.setdefault(_split_of(place), []).append(place)
    format, files = suffixes[kinds.pop()], []
    for split_name in sorted(found, key=lambda name: (name != FIRST_SPLIT, name)):
        files += _numbered(split_name, found[split_name], shard_format(format))
    return format, files


def _split_of(place: str) -> str:
    numbered = _NUMBERED.fullmatch(PurePosixPath(place).stem)
    return FIRST_SPLIT if numbered is None else numbered.group(1)


def _numbered(split_name: str, places: list[str], form: ShardFormat) -> list[_File]:
    """The files of one split, in order. One that lies where a shard is to lie stays there: it would
    be lost to another that is moved over it."""
    names = shard_names([(split_name, len(places))])
    finals = [_final(name, form) for name in names]
    taken = {number: final for number, final in enumerate(finals) if final in places}
    for place in places:
        found = _NUMBERED.fullmatch(PurePosixPath(place).stem)
        total = f"{len(places):05d}"
        if found and int(found.group(2)) < len(places) and found.group(3) in (None, total):
            taken.setdefault(int(found.group(2)), place)
    others = iter(sorted(set(places) - set(taken.values())))
    return [
        _File(taken[number] if number in taken else next(others), name)
        for number, name in enumerate(names)
    ]


def _final(name: str, form: ShardFormat) -> str:
    """Where a shard's file lies."""
    return f"{DATA}/{form.file_name(name)}"


def _planned(row: Row) -> Recording:
    times = {
        name: row.meta[name]
        for name in ("start", "end")
        if isinstance(row.meta.get(name), int | float)
    }
    recording = Recording(
        row.id,
        row.source_uri or "",
        seconds=row.codes.seconds,
        text=row.text,
        language=row.language,
        speaker=row.speaker,
    )
    try:
        return replace(recording, **times)
    except ShapeError:
        return recording
