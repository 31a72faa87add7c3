"""Every row of every committed shard, read once without decoding anything: what there is to choose
from, and what is odd."""

from __future__ import annotations

import math
import sys
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.auditing.choose.entries import Spooled
from pipelines.auditing.results import FindingName, Remark
from pipelines.output.formats import ShardFormat
from pipelines.output.formats.schema import Row
from pipelines.output.manifest.commits import Manifest
from pipelines.output.manifest.names import hash_stored
from pipelines.output.plan import PlannedShard
from pipelines.output.plans.together import Plans
from pipelines.output.stored_run import StoredRun
from tokenizer.errors import ShardError
from tokenizer.types import Codes, Recording

SILENT_SCALE = 1e-6
"""scales below this are of silent chunks (EnCodec gives them 1e-8)"""
KNOWN_FLAGS = frozenset(
    {"silent", "antiphase", "clipped", "truncated", "damaged", "other_tracks", "mono"}
)
"""those of `tokenizer.audio.stream.AudioReport`; a source may have a field of that name with
anything in it"""
LOUD = 2.0
"""scales above this are of no chunk within full scale"""
BIN_DB = 3
"""width of the bins in which scales are counted"""


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
    """share of the chunks of 10 frames or more that are not silent and whose codes never change, at
    any level"""
    source_sha256: str
    source_sample_rate: int
    flags: tuple[str, ...]
    """those that tokenization set"""

    @property
    def content(self) -> tuple[str, float | None, float | None, int | None]:
        """What two recordings share when they are the same audio."""
        recording = self.recording
        return (self.source_sha256, recording.start, recording.end, recording.channel)


class Columns:
    """The few numbers of every row that are looked at again and again: some 30 bytes each, so that
    rows on disk need not be read for them."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.lengths = array("q")
        """samples"""
        self.levels = array("d")
        """dB; NaN where there is none"""
        self.contents = array("q")
        """hashes of `Entry.content`"""
        self.marked = array("b")
        """1 where codes, scales or flags are odd by themselves"""
        self.shards: list[str] = []
        self.samples: Counter[int] = Counter()
        """of all rows, by the rate of their sources"""
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """Take one more."""
        self.lengths.append(entry.num_samples)
        self.levels.append(math.nan if entry.level is None else entry.level)
        self.contents.append(hash(entry.content))
        self.marked.append(bool(entry.stuck > 0 or entry.loudest > LOUD or entry.flags))
        self.shards.append(sys.intern(entry.shard))
        self.samples[entry.source_sample_rate] += entry.num_samples


class Entries(Spooled[Entry]):
    """All rows, on disk, and their columns in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.columns = Columns()

    def append(self, item: Entry) -> None:
        super().append(item)
        self.columns.add(item)


def columns_of(entries: Sequence[Entry]) -> Columns:
    """Those that are kept, or of a plain list."""
    return entries.columns if isinstance(entries, Entries) else Columns(entries)


@dataclass(frozen=True, slots=True)
class Survey:
    """All rows that can be read, of the shards that were looked at."""

    entries: Sequence[Entry]
    remarks: tuple[Remark, ...]
    """on shards that are damaged or of another codec"""
    shards: int
    """looked at"""
    scales: Mapping[int, int]
    """chunks by scale: bin `b` counts those from `3 b` to `3 b + 3` dB"""
    silent_chunks: int
    """those whose scale is the codec's epsilon: in no bin"""
    counts: NDArray[np.int64]
    """int64 `[n_q, codebook_size]`: how often each code is stored"""


def take_survey(
    manifest: Manifest,
    plan: Plans,
    form: ShardFormat,
    stored: StoredRun,
    ids: Collection[str] = (),
) -> Survey:
    """Read every committed shard, or only those that hold one of `ids`.

    A shard that cannot be read, or is not what was committed, is remarked upon; its readable rows
    are still there.
    """
    entries = Entries()
    remarks: list[Remark] = []
    totals = _Totals(stored.codec.n_q, stored.codec.codebook_size)
    committed = {record.shard: record for record in manifest.records()}
    shards = 0
    wanted = plan.holding(ids)
    for shard in plan.shards:
        record = committed.get(shard.name)
        if record is None or record.sha256 is None:
            continue
        if ids and shard.number not in wanted:
            continue
        shards += 1
        name = manifest.place_of(record, form)
        try:
            with manifest.storage.open(name) as file:
                footer = form.footer(file, f"{manifest.storage.root}/{name}")
            remarks += _footer_remarks(shard.name, footer, stored)
            for row, recording in _rows(manifest, form, shard, name):
                entries.append(_entry(row, recording, shard.name))
                totals.add(row.codes)
            if hash_stored(manifest.storage, name) != record.sha256:
                remarks.append(
                    _damaged(
                        shard.name, f"{name} is not the file that was committed (SHA-256 differs)"
                    )
                )
        except (ShardError, FileNotFoundError) as error:
            missing = f"{name} is missing: run `codecshards verify`"
            remarks.append(
                _damaged(
                    shard.name, missing if isinstance(error, FileNotFoundError) else str(error)
                )
            )
    return Survey(entries, tuple(remarks), shards, totals.scales, totals.silent, totals.counts)


def levels_of(entries: Sequence[Entry]) -> NDArray[np.float64]:
    """The levels of all that have one, in dB."""
    levels = np.array(columns_of(entries).levels, np.float64)
    known: NDArray[np.float64] = levels[~np.isnan(levels)]
    return known


def _rows(
    manifest: Manifest, form: ShardFormat, shard: PlannedShard, name: str
) -> Iterator[tuple[Row, Recording]]:
    planned = {recording.id: recording for recording in shard.recordings}
    with manifest.storage.open(name) as file:
        for row in form.read(file, f"{manifest.storage.root}/{name}"):
            if row.id not in planned:
                raise ShardError(f"{name}: holds {row.id}, which was not planned for it")
            yield row, planned[row.id]


def _entry(row: Row, recording: Recording, shard: str) -> Entry:
    scales = row.codes.scales
    audible = (
        None
        if scales is None
        else scales[np.isfinite(scales) & (scales > SILENT_SCALE)].astype(np.float64)
    )
    level = (
        None
        if audible is None or not audible.size
        else float(10 * np.log10(np.mean(np.square(audible))))
    )
    return Entry(
        recording=recording,
        shard=shard,
        num_samples=row.codes.num_samples,
        level=level,
        loudest=0.0
        if scales is None or not scales.size
        else float(np.nan_to_num(scales, nan=np.inf).max()),
        stuck=_stuck(row.codes),
        source_sha256=row.source_sha256,
        source_sample_rate=row.source_sample_rate,
        flags=_known_flags(row.meta.get("flags")),
    )


def _known_flags(found: object) -> tuple[str, ...]:
    return tuple(flag for flag in found if flag in KNOWN_FLAGS) if isinstance(found, list) else ()


def _stuck(codes: Codes) -> float:
    """Share of chunks that hold one code throughout: no sound does that to a codec, zeroed memory
    does.

    Silence does it too. A scale tells it apart; without scales only code 0 counts, which is what
    zeroed memory holds.
    """
    frames = codes.chunk_frames.astype(np.int64)
    starts, scales = np.cumsum(frames) - frames, codes.scales
    long = np.flatnonzero(frames >= 10)
    stuck = 0
    for i in long if scales is None else long[~(scales[long] < SILENT_SCALE)]:
        chunk = codes.codes[:, starts[i] : starts[i] + frames[i]]
        stuck += bool((chunk == (0 if scales is None else chunk[:, :1])).all())
    return stuck / len(long) if len(long) else 0.0


def _footer_remarks(shard: str, footer: Mapping[str, Any], stored: StoredRun) -> Iterator[Remark]:
    written = footer.get("codec", {})
    for fact in ("weights_sha256", "bandwidth", "n_q", "sample_rate", "chunk_length"):
        expected = getattr(stored.codec, fact)
        if fact in written and written[fact] != expected:
            detail = f"{shard} was written with {fact} {written[fact]}, the corpus has {expected}"
            yield Remark(FindingName.OTHER_CODEC, detail)


def _damaged(shard: str, what: str) -> Remark:
    return Remark(FindingName.DAMAGED_SHARD, f"{shard}: {what}")


class _Totals:
    """What is counted over all rows."""

    def __init__(self, n_q: int, codebook_size: int) -> None:
        self.scales: Counter[int] = Counter()
        self.silent = 0
        self.counts = np.zeros((n_q, codebook_size), np.int64)

    def add(self, codes: Codes) -> None:
        for level, values in enumerate(codes.codes[: len(self.counts)]):
            # A damaged row may hold codes that the codec does not have: its own audit says so.
            size = self.counts.shape[1]
            self.counts[level] += np.bincount(values[values < size], minlength=size)
        if codes.scales is not None:
            known = codes.scales[np.isfinite(codes.scales) & (codes.scales > 0)]
            audible = known[known > SILENT_SCALE].astype(np.float64)
            self.silent += len(known) - len(audible)
            self.scales.update(np.floor(20 * np.log10(audible) / BIN_DB).astype(int).tolist())
