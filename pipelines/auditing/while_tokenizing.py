"""The audit in passing: a share of the recordings is decoded while `tokenize` still has their
waveforms in memory.

    reader ── blocks ──▶ chunks ──▶ encoder ──▶ codes ──▶ shard
                           │                      │
                           └─ held until ─────────┤
                              the codes come      ▼
                             Watched: decode, compare, forget  ──▶ OUT/audit/passing/SHARD.json

The waveform that is compared is the very one that was encoded: chunk `i`'s first stride of samples
is segment `i` of the recording, so nothing is held that is not on its way through the encoder
anyway, and the stretch that the page plays. Which recordings are taken follows from their ids and
the share alone, so any run over the same corpus takes the same ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipelines.auditing.choose.share import number
from pipelines.auditing.measure.pairs import Block
from pipelines.auditing.meters import Meters, record
from pipelines.auditing.options import AuditOptions
from pipelines.auditing.page.clips import MOST_HEARD, PageFiles, choose_stretch
from pipelines.auditing.places import PASSING
from pipelines.auditing.results import RecordingAudit
from pipelines.corpus.reader import DecodeReport
from pipelines.output.formats.schema import Row
from pipelines.output.storage import Storage
from tokenizer.chunking import OverlapAdd
from tokenizer.codecs.base import ChunkCodes, Codec
from tokenizer.codecs.flow.decoding import PieceDecoder
from tokenizer.errors import RecordingError
from tokenizer.types import Codes

WHY = "in passing"
_ENDLESS = 1 << 62


@dataclass(frozen=True, slots=True)
class PassingSettings:
    """Which recordings are audited in passing, and how; small and picklable."""

    below: int
    """those with a number below this are"""
    options: AuditOptions
    heard: int = MOST_HEARD
    """recordings that share the page's room for sound"""

    @classmethod
    def over(cls, below: int, ids: Iterable[str], options: AuditOptions) -> PassingSettings:
        """For these recordings; without the page's files when it has no room for all, as nobody
        knows yet which are worst."""
        taken = sum(number(id) < below for id in ids)
        return cls(
            below,
            replace(options, page=options.page and taken <= MOST_HEARD),
            min(taken, MOST_HEARD),
        )

    def takes(self, id: str) -> bool:
        return number(id) < self.below

    def observer(self, storage: Storage, codec: Codec) -> PassingAudit:
        """Of one shard's tokenization."""
        return PassingAudit(self, storage, codec)


class Watched:
    """One recording that is audited in passing: its chunks wait here until their codes have
    come."""

    def __init__(self, codec: Codec, options: AuditOptions) -> None:
        spec = codec.spec
        self._codec, self._options = codec, options
        self._meters = Meters(spec, options.metrics, options.clip_seconds if options.page else None)
        self._joined = None
        if spec.chunk_length is not None and spec.chunk_stride is not None:
            self._joined = OverlapAdd(spec.channels, _ENDLESS, spec.chunk_stride)
        piecewise = spec.chunk_length is None and codec.piece_length is not None
        self._pieces = _Pieces(codec, self._meters) if piecewise else None
        self._waiting: list[Block] = []
        self._done = 0
        """chunks that are compared and forgotten"""
        self.error: RecordingError | None = None
        """why it could not be decoded; what is left is not tried"""

    def push(self, chunk: Block) -> None:
        """Take in the next chunk as the encoder gets it, float32 `[channels, n]`; it must not be
        changed afterwards."""
        if self.error is None:
            self._waiting.append(chunk)

    def fail(self, error: RecordingError) -> None:
        """Give the recording up, and let go of what waits for codes that will not come."""
        self.error, self._waiting = error, []

    def advance(self, codes: Mapping[int, ChunkCodes]) -> None:
        """Compare what can be compared now; `codes` are those that have come, by the chunk's
        index."""
        ready: list[ChunkCodes] = []
        while len(ready) < len(self._waiting) and self._done + len(ready) in codes:
            ready.append(codes[self._done + len(ready)])
        if self._pieces is not None:
            self._compare_pieces(self._pieces, ready)
            return
        for start in range(0, len(ready), self._codec.batch_chunks):
            self._compare(ready[start : start + self._codec.batch_chunks])

    def end(self, codes: Mapping[int, ChunkCodes]) -> None:
        """All codes have come: compare the rest."""
        self.advance(codes)
        if self._pieces is not None and self.error is None:
            self._compare_pieces(self._pieces, [], last=True)

    def _compare_pieces(self, pieces: _Pieces, codes: list[ChunkCodes], last: bool = False) -> None:
        try:
            for one in codes:
                source = self._waiting.pop(0)
                self._done += 1
                pieces.add(source, one)
            if last:
                pieces.finish()
        except RecordingError as error:
            self.fail(error)

    def _compare(self, codes: list[ChunkCodes]) -> None:
        try:
            decoded = self._codec.decode_chunks(codes)
        except RecordingError as error:
            self.fail(error)
            return
        chunks, self._waiting = self._waiting[: len(codes)], self._waiting[len(codes) :]
        for chunk, samples in zip(chunks, decoded, strict=True):
            self._done += 1
            for source, again in self._segments(chunk, samples[:, : chunk.shape[1]]):
                self._meters.add(source, again)

    def _segments(self, chunk: Block, decoded: Block) -> Iterator[tuple[Block, Block]]:
        """The segments that a chunk completes, of source and reconstruction."""
        segment = self._meters.segment
        if self._joined is not None:
            yield chunk[:, :segment], self._joined.push(decoded)
            return
        for start in range(0, chunk.shape[1], segment):
            yield chunk[:, start : start + segment], decoded[:, start : start + segment]

    def result(
        self, row: Row, shard: str, report: DecodeReport, files: PageFiles
    ) -> RecordingAudit | None:
        """What was found out, without what only the rest of the corpus shows; None when it could
        not be decoded."""
        if self.error is not None or self._waiting:
            return None
        found = replace(
            record(row, shard, WHY, self._meters.segment),
            source_seconds=round(report.audio.num_samples / self._codec.sample_rate, 6),
            figures=self._meters.figures(),
            series=self._meters.series(),
            findings=tuple(self._meters.findings(row, report, None)),
        )
        if not self._options.page:
            return found
        kept = self._meters.kept
        stretch = choose_stretch(
            kept.worst, row.codes.num_samples, self._codec.spec, self._options.clip_seconds
        )
        return replace(
            found, page=files.write(row.id, row.codes, stretch, kept.stretch(stretch.first_segment))
        )


class _Pieces:
    """A recording that was encoded in pieces: its codes, and what they decode to, come later than
    its samples, which wait."""

    def __init__(self, codec: Codec, meters: Meters) -> None:
        self._decoder, self._meters = PieceDecoder(codec), meters
        self._source = np.zeros((codec.channels, 0), np.float32)
        self._decoded = self._source

    def add(self, source: Block, codes: ChunkCodes) -> None:
        """The next piece, and the codes that it brought to light."""
        self._source = np.concatenate([self._source, source], axis=1)
        self._measure(self._decoder.push(codes.codes), self._meters.segment)

    def finish(self) -> None:
        """The last codes have come."""
        self._measure(self._decoder.finish(), 1)

    def _measure(self, decoded: Block, least: int) -> None:
        self._decoded = np.concatenate([self._decoded, decoded], axis=1)
        segment = self._meters.segment
        while (common := min(self._source.shape[1], self._decoded.shape[1])) >= least:
            count = min(common, segment)
            self._meters.add(self._source[:, :count], self._decoded[:, :count])
            self._source, self._decoded = self._source[:, count:], self._decoded[:, count:]


class PassingAudit:
    """What a shard's worker audits in passing, and where it writes what it found."""

    def __init__(self, settings: PassingSettings, storage: Storage, codec: Codec) -> None:
        self._settings, self._storage, self._codec = settings, storage, codec
        self._watched: dict[str, Watched] = {}
        self._results: dict[str, Any] = {}

    def begin(self, id: str) -> Watched | None:
        """A recording begins; None when it is not audited."""
        if not self._settings.takes(id):
            return None
        self._watched[id] = Watched(self._codec, self._settings.options)
        return self._watched[id]

    def drop(self, id: str) -> None:
        """The recording has failed."""
        self._watched.pop(id, None)

    def end(
        self, row: Row, shard: str, report: DecodeReport, codes: Mapping[int, ChunkCodes]
    ) -> None:
        """The recording has become a row.

        Raises:
            OutputError: OUT cannot be written.
        """
        watched = self._watched.pop(row.id, None)
        if watched is None:
            return
        watched.end(codes)
        try:
            found = watched.result(
                row, shard, report, PageFiles(self._storage, self._codec, self._settings.heard)
            )
        except (
            RecordingError
        ):  # its codes are fine, or it would have no row: it is audited afterwards
            return
        if found is not None:
            self._results[row.id] = {"codes": digest(row.codes), "result": found.to_json()}

    def write(self, shard: str) -> None:
        """Keep what was found of a shard that is about to be committed, whole or not at all.

        Raises:
            OutputError: OUT cannot be written.
        """
        if self._results:
            values = {"of": self._settings.options.fingerprint({}), "recordings": self._results}
            text = json.dumps(values, ensure_ascii=False)
            self._storage.write(part_name(shard), text.encode("utf-8", "backslashreplace"))
        self._results = {}


def part_name(shard: str) -> str:
    """Where a shard's results lie, in the output folder."""
    return f"{PASSING}/{shard}.json"


def digest(codes: Codes) -> str:
    """Hash of everything that decides what codes decode to: tells whether a row is the one that was
    decoded."""
    found = hashlib.sha256(f"{codes.codes.shape} {codes.num_samples} {codes.sample_rate}".encode())
    for array in (codes.codes, codes.chunk_frames, codes.scales):
        if array is not None:
            found.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return found.hexdigest()
