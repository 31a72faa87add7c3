"""What a shard's row is, and what its footer says: DESIGN of the columns, in one place for every
format."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.output.manifest.spread import figures_of
from tokenizer.audio.quality import MEASURES, described
from tokenizer.audio.quality.base import as_float32
from tokenizer.codecs.base import CodecSpec
from tokenizer.types import Codes

SCHEMA_VERSION = 1
FOOTER_KEY = "codecshards"
ARROW_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("codes", pa.list_(pa.list_(pa.uint16())), nullable=False),
        pa.field("scales", pa.list_(pa.float32())),
        pa.field("chunk_frames", pa.list_(pa.uint16()), nullable=False),
        pa.field("num_samples", pa.int64(), nullable=False),
        pa.field("sample_rate", pa.int32(), nullable=False),
        pa.field("channels", pa.int8(), nullable=False),
        pa.field("source_uri", pa.string()),
        pa.field("source_sample_rate", pa.int32()),
        pa.field("source_channels", pa.int32()),
        pa.field("source_sha256", pa.string()),
        pa.field("text", pa.string()),
        pa.field("language", pa.string()),
        pa.field("speaker", pa.string()),
        pa.field("meta", pa.string()),
    ]
)
"""of every shard; columns of quality follow"""
SECONDS = "seconds"
"""a column that shards do not have: their samples over their rate"""
_CHECKSUMS = "crc32"
"""of arrays that lie in files of their own, among a row's facts in some formats"""


def quality_fields(names: Iterable[str]) -> list[pa.Field]:
    """The columns of quality measures."""
    return [pa.field(name, pa.float32()) for name in names]


def arrow_schema(names: Iterable[str]) -> pa.Schema:
    """The columns of a shard with these quality measures: the keys of its footer's "quality"."""
    return pa.schema([*ARROW_SCHEMA, *quality_fields(names)])


def measures_in(columns: Iterable[str]) -> tuple[str, ...]:
    """The quality measures among the columns, or facts, of a shard."""
    return tuple(name for name in columns if name not in _OTHERS)


_OTHERS = frozenset(ARROW_SCHEMA.names) | {_CHECKSUMS}


def scalars(schema: pa.Schema) -> pa.Schema:
    """The columns that hold one value a row."""
    return pa.schema([one for one in schema if not pa.types.is_nested(one.type)])


SCALARS = scalars(ARROW_SCHEMA)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One tokenized recording."""

    id: str
    codes: Codes
    channels: int
    """of the codec; the source's are below"""
    source_uri: str
    source_sample_rate: int
    source_channels: int
    source_sha256: str
    text: str | None = None
    language: str | None = None
    speaker: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    quality: Mapping[str, float | None] = field(default_factory=dict)
    """what each measure says, as a float32 holds it; None where it says nothing"""

    def facts(self) -> dict[str, Any]:
        """Everything but the arrays, as the columns have it."""
        return {
            "id": self.id,
            "num_samples": self.codes.num_samples,
            "sample_rate": self.codes.sample_rate,
            "channels": self.channels,
            "source_uri": self.source_uri,
            "source_sample_rate": self.source_sample_rate,
            "source_channels": self.source_channels,
            "source_sha256": self.source_sha256,
            "text": self.text,
            "language": self.language,
            "speaker": self.speaker,
            "meta": encode_meta(self.meta),
            **self.quality,
        }


def encode_meta(meta: Mapping[str, Any]) -> str:
    """Metadata as one line of JSON; the same values give the same line."""
    return json.dumps(dict(meta), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def row_of(
    facts: Mapping[str, Any],
    codes: NDArray[np.uint16],
    scales: NDArray[np.float32] | None,
    chunk_frames: NDArray[np.uint16],
) -> Row:
    """The inverse of `Row.facts` and its arrays.

    Raises:
        KeyError, ValueError: a fact or an array that is missing or not what a row promises.
    """
    own = {name: facts[name] for name in ARROW_SCHEMA.names if name.startswith("source_")}
    own["source_uri"] = own["source_uri"] or ""  # nobody may say where what was adopted came from
    return Row(
        id=facts["id"],
        codes=Codes(
            codes, scales, chunk_frames, int(facts["num_samples"]), int(facts["sample_rate"])
        ),
        channels=int(facts["channels"]),
        text=facts["text"],
        language=facts["language"],
        speaker=facts["speaker"],
        meta=json.loads(facts["meta"] or "{}"),
        quality={name: as_float32(facts[name]) for name in measures_in(facts)},
        **own,
    )


def make_footer(
    spec: CodecSpec, version: str, quality: Mapping[str, Mapping[str, str]] | None = None
) -> dict[str, Any]:
    """What every shard says of its codes, and of its columns of quality: unit and meaning of
    each."""
    footer: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "codecshards_version": version,
        "codec": {**asdict(spec), "frame_rate": spec.frame_rate},
    }
    return footer | {"quality": dict(quality)} if quality else footer


def with_seconds(schema: pa.Schema) -> pa.Schema:
    """What conditions are about; where one reads only some columns, the others are null."""
    own = [one.with_nullable(True) for one in schema if one.name != SECONDS]
    return pa.schema([*own, pa.field(SECONDS, pa.float64())])


def unknown_measures(columns: pa.Schema) -> dict[str, dict[str, str]]:
    """What a footer would say of the columns of quality, in a file that another program has
    written: numbers that are none of ours."""
    numbers = (one.name for one in columns if pa.types.is_floating(one.type))
    return {
        name: described([name])[name] if name in MEASURES else {"unit": "", "what": ""}
        for name in measures_in(numbers)
        if name != SECONDS
    }


GROUPING = ("recording", "channel", "channels")
"""keys of `meta` that say which channel of which recording a row is, and of how many"""


def recording_of(meta: Mapping[str, Any]) -> str | None:
    """The id of the recording that a row is one channel of; None where it is all of one."""
    recording, channel = meta.get("recording"), meta.get("channel")
    return recording if isinstance(recording, str) and isinstance(channel, int) else None


@dataclass(slots=True)
class ShardStats:
    """Sums over a shard, kept while it is written."""

    rows: int = 0
    frames: int = 0
    chunks: int = 0
    num_samples: int = 0
    counts: NDArray[np.int64] | None = None
    """int64 `[n_q, codebook_size]`: how often each code occurs"""
    scales: list[NDArray[np.float32]] = field(default_factory=list)
    """float32 `[chunks]` of each row; of codecs without scales none"""
    recordings: list[tuple[Mapping[str, Any], int]] = field(default_factory=list)
    """meta of the first row of each, and its rows that follow each other"""

    @property
    def groups(self) -> tuple[int, ...]:
        """`CommitRecord.groups`. Rows of a recording that lacks some of its channels are no
        group."""
        sizes: list[int] = []
        for meta, rows in self.recordings:
            sizes += [rows] if meta.get("channels", rows) == rows else [1] * rows
        return tuple(sizes) if max(sizes, default=1) > 1 else ()

    @property
    def scale_figures(self) -> tuple[float, ...]:
        """`CommitRecord.scales`: those that are finite, in as few digits as tell float32 apart."""
        if not self.scales:
            return ()
        scales = np.concatenate(self.scales)
        count, *points = figures_of(scales[np.isfinite(scales)])
        return (count, *(float(str(np.float32(point))) for point in points))

    def place(self, meta: Mapping[str, Any]) -> None:
        """Note which recording the next row is of."""
        recording = recording_of(meta)
        before, rows = self.recordings[-1] if self.recordings else ({}, 0)
        if recording is not None and recording == recording_of(before):
            self.recordings[-1] = (before, rows + 1)
        else:
            kept = {} if recording is None else {name: meta.get(name) for name in GROUPING}
            self.recordings.append(({k: v for k, v in kept.items() if v is not None}, 1))

    def add(self, codes: Codes, codebook_size: int) -> None:
        """Count one row."""
        self.rows += 1
        self.frames += codes.frames
        self.chunks += len(codes.chunk_frames)
        self.num_samples += codes.num_samples
        if codes.scales is not None:
            self.scales.append(codes.scales)
        if self.counts is None:
            self.counts = np.zeros((codes.n_q, codebook_size), np.int64)
        for level, values in enumerate(codes.codes):
            self.counts[level] += np.bincount(values, minlength=codebook_size)


def counted(rows: Iterator[Row], stats: ShardStats, codebook_size: int) -> Iterator[Row]:
    """Rows as they pass, counted."""
    for row in rows:
        stats.add(row.codes, codebook_size)
        stats.place(row.meta)
        yield row
