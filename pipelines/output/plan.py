"""Recordings to shards: made once, stored, and from then on the truth about which shard holds what,
and its name."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.system.arrow import open_parquet
from tokenizer.errors import ManifestError, SourceError
from tokenizer.types import Recording

UNKNOWN_SECONDS = 10.0
"""assumed where a source cannot tell a recording's length"""
_FIELDS = pa.schema(
    [
        ("shard", pa.int32()),
        ("id", pa.string()),
        ("uri", pa.string()),
        ("locator", pa.string()),
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("seconds", pa.float64()),
        ("text", pa.string()),
        ("language", pa.string()),
        ("speaker", pa.string()),
        ("meta", pa.string()),
        ("channel", pa.int16()),
    ]
)


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """One output file to be, and what goes into it, in order."""

    name: str
    """`train-00000-of-00012`, without an ending"""
    recordings: tuple[Recording, ...]

    @property
    def seconds(self) -> float:
        """Estimated audio."""
        return sum(estimated(recording) for recording in self.recordings)


@dataclass(frozen=True, slots=True)
class Plan:
    """All shards of a corpus."""

    split: str
    shards: tuple[PlannedShard, ...]
    notes: tuple[str, ...] = ()
    """what the source found and did not use, a line for each kind"""

    @property
    def recordings(self) -> Iterator[Recording]:
        """Every recording, in order."""
        return (recording for shard in self.shards for recording in shard.recordings)

    def to_bytes(self) -> bytes:
        """The plan as a Parquet file; the same plan gives the same bytes."""
        columns: dict[str, list[object]] = {name: [] for name in _FIELDS.names}
        for number, shard in enumerate(self.shards):
            for recording in shard.recordings:
                for name, value in zip(_FIELDS.names, _to_row(number, recording), strict=True):
                    columns[name].append(value)
        schema = _FIELDS.with_metadata(
            {"split": self.split} | ({"notes": json.dumps(self.notes)} if self.notes else {})
        )
        sink = io.BytesIO()
        pq.write_table(pa.table(columns, schema), sink, compression="zstd", store_schema=True)
        return sink.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Plan:
        """The inverse of `to_bytes`.

        Raises:
            ManifestError: not a plan.
        """
        try:
            table = open_parquet(content).read(use_threads=False)
            facts = table.schema.metadata or {}
            split, notes = facts[b"split"].decode(), tuple(json.loads(facts.get(b"notes", b"[]")))
            shards: list[list[Recording]] = []
            for batch in table.to_batches(10_000):
                for row in batch.to_pylist():
                    if row["shard"] == len(shards):
                        shards.append([])
                    elif row["shard"] != len(shards) - 1:
                        raise ValueError(f"shard {row['shard']} is out of order")
                    shards[-1].append(_from_row(row))
        except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ManifestError(f"the stored plan cannot be read: {reason}") from error
        return cls(split, _named(split, shards), notes)


def make_plan(recordings: Iterable[Recording], *, shard_hours: float, split: str = "train") -> Plan:
    """Fill shards in the recordings' order, each with about `shard_hours` of audio as estimated.

    Raises:
        SourceError: no recordings, or two with one id (both are named).
    """
    shards: list[list[Recording]] = []
    for number, recording in place_in_shards(recordings, shard_hours=shard_hours):
        if number == len(shards):
            shards.append([])
        shards[number].append(recording)
    return Plan(split, _named(split, shards))


def place_in_shards(
    recordings: Iterable[Recording], *, shard_hours: float
) -> Iterator[tuple[int, Recording]]:
    """Each recording with the number of its shard, from 0; the rule that `make_plan` follows. The
    channels of one recording (`meta.recording`) stay together.

    Raises:
        SourceError: no recordings, or two with one id (both are named).
    """
    shard, filled = 0, 0.0
    before: Recording | None = None
    places: dict[str, str] = {}
    for recording in recordings:
        if recording.id in places:
            raise SourceError(
                f"two recordings have the id {recording.id!r}: {places[recording.id]} and "
                f"{recording.uri}"
            )
        places[recording.id] = recording.uri
        seconds = estimated(recording)
        full = filled + seconds > shard_hours * 3600
        if filled and full and not _together(before, recording):
            shard, filled = shard + 1, 0.0
        before, filled = recording, filled + seconds
        yield shard, recording
    if not places:
        raise SourceError(
            "the source has no recordings (a folder is searched for files with the endings of "
            "audio)"
        )


def _together(one: Recording | None, other: Recording) -> bool:
    """Whether two are channels of one recording, which lie in one shard."""
    if one is None or one.channel is None or other.channel is None:
        return False
    return "recording" in one.meta and one.meta["recording"] == other.meta.get("recording")


def estimated(recording: Recording) -> float:
    """Seconds to plan a recording with; never nothing, so that shards of very short files stay
    bounded too."""
    if recording.seconds is not None:
        return max(recording.seconds, 0.1)
    if recording.end is not None:
        return recording.end - (recording.start or 0.0)
    return UNKNOWN_SECONDS


def _named(split: str, shards: list[list[Recording]]) -> tuple[PlannedShard, ...]:
    return tuple(
        PlannedShard(shard_name(split, number, len(shards)), tuple(shard))
        for number, shard in enumerate(shards)
    )


def shard_name(split: str, number: int, shards: int) -> str:
    """`train-00000-of-00012`, the first of twelve."""
    return f"{split}-{number:05d}-of-{shards:05d}"


def _to_row(shard: int, recording: Recording) -> tuple[object, ...]:
    return (
        shard,
        recording.id,
        recording.uri,
        json.dumps(dict(recording.locator), sort_keys=True) if recording.locator else None,
        recording.start,
        recording.end,
        recording.seconds,
        recording.text,
        recording.language,
        recording.speaker,
        json.dumps(dict(recording.meta), sort_keys=True, ensure_ascii=False)
        if recording.meta
        else None,
        recording.channel,
    )


def _from_row(row: dict[str, object]) -> Recording:
    row = {"channel": None, **row}  # plans from before there was one do not have it
    own = {name: row[name] for name in _FIELDS.names if name not in ("shard", "locator", "meta")}
    locator = json.loads(str(row["locator"])) if row["locator"] else {}
    meta = json.loads(str(row["meta"])) if row["meta"] else {}
    return Recording(locator=locator, meta=meta, **own)  # type: ignore[arg-type]
