"""Every row of every committed shard, read once without decoding anything: what there is to choose from, and what is odd."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.auditing.results import Finding, Severity
from pipelines.manifest import CommitRecord, Manifest, data_name, hash_stored
from pipelines.plan import Plan, PlannedShard
from pipelines.shards import ShardFormat
from pipelines.shards.schema import Row
from tokenizer.errors import ShardError
from tokenizer.types import Codes, Recording

DAMAGED = "damaged shard"
OTHER_FOOTER = "other codec"
SILENT_SCALE = 1e-6
"""scales below this are of silent chunks (EnCodec gives them 1e-8)"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row, as far as it can be judged without decoding it."""

    recording: Recording
    shard: str
    num_samples: int
    level: float | None
    """loudness in dB: the RMS of the scales; None without scales, and for silence"""
    loudest: float
    """the largest scale; 0 without scales"""
    stuck: float
    """share of the chunks of 10 frames or more whose codes never change, at any level"""
    source_sha256: str
    source_sample_rate: int
    flags: tuple[str, ...]
    """those that tokenization set"""

    @property
    def content(self) -> tuple[str, float | None, float | None]:
        """What two recordings share when they are the same audio."""
        return (self.source_sha256, self.recording.start, self.recording.end)


@dataclass(frozen=True, slots=True)
class Survey:
    """All rows that can be read."""

    entries: tuple[Entry, ...]
    findings: tuple[Finding, ...]
    """shards that are damaged or of another codec"""
    scales: tuple[float, ...]
    """a histogram's worth of chunk scales, in dB: at most `MOST_SCALES`, evenly thinned"""


MOST_SCALES = 100_000


def take_survey(manifest: Manifest, plan: Plan, form: ShardFormat, stored: Mapping[str, Any]) -> Survey:
    """Read every committed shard.

    A shard that cannot be read, or is not what was committed, becomes a finding; its readable rows are still there.
    """
    entries: list[Entry] = []
    findings: list[Finding] = []
    scales = _Thinned()
    committed = manifest.committed()
    for shard in plan.shards:
        record = committed.get(shard.name)
        if record is None or record.sha256 is None:
            continue
        name = data_name(shard.name, form)
        try:
            findings += _footer_findings(record, stored)
            for row, recording in _rows(manifest, form, shard, name):
                entries.append(_entry(row, recording, shard.name))
                scales.add(row.codes)
            if hash_stored(manifest.storage, name) != record.sha256:
                findings.append(_damaged(shard.name, f"{name} is not the file that was committed (SHA-256 differs)"))
        except (ShardError, FileNotFoundError) as error:
            missing = f"{name} is missing: run `codecshards verify`"
            findings.append(_damaged(shard.name, missing if isinstance(error, FileNotFoundError) else str(error)))
    return Survey(tuple(entries), tuple(findings), scales.values())


def _rows(manifest: Manifest, form: ShardFormat, shard: PlannedShard, name: str) -> Iterator[tuple[Row, Recording]]:
    planned = {recording.id: recording for recording in shard.recordings}
    with manifest.storage.open(name) as file:
        for row in form.read(file, f"{manifest.storage.root}/{name}"):
            if row.id not in planned:
                raise ShardError(f"{name}: holds {row.id}, which was not planned for it")
            yield row, planned[row.id]


def _entry(row: Row, recording: Recording, shard: str) -> Entry:
    scales = row.codes.scales
    audible = None if scales is None else scales[np.isfinite(scales) & (scales > SILENT_SCALE)].astype(np.float64)
    level = None if audible is None or not audible.size else float(10 * np.log10(np.mean(np.square(audible))))
    return Entry(
        recording=recording,
        shard=shard,
        num_samples=row.codes.num_samples,
        level=level,
        loudest=0.0 if scales is None or not scales.size else float(np.nan_to_num(scales, nan=np.inf).max()),
        stuck=_stuck(row.codes),
        source_sha256=row.source_sha256,
        source_sample_rate=row.source_sample_rate,
        flags=tuple(row.meta.get("flags", ())),
    )


def _stuck(codes: Codes) -> float:
    """Share of chunks that hold one code throughout: no sound does that to a codec, zeroed memory does."""
    ends = np.cumsum(codes.chunk_frames.astype(np.int64))
    chunks = [codes.codes[:, end - n : end] for end, n in zip(ends, codes.chunk_frames.astype(np.int64), strict=True) if n >= 10]
    return sum(bool((chunk == chunk[:, :1]).all()) for chunk in chunks) / len(chunks) if chunks else 0.0


def _footer_findings(record: CommitRecord, stored: Mapping[str, Any]) -> Iterator[Finding]:
    written, expected = record.footer.get("codec", {}), stored["codec"]
    for fact in ("weights_sha256", "bandwidth", "n_q", "sample_rate", "chunk_length"):
        if fact in written and written[fact] != expected[fact]:
            detail = f"{record.shard} was written with {fact} {written[fact]}, the corpus has {expected[fact]}"
            yield Finding(OTHER_FOOTER, Severity.ERROR, detail)


def _damaged(shard: str, what: str) -> Finding:
    return Finding(DAMAGED, Severity.ERROR, f"{shard}: {what}")


class _Thinned:
    """Keeps every k-th value of a stream, k doubling when there are too many."""

    def __init__(self) -> None:
        self._kept: list[float] = []
        self._every = 1
        self._seen = 0

    def add(self, codes: Codes) -> None:
        for scale in [] if codes.scales is None else codes.scales.tolist():
            if self._seen % self._every == 0 and np.isfinite(scale) and scale > 0:
                self._kept.append(round(20 * float(np.log10(scale)), 2))
            self._seen += 1
        if len(self._kept) > MOST_SCALES:
            self._kept, self._every = self._kept[::2], 2 * self._every

    def values(self) -> tuple[float, ...]:
        return tuple(self._kept)
