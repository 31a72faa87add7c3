"""One shard as a function of its recordings: read, cut, encode; rows come out, and a record of what
was done. Knows nothing of Ray."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.corpus.absence import Absence
from pipelines.corpus.open_files import reading_order
from pipelines.corpus.own_keys import beside
from pipelines.corpus.reader import Decoder, DecodeSettings, Decoding
from pipelines.corpus.tables.word_times import OUTSIDE, beyond, without_words
from pipelines.output.formats.schema import Row, ShardStats, counted, encode_meta
from pipelines.output.manifest.commits import CommitRecord, Failure, pack_counts
from pipelines.output.manifest.records import TIMINGS
from pipelines.output.plans.placing import estimated
from pipelines.output.quality.figures import Values
from pipelines.output.quality.keep import Keep
from pipelines.tokenizing.encoders import Chunk, Encoder
from pipelines.tokenizing.jobs import Journal, ShardJob, WorkSettings
from pipelines.tokenizing.observer import Observer, Watch
from pipelines.tokenizing.packing import Packer, Pending
from pipelines.tokenizing.pieces import PiecePacker
from pipelines.tokenizing.progress import ShardProgress
from tokenizer.chunking import ChunkCutter, PieceCutter
from tokenizer.codecs.base import CodecSpec, assemble
from tokenizer.errors import FailureKind, RecordingError
from tokenizer.types import Recording

HELD_CHUNKS = 32
"""of a recording that wait, under `--keep`, until it is known whether they are wanted: 12 MB of
EnCodec's"""
HELD_BYTES = 12 << 20
"""the same of pieces"""


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A shard's file, written and not committed."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Tools:
    """What a worker lends to each of its shards."""

    settings: WorkSettings
    decoder: Decoder
    encoder: Encoder
    journal: Journal
    absence: Absence
    keep: Keep | None = None


class Shard:
    """One shard on its way: recordings in, rows out, failures and sums kept."""

    def __init__(
        self,
        tools: Tools,
        job: ShardJob,
        progress: ShardProgress,
        observer: Observer | None = None,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        """`progress` is filled in, and `on_progress` called after every block."""
        self._tools, self._job, self._progress = tools, job, progress
        self._observer, self._on_progress = observer, on_progress
        self._spec = tools.settings.spec
        self._piece = tools.encoder.piece_length if self._spec.chunk_length is None else None
        self._packer = PiecePacker(tools.encoder) if self._piece else Packer(tools.encoder)
        self._stats = ShardStats()
        self._failures: dict[str, Failure] = {}
        self._flags: Counter[str] = Counter()
        self._quality = Values()
        self._uris = [recording.uri for recording in job.recordings]
        self._began = time.perf_counter()
        self._waited_before, self._decoded_before = tools.decoder.waited, tools.decoder.busy
        self._encoded_before = tools.encoder.busy

    def rows(self) -> Iterator[Row]:
        """Rows of the recordings that could be tokenized, in the plan's order."""
        return counted(self._in_order(self._rows()), self._stats, self._spec.codebook_size)

    def record(self, staged: StagedFile | None) -> CommitRecord:
        """What was done, once the rows are written."""
        planned = [recording.id for recording in self._job.recordings]
        self._update()
        return CommitRecord(
            shard=self._job.name,
            format=self._tools.settings.format,
            fingerprint=self._job.fingerprint or self._tools.settings.fingerprint,
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
            footer=self._tools.settings.footer,
            groups=self._stats.groups,
            scales=self._stats.scale_figures,
            quality=self._quality.figures(),
        )

    def _rows(self) -> Iterator[Row]:
        careful = self._job.careful
        wanted = [
            recording for recording in self._job.recordings if not self._is_quarantined(recording)
        ]
        # A careful shard takes one recording at a time, from file to codes, and says which before
        # it begins.
        for group in ([one] for one in wanted) if careful else [reading_order(wanted)]:
            if careful:
                self._tools.journal.write(self._job.name, group[0].id)
            for decoding in self._tools.decoder.decode(group):
                self._take(decoding)
                yield from self._finished(self._packer.ready())
            if careful:
                yield from self._finished(self._packer.drain())
        yield from self._finished(self._packer.drain())

    def _in_order(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Rows as planned. They come as files are read, so one whose file's segments are not in
        order waits, as codes, for those before it."""
        planned = [recording.id for recording in self._job.recordings]
        waiting: dict[str, Row] = {}
        at = 0
        for row in rows:
            waiting[row.id] = row
            while at < len(planned) and (planned[at] in waiting or planned[at] in self._failures):
                if (ready := waiting.pop(planned[at], None)) is not None:
                    yield ready
                at += 1
        yield from (waiting[id] for id in planned[at:] if id in waiting)

    def _is_quarantined(self, recording: Recording) -> bool:
        if recording.id not in self._job.quarantined:
            return False
        message = f"{recording.uri}: the process that worked on it died, again and again"
        self._fail(recording, RecordingError(FailureKind.QUARANTINED, message, "encode"))
        return True

    def _take(self, decoding: Decoding) -> None:
        """Read one recording and send its chunks on their way."""
        pending = self._packer.begin(decoding.recording)
        watch = self._observer.begin(decoding.recording.id) if self._observer else None
        spec, progress, planned = self._spec, self._progress, self._progress.planned
        cutter = (
            PieceCutter(spec.channels, self._piece)
            if self._piece
            else ChunkCutter(spec.channels, spec.chunk_length, spec.chunk_stride)
        )
        held = _Held(self._most_held())
        try:
            for block in decoding:
                chunks = held.push(cutter.push(block))
                self._limit(decoding.recording, cutter.num_samples)
                self._send(pending, chunks, watch)
                read = cutter.num_samples / spec.sample_rate
                progress.planned = planned + min(read, estimated(decoding.recording))
                self._advance(block.shape[1])
            pending.facts = decoding.report
            pending.num_samples = cutter.num_samples
            self._tools.absence.found()
            if self._tools.keep is not None:
                known = _known(pending, spec, self._tools.settings.decode)
                self._tools.keep.require(known)
            self._send(pending, held.rest() + cutter.finish(), watch, last=True)
        except RecordingError as error:
            self._tools.absence.failed(error, decoding.recording, self._uris)
            pending.fail(error)
        progress.planned = planned + estimated(decoding.recording)
        pending.num_samples = cutter.num_samples
        pending.ended = True

    def _most_held(self) -> int:
        """Chunks or pieces that wait, under `--keep`."""
        if self._tools.keep is None:
            return 0
        if self._piece is None:
            return HELD_CHUNKS
        size = self._spec.channels * self._piece * np.float32().nbytes
        return max(1, HELD_BYTES // size)

    def _send(
        self, pending: Pending, chunks: list[Chunk], watch: Watch | None, last: bool = False
    ) -> None:
        """`last`: the recording ends with them."""
        for number, chunk in enumerate(chunks, 1):
            self._packer.add(pending, chunk, last and number == len(chunks))
            if watch and pending.error is not None:  # its codes will not come
                watch.fail(pending.error)
            elif watch:
                watch.push(chunk)
                watch.advance(pending.chunks)

    def _limit(self, recording: Recording, num_samples: int) -> None:
        """A codec that takes recordings whole needs memory for all of one, and that sets an end to
        their length."""
        spec = self._spec
        if spec.chunk_length is not None or self._piece is not None:
            return
        longest = self._tools.settings.max_chunk_seconds
        if num_samples > longest * spec.sample_rate:
            message = (
                f"{recording.uri}: longer than {longest:g} s, which this codec encodes in one "
                "piece: cut it with start and end "
                "in a manifest, or raise --max-chunk-seconds"
            )
            raise RecordingError(FailureKind.TOO_LONG, message, "encode")

    def _finished(self, ended: Iterator[Pending]) -> Iterator[Row]:
        for pending in ended:
            self._progress.recordings += 1
            if pending.error is not None:
                self._fail(pending.recording, pending.error)
                if self._observer:
                    self._observer.drop(pending.recording.id)
                continue
            row = self._row(pending)
            if self._observer:
                self._observer.end(row, self._job.name, pending.facts, pending.chunks)
            self._quality.add(row.quality)
            yield row

    def _row(self, pending: Pending) -> Row:
        recording, report = pending.recording, pending.facts
        flags = list(report.audio.flags)
        wrong = beyond(recording.meta, pending.num_samples / self._spec.sample_rate)
        if wrong is not None:
            flags.append(OUTSIDE)
        meta = _meta(pending, self._tools.settings.decode, flags)
        if wrong is not None:
            meta = without_words(meta, wrong)
        self._flags.update(flags)
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
            quality=report.quality,
        )

    def _fail(self, recording: Recording, error: RecordingError) -> None:
        self._failures[recording.id] = Failure(
            recording.id, recording.uri, str(error.kind), error.message, error.stage
        )
        if error.kind == FailureKind.FILTERED:
            self._progress.filtered += 1
        else:
            self._progress.failures += 1

    def _advance(self, samples: int) -> None:
        self._progress.seconds += samples / self._spec.sample_rate
        self._update()
        self._on_progress()

    def _update(self) -> None:
        progress, tools = self._progress, self._tools
        progress.wall = time.perf_counter() - self._began
        progress.decode_wait = tools.decoder.waited - self._waited_before
        progress.encode_wait = self._packer.encode_wait
        progress.decode = tools.decoder.busy - self._decoded_before
        progress.encode = tools.encoder.busy - self._encoded_before

    def _timings(self) -> dict[str, float]:
        return {name: round(getattr(self._progress, name), 3) for name in TIMINGS}


TAGS, FILE_TAGS = "tags", "file_tags"
"""keys in `meta`"""


class _Held:
    """The first chunks of a recording, for as long as it has no more of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._chunks: list[Chunk] = []

    def push(self, chunks: list[Chunk]) -> list[Chunk]:
        """What is to go on its way now."""
        self._chunks += chunks
        if len(self._chunks) <= self._most:
            return []
        self._most = 0
        return self.rest()

    def rest(self) -> list[Chunk]:
        """All that is held."""
        chunks, self._chunks = self._chunks, []
        return chunks


def _meta(
    pending: Pending, settings: DecodeSettings, flags: Sequence[str] | None = None
) -> dict[str, Any]:
    """What the source says of a recording, and what was found out while it was read; `flags` where
    there are more than those of its audio."""
    recording, audio = pending.recording, pending.facts.audio
    ours: dict[str, Any] = {}
    if pending.facts.tags:  # a corpus may have tags of its own
        ours[FILE_TAGS if TAGS in recording.meta else TAGS] = dict(pending.facts.tags)
    if found := list(audio.flags if flags is None else flags):
        ours["flags"] = found
    if audio.gaps:
        ours["gaps"] = [list(gap) for gap in audio.gaps]
    if audio.tracks > 1:
        ours["audio_tracks"] = audio.tracks
    if settings.stream is not None:
        ours["audio_track"] = audio.track
    if audio.channel is not None:
        ours["channel"] = audio.channel
    for name in ("start", "end"):
        if getattr(recording, name) is not None:
            ours[name] = getattr(recording, name)
    return beside(recording.meta, ours)


def _known(pending: Pending, spec: CodecSpec, settings: DecodeSettings) -> dict[str, Any]:
    """What `--keep` can ask for, of a recording that was read."""
    recording, report = pending.recording, pending.facts
    return {
        "id": recording.id,
        "num_samples": pending.num_samples,
        "seconds": pending.num_samples / spec.sample_rate,
        "sample_rate": spec.sample_rate,
        "channels": spec.channels,
        "source_uri": recording.uri,
        "source_sample_rate": report.audio.source_sample_rate,
        "source_channels": report.audio.source_channels,
        "source_sha256": report.source_sha256,
        "text": recording.text,
        "language": recording.language,
        "speaker": recording.speaker,
        "meta": encode_meta(_meta(pending, settings)),
        **report.quality,
    }
