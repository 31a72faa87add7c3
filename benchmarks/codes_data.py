"""Data sets of seeded random codes for the loader's benchmarks: written by the shard formats,
committed as `tokenize` commits.

No codec takes part: random codes cost as many bytes as any and can be told apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from pipelines.output.config import TokenizeConfig
from pipelines.output.formats import shard_format
from pipelines.output.formats.schema import Row, ShardStats, counted, make_footer
from pipelines.output.manifest.commits import CommitRecord
from pipelines.output.manifest.names import COMMITS, CONFIG, DATA, hash_file
from pipelines.output.storage import LocalStorage
from pipelines.output.stored_run import PlanFacts, StoredRun
from tokenizer.chunking import chunk_spans, frames_of
from tokenizer.codecs.base import CodecSpec
from tokenizer.codecs.mulaw import describe_mulaw
from tokenizer.sealing import seal, unseal
from tokenizer.types import Codes

VERSION = "benchmark"


def random_lengths(hours: float, mean_seconds: float, seed: int = 0) -> list[float]:
    """Seconds of recordings that make up so many hours, each from half to one and a half times the
    mean."""
    count = max(1, round(hours * 3600 / mean_seconds))
    lengths: list[float] = (
        mean_seconds * np.random.default_rng(seed).uniform(0.5, 1.5, count)
    ).tolist()
    return lengths


def write_data_set(
    root: Path,
    seconds: Sequence[float],
    n_q: int,
    shards: int,
    form: str = "parquet",
    seed: int = 0,
) -> Path:
    """An output of `tokenize` as the loader finds it: shards, commit records, configuration."""
    spec = describe_mulaw(1.5 * n_q)
    stored = StoredRun(
        TokenizeConfig("random", codec="mulaw", bandwidth=spec.bandwidth, format=form),
        spec,
        VERSION,
        _plan_facts(shards, len(seconds)),
    )
    storage = LocalStorage(str(root))
    for number in range(shards):
        here = range(len(seconds) * number // shards, len(seconds) * (number + 1) // shards)
        shard = f"train-{number:05d}-of-{shards:05d}"
        path = root / DATA / shard_format(form).file_name(shard)
        path.parent.mkdir(parents=True, exist_ok=True)
        stats = ShardStats()
        rows = counted(
            (random_row(i, seconds[i], spec, seed) for i in here), stats, spec.codebook_size
        )
        shard_format(form).write(str(path), rows, make_footer(spec, VERSION))
        storage.create(
            f"{COMMITS}/{shard}.json",
            _record(shard, form, stored.fingerprint, stats, path).to_json(),
        )
    storage.create(CONFIG, seal(stored.to_json()))
    return root


def _plan_facts(shards: int, recordings: int) -> PlanFacts:
    """What a configuration says of its plan; the loader never reads the plan itself, and there is
    none."""
    return PlanFacts("0" * 64, "train", shards, recordings)


def random_row(number: int, seconds: float, spec: CodecSpec, seed: int = 0) -> Row:
    """One recording of random codes."""
    rng = np.random.default_rng([seed, number])
    num_samples = max(1, round(seconds * spec.sample_rate))
    spans = chunk_spans(num_samples, spec.chunk_length, spec.chunk_stride)
    frames = np.array(
        [frames_of(stop - start, spec.frame_length) for start, stop in spans], np.uint16
    )
    codes = rng.integers(
        0, spec.codebook_size, (spec.n_q, int(frames.sum(dtype=np.int64))), np.uint16
    )
    return Row(
        id=f"random/{number:06d}.flac",
        codes=Codes(
            codes, rng.random(len(frames), np.float32), frames, num_samples, spec.sample_rate
        ),
        channels=2,
        source_uri=f"random/{number:06d}.flac",
        source_sample_rate=44_100,
        source_channels=2,
        source_sha256=f"{number:064x}",
        text=f"recording {number}",
    )


def shard_files(root: Path) -> Iterator[Path]:
    """The shards of a data set, in order."""
    return iter(sorted((root / DATA).iterdir()))


def bytes_of(folder: Path) -> int:
    """Of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _record(shard: str, form: str, print_of: str, stats: ShardStats, path: Path) -> CommitRecord:
    return CommitRecord(
        shard=shard,
        format=form,
        fingerprint=print_of,
        rows=stats.rows,
        frames=stats.frames,
        chunks=stats.chunks,
        num_samples=stats.num_samples,
        bytes=path.stat().st_size,
        sha256=hash_file(str(path)),
        staged=None,
        failures=(),
    )


def repeat_shards(source: Path, root: Path, shards: int) -> Path:
    """A data set of many full-sized shards that costs the disk of a few: hard links to the shards
    of another, in turn."""
    (root / DATA).mkdir(parents=True)
    files, storage = list(shard_files(source)), LocalStorage(str(root))
    records = sorted((source / COMMITS).iterdir())
    for number in range(shards):
        shard = f"train-{number:05d}-of-{shards:05d}"
        (root / DATA / f"{shard}{files[0].suffix}").hardlink_to(files[number % len(files)])
        record = CommitRecord.from_json(records[number % len(files)].read_bytes(), shard)
        storage.create(f"{COMMITS}/{shard}.json", replace(record, shard=shard).to_json())
    stored = unseal((source / CONFIG).read_bytes())
    storage.create(CONFIG, seal({**stored, "plan": asdict(_plan_facts(shards, 0))}))
    return root
