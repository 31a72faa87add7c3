"""Data sets of random codes, as `tokenize` would leave them, for tests of the loader."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.output.config import TokenizeConfig
from pipelines.output.formats import shard_format
from pipelines.output.formats.schema import Row, ShardStats, make_footer
from pipelines.output.manifest.commits import CommitRecord, Manifest
from pipelines.output.manifest.names import COMMITS, DATA, hash_file
from pipelines.output.plan import write_plan
from pipelines.output.storage import LocalStorage
from pipelines.output.stored_run import StoredRun
from tokenizer.chunking import chunk_spans, frames_of
from tokenizer.codecs.base import CodecSpec
from tokenizer.codecs.mulaw import describe_mulaw
from tokenizer.types import Codes, Recording


def make_row(number: int, num_samples: int, spec: CodecSpec, repeats: bool = False) -> Row:
    """One recording with random codes; `repeats` has long stretches of one code, as silence
    does."""
    rng = np.random.default_rng(number)
    spans = chunk_spans(num_samples, spec.chunk_length, spec.chunk_stride)
    frames = [frames_of(stop - start, spec.frame_length) for start, stop in spans]
    codes = rng.integers(0, spec.codebook_size, (spec.n_q, sum(frames)), np.uint16)
    if repeats:
        for level in range(spec.n_q):
            first = int(rng.integers(sum(frames)))
            codes[level, first : first + int(rng.integers(1, 400))] = number % spec.codebook_size
    return Row(
        id=f"folder/{number:05d}.wav",
        codes=Codes(
            codes,
            rng.random(len(frames), np.float32) if spec.has_scales else None,
            np.array(frames, np.uint16),
            num_samples,
            spec.sample_rate,
        ),
        channels=2,
        source_uri=f"/corpus/{number:05d}.wav",
        source_sample_rate=44_100,
        source_channels=1,
        source_sha256="ab" * 32,
        text=None if number % 3 == 2 else f"text {number} ä",
        language="de",
        meta={
            "take": number,
            "alignment": [[0.5 * i, 0.5 * i + 0.4, f"w{i}"] for i in range(num_samples // 24_000)],
        },
    )


def make_rows(count: int, spec: CodecSpec, longest: float = 12.0, first: int = 0) -> list[Row]:
    """Recordings of random lengths up to `longest` seconds, some very short, some with repeats."""
    lengths = np.random.default_rng(first).integers(1, int(longest * spec.sample_rate), count)
    return [
        make_row(first + i, int(length), spec, repeats=i % 4 == 1)
        for i, length in enumerate(lengths)
    ]


def write_output(
    root: Path,
    rows: Sequence[Row],
    shards: int = 3,
    form: str = "parquet",
    spec: CodecSpec | None = None,
    manifest: bool = True,
) -> Path:
    """An output folder, with its configuration and commit records, or only its data."""
    spec = spec or describe_mulaw(6.0)
    storage = LocalStorage(str(root))
    stored = StoredRun(
        TokenizeConfig("corpus", codec="mulaw", bandwidth=spec.bandwidth, format=form),
        spec,
        "1.2.3",
    )
    footer = make_footer(spec, "1.2.3")
    if manifest:
        recordings = [Recording(row.id, row.source_uri, seconds=1.0) for row in rows]
        parts = [
            recordings[len(rows) * n // shards : len(rows) * (n + 1) // shards]
            for n in range(shards)
        ]
        placed = ((number, one) for number, part in enumerate(parts) for one in part)
        Manifest(storage).begin(stored, write_plan(placed, "train"))
        stored = Manifest(storage).require_config()
    for number in range(shards):
        here = rows[len(rows) * number // shards : len(rows) * (number + 1) // shards]
        shard = f"train-{number:05d}-of-{shards:05d}"
        path = root / DATA / shard_format(form).file_name(shard)
        path.parent.mkdir(parents=True, exist_ok=True)
        shard_format(form).write(str(path), here, footer)
        if manifest:
            storage.create(
                f"{COMMITS}/{shard}.json",
                _record(shard, form, stored.fingerprint, here, path).to_json(),
            )
    return root


def _groups(rows: Sequence[Row]) -> tuple[int, ...]:
    stats = ShardStats()
    for row in rows:
        stats.place(row.meta)
    return stats.groups


def _record(shard: str, form: str, print_of: str, rows: Sequence[Row], path: Path) -> CommitRecord:
    return CommitRecord(
        shard=shard,
        format=form,
        fingerprint=print_of,
        rows=len(rows),
        frames=sum(row.codes.frames for row in rows),
        chunks=sum(len(row.codes.chunk_frames) for row in rows),
        num_samples=sum(row.codes.num_samples for row in rows),
        bytes=path.stat().st_size,
        sha256=hash_file(str(path)),
        staged=None,
        failures=(),
        groups=_groups(rows),
    )
