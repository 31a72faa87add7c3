"""One shard's job as a plain function of its recordings: read, cut, encode, write, commit. Knows
nothing of Ray."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from pipelines.auditing.while_tokenizing import PassingAudit, PassingSettings, Watched
from pipelines.corpus.absence import Absence
from pipelines.corpus.reader import Decoder, DecodeSettings, Decoding
from pipelines.output.formats import ShardFormat, shard_format
from pipelines.output.formats.schema import Row, ShardStats, counted
from pipelines.output.manifest.commits import (
    CommitRecord,
    Failure,
    Manifest,
    hash_file,
    pack_counts,
    staged_name,
)
from pipelines.output.manifest.leases import new_run
from pipelines.output.plan import PlannedShard, estimated
from pipelines.output.storage import Storage, open_storage
from pipelines.tokenizing.encoders import Chunk, Encoder, EncoderCodec
from pipelines.tokenizing.packing import Packer, Pending
from pipelines.tokenizing.progress import ShardProgress
from tokenizer.chunking import ChunkCutter
from tokenizer.codecs.base import MAX_CHUNK_FRAMES, Codec, CodecSpec, assemble
from tokenizer.errors import FailureKind, RecordingError
from tokenizer.types import Recording

TIMINGS = ("wall", "decode", "decode_wait", "encode", "encode_wait", "write")
"""fields of `ShardProgress` that a commit record keeps"""


@dataclass(frozen=True, slots=True)
class CodecSettings:
    """How to load the codec in any process."""

    codec: str
    revision: str | None
    bandwidth: float
    device: str
    batch_chunks: int
    reference: bool = False
    precision: str = "exact"

    def load(self, threads: int | None = None) -> Codec:
        """Load it here, computing with `threads` CPU threads (None leaves them as they are)."""
        from tokenizer.codecs import load_codec

        return load_codec(
            self.codec,
            bandwidth=self.bandwidth,
            device=self.device,
            revision=self.revision,
            threads=threads,
            reference=self.reference,
            precision=self.precision,
        )


@dataclass(frozen=True, slots=True)
class WorkSettings:
    """What every shard of a run has in common; small and picklable."""

    out: str
    format: str
    spec: CodecSpec
    footer: Mapping[str, Any]
    fingerprint: str
    decode: DecodeSettings
    max_chunk_seconds: float
    passing: PassingSettings | None = None
    """what is audited in passing; None is nothing"""
    missing_allowed: bool = False
    """recordings that are not there fail however many they are; False stops when the whole corpus
    seems to be away"""
    run: str = field(default_factory=new_run)
    """whose staged files these workers write: `pipelines.output.manifest.leases`"""


@dataclass(frozen=True, slots=True)
class ShardJob:
    """One shard to do."""

    name: str
    recordings: tuple[Recording, ...]
    careful: bool = False
    """one recording at a time, journalled, so that the one that kills the process can be named"""
    quarantined: tuple[str, ...] = ()
    """ids that are known to kill it"""

    @classmethod
    def of(cls, shard: PlannedShard) -> ShardJob:
        return cls(shard.name, tuple(shard.recordings))


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What became of a job."""

    name: str
    won: bool
    """False when another process had committed the shard first"""
    progress: ShardProgress


class Journal:
    """Names the recording that a careful shard is working on, where it outlives the process."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def write(self, shard: str, recording: str) -> None:
        self._storage.write(self._path(shard), recording.encode())

    def read(self, shard: str) -> str | None:
        try:
            return self._storage.read(self._path(shard)).decode()
        except FileNotFoundError:
            return None

    def clear(self, shard: str) -> None:
        self._storage.remove(self._path(shard))

    @staticmethod
    def _path(shard: str) -> str:
        return f"manifest/journal/{shard}"


class ShardWorker:
    """Holds a decoder and an encoder, and does shards with them, one after the other."""

    def __init__(self, settings: WorkSettings, encoder: Encoder) -> None:
        self.settings = settings
        self.encoder = encoder
        self.decoder = Decoder(settings.decode)
        self.progress = ShardProgress()
        """of the shard at hand; read from other threads"""
        self.on_progress: Callable[[], None] = lambda: None
        """called after every block"""
        self._storage = open_storage(settings.out)
        self._manifest = Manifest(self._storage)
        self._format = shard_format(settings.format)
        self.journal = Journal(self._storage)
        self.absence = Absence(settings.decode.source.spec, settings.missing_allowed)

    def run(self, job: ShardJob) -> ShardResult:
        """Do one shard and commit it.

        Raises:
            OutputError: OUT cannot be written, or was deleted or replaced since the run began.
            SourceUnavailable: the corpus is away, or seems to be.
        """
        self.progress = ShardProgress(name=job.name)
        if self._manifest.is_committed(job.name):  # by another run, meanwhile
            return self._done(job, False)
        shard = _Shard(self, job)
        staged = self._stage(job.name, shard)
        record = shard.record(self._format, staged)
        if shard.passing:
            shard.passing.write(job.name)
        self._manifest.require(self.settings.fingerprint)
        return self._done(job, self._manifest.publish(record, self._format))

    def _done(self, job: ShardJob, won: bool) -> ShardResult:
        if job.careful:
            self.journal.clear(job.name)
        return ShardResult(job.name, won, self.progress)

    def passing(self) -> PassingAudit | None:
        """What audits a shard in passing; None when nothing does."""
        settings = self.settings
        if settings.passing is None:
            return None
        return PassingAudit(
            settings.passing, self._storage, EncoderCodec(self.encoder, settings.spec)
        )

    def close(self) -> None:
        """End the decoder's process."""
        self.decoder.close()

    def _stage(self, name: str, shard: _Shard) -> StagedFile | None:
        """Write the rows to a durable file of their own; None when there are none."""
        rows = Clocked(shard.rows())
        first = next(rows, None)
        if first is None:
            return None
        staged = staged_name(name, self._format, self.settings.run)
        began, elsewhere = time.perf_counter(), rows.taken
        with self._storage.stage(staged) as path:
            self._format.write(path, chain([first], rows), self.settings.footer)
            file = StagedFile(staged, Path(path).stat().st_size, hash_file(path))
        self.progress.write += time.perf_counter() - began - (rows.taken - elsewhere)
        return file


class Clocked(Iterator[Row]):
    """Rows as they come, with the seconds that making them took."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self.taken = 0.0

    def __next__(self) -> Row:
        began = time.perf_counter()
        try:
            return next(self._rows)
        finally:
            self.taken += time.perf_counter() - began


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A shard's file, written and not committed."""

    name: str
    bytes: int
    sha256: str


class _Shard:
    """One shard on its way: recordings in, rows out, failures and sums kept."""

    def __init__(self, worker: ShardWorker, job: ShardJob) -> None:
        self._worker = worker
        self._job = job
        self._spec = worker.settings.spec
        self._packer = Packer(worker.encoder)
        self.passing = worker.passing()
        self._stats = ShardStats()
        self._failures: dict[str, Failure] = {}
        self._flags: Counter[str] = Counter()
        self._uris = [recording.uri for recording in job.recordings]
        self._began = time.perf_counter()
        self._waited_before, self._decoded_before = worker.decoder.waited, worker.decoder.busy
        self._encoded_before = worker.encoder.busy

    def rows(self) -> Iterator[Row]:
        """Rows of the recordings that could be tokenized, in the plan's order."""
        return counted(self._rows(), self._stats, self._spec.codebook_size)

    def record(self, form: ShardFormat, staged: StagedFile | None) -> CommitRecord:
        """What was done, once the rows are written."""
        planned = [recording.id for recording in self._job.recordings]
        self._update()
        return CommitRecord(
            shard=self._job.name,
            format=self._worker.settings.format,
            fingerprint=self._worker.settings.fingerprint,
            rows=self._stats.rows,
            frames=self._stats.frames,
            chunks=self._stats.chunks,
            num_samples=self._stats.num_samples,
            bytes=staged.bytes if staged else 0,
            sha256=staged.sha256 if staged else None,
            staged=staged.name if staged else None,
            failures=tuple(self._failures[id] for id in planned if id in self._failures),
            flags=dict(sorted(self._flags.items())),
            timings=self._timings(),
            codebook_counts=pack_counts(self._stats.counts),
            footer=self._worker.settings.footer,
        )

    def _rows(self) -> Iterator[Row]:
        careful = self._job.careful
        wanted = [
            recording for recording in self._job.recordings if not self._is_quarantined(recording)
        ]
        # A careful shard takes one recording at a time, from file to codes, and says which before
        # it begins.
        for group in ([recording] for recording in wanted) if careful else [wanted]:
            if careful:
                self._worker.journal.write(self._job.name, group[0].id)
            for decoding in self._worker.decoder.decode(group):
                self._take(decoding)
                yield from self._finished(self._packer.ready())
            if careful:
                yield from self._finished(self._packer.drain())
        yield from self._finished(self._packer.drain())

    def _is_quarantined(self, recording: Recording) -> bool:
        if recording.id not in self._job.quarantined:
            return False
        message = f"{recording.uri}: the process that worked on it died, again and again"
        self._fail(recording, RecordingError(FailureKind.QUARANTINED, message, "encode"))
        return True

    def _take(self, decoding: Decoding) -> None:
        """Read one recording and send its chunks on their way."""
        pending = self._packer.begin(decoding.recording)
        watched = self.passing.begin(decoding.recording.id) if self.passing else None
        spec, progress, planned = self._spec, self._worker.progress, self._worker.progress.planned
        cutter = ChunkCutter(spec.channels, spec.chunk_length, spec.chunk_stride)
        try:
            for block in decoding:
                chunks = cutter.push(block)
                self._limit(decoding.recording, cutter.num_samples)
                self._send(pending, chunks, watched)
                read = cutter.num_samples / spec.sample_rate
                progress.planned = planned + min(read, estimated(decoding.recording))
                self._advance(block.shape[1])
            pending.facts = decoding.report
            self._send(pending, cutter.finish(), watched)
            self._worker.absence.found()
        except RecordingError as error:
            self._worker.absence.failed(error, self._uris)
            pending.fail(error)
        progress.planned = planned + estimated(decoding.recording)
        pending.num_samples = cutter.num_samples
        pending.ended = True

    def _send(self, pending: Pending, chunks: list[Chunk], watched: Watched | None) -> None:
        for chunk in chunks:
            self._packer.add(pending, chunk)
            if watched and pending.error is not None:  # its codes will not come
                watched.fail(pending.error)
            elif watched:
                watched.push(chunk)
                watched.advance(pending.chunks)

    def _limit(self, recording: Recording, num_samples: int) -> None:
        """A codec without windows encodes a recording in one piece, and memory sets an end to
        that."""
        spec = self._spec
        if spec.chunk_length is not None:
            return
        longest = min(self._worker.settings.max_chunk_seconds, MAX_CHUNK_FRAMES / spec.frame_rate)
        if num_samples > longest * spec.sample_rate:
            message = (
                f"{recording.uri}: longer than {longest:g} s, which this codec encodes in one "
                "piece: cut it with start and end "
                "in a manifest, or raise --max-chunk-seconds"
            )
            raise RecordingError(FailureKind.TOO_LONG, message, "encode")

    def _finished(self, ended: Iterator[Pending]) -> Iterator[Row]:
        for pending in ended:
            self._worker.progress.recordings += 1
            if pending.error is not None:
                self._fail(pending.recording, pending.error)
                if self.passing:
                    self.passing.drop(pending.recording.id)
                continue
            row = self._row(pending)
            if self.passing:
                self.passing.end(row, self._job.name, pending.facts, pending.chunks)
            yield row

    def _row(self, pending: Pending) -> Row:
        recording, report = pending.recording, pending.facts
        meta = dict(recording.meta)
        if report.audio.flags:
            meta["flags"] = list(report.audio.flags)
            self._flags.update(report.audio.flags)
        if report.audio.gaps:
            meta["gaps"] = [list(gap) for gap in report.audio.gaps]
        if report.audio.tracks > 1:
            meta["audio_tracks"] = report.audio.tracks
        for name in ("start", "end"):
            if getattr(recording, name) is not None:
                meta[name] = getattr(recording, name)
        return Row(
            id=recording.id,
            codes=assemble(pending.in_order(), pending.num_samples, self._spec),
            channels=self._spec.channels,
            source_uri=recording.uri,
            source_sample_rate=report.audio.source_sample_rate,
            source_channels=report.audio.source_channels,
            source_sha256=report.source_sha256,
            text=recording.text,
            language=recording.language,
            speaker=recording.speaker,
            meta=meta,
        )

    def _fail(self, recording: Recording, error: RecordingError) -> None:
        self._failures[recording.id] = Failure(
            recording.id, recording.uri, str(error.kind), error.message, error.stage
        )
        self._worker.progress.failures += 1

    def _advance(self, samples: int) -> None:
        self._worker.progress.seconds += samples / self._spec.sample_rate
        self._update()
        self._worker.on_progress()

    def _update(self) -> None:
        progress = self._worker.progress
        progress.wall = time.perf_counter() - self._began
        progress.decode_wait = self._worker.decoder.waited - self._waited_before
        progress.encode_wait = self._packer.encode_wait
        progress.decode = self._worker.decoder.busy - self._decoded_before
        progress.encode = self._worker.encoder.busy - self._encoded_before

    def _timings(self) -> dict[str, float]:
        progress = self._worker.progress
        return {name: round(getattr(progress, name), 3) for name in TIMINGS}
