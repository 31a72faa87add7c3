"""How much of a Parquet shard a Hub that keeps content-defined chunks has already, when rows were
dropped or the folder was written anew in other shards: with pages as they are, with pages cut by
content, and with plain codes in them.

    python -m benchmarks.sharing [--rows 6000]

Chunks are cut as `xet-core` documents it: a gear hash of the bytes, chunks of 8 to 128 KB, 64 KB on
average. A shard is found again by them, whatever file it lies in.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow.parquet as pq

from benchmarks.codes_data import random_lengths, random_row
from benchmarks.machine import machine
from pipelines.output.formats import shard_format
from pipelines.output.formats.parquet import writer
from pipelines.output.formats.schema import Row, make_footer
from tokenizer.codecs.mulaw import describe_mulaw

LEAST, MOST, MEAN_BITS = 8 << 10, 128 << 10, 16
_GEAR = np.random.default_rng(0).integers(0, 1 << 63, 256, dtype=np.uint64) * np.uint64(2)
_WINDOW = 64
SPEC = describe_mulaw(6.0)
WAYS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "cut by content": {"use_content_defined_chunking": True},
    "cut by content, codes without a dictionary": {
        "use_content_defined_chunking": True,
        "use_dictionary": ["text", "language", "speaker", "meta"],
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rows", type=int, default=6000)
    asked = parser.parse_args()
    lengths = random_lengths(asked.rows * 8 / 3600, 8.0)
    rows = [random_row(number, each, SPEC) for number, each in enumerate(lengths)]
    print(f"# Chunks that are shared\n\n    python -m benchmarks.sharing --rows {asked.rows}\n")
    print(f"{machine()}. {asked.rows:,} rows of {SPEC.n_q} codebooks in 6 shards.\n")
    print(
        "| pages | MB | s to write | one row of each dropped | in 4 shards | in 6, 1% more rows |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    for name, options in WAYS.items():
        print(line(name, options, rows), flush=True)


def line(name: str, options: dict[str, Any], rows: Sequence[Row]) -> str:
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(writer.pq, "ParquetWriter", with_options(options)),
    ):
        began = time.process_time()
        first = written(Path(folder), split(rows, 6))
        took = time.process_time() - began
        known = set().union(*(chunk.keys() for chunk in map(chunks, first)))
        less = [[row for at, row in enumerate(part) if at != 100] for part in split(rows, 6)]
        more = [*rows[: len(rows) // 2], *rows[: len(rows) // 100], *rows[len(rows) // 2 :]]
        shares = [
            shared(written(Path(folder), parts), known)
            for parts in (less, split(rows, 4), split(more, 6))
        ]
    said = " | ".join(f"{share:.0%}" for share in shares)
    return f"| {name} | {sum(map(len, first)) / 1e6:.1f} | {took:.1f} | {said} |"


def with_options(options: dict[str, Any]) -> Any:
    made = pq.ParquetWriter

    def make(path: str, schema: Any, **given: Any) -> Any:
        return made(path, schema, **{**given, **options})

    return make


def split(rows: Sequence[Row], count: int) -> list[Sequence[Row]]:
    return [rows[len(rows) * n // count : len(rows) * (n + 1) // count] for n in range(count)]


def written(folder: Path, parts: Sequence[Sequence[Row]]) -> list[bytes]:
    """The files of shards."""
    found = []
    for part in parts:
        path = folder / "shard.parquet"
        shard_format("parquet").write(str(path), part, make_footer(SPEC, "1"))
        found.append(path.read_bytes())
    return found


def shared(files: Sequence[bytes], known: set[bytes]) -> float:
    """Share of the bytes whose chunks are known."""
    sizes = [(digest in known, size) for file in files for digest, size in chunks(file).items()]
    return sum(size for there, size in sizes if there) / sum(size for _, size in sizes)


def chunks(content: bytes) -> dict[bytes, int]:
    """Sizes of a file's chunks, by hash."""
    found = {}
    for start, end in spans(content):
        found[hashlib.sha256(content[start:end]).digest()] = end - start
    return found


def spans(content: bytes) -> Iterator[tuple[int, int]]:
    values = _GEAR[np.frombuffer(content, np.uint8)]
    rolling = np.zeros(len(values), np.uint64)
    for back in range(_WINDOW):
        rolling[back:] += values[: len(values) - back] << np.uint64(back)
    places = np.nonzero(rolling >> np.uint64(64 - MEAN_BITS) == 0)[0] + 1
    start = 0
    for end in (*places.tolist(), len(content)):
        while end - start > MOST:
            yield start, start + MOST
            start += MOST
        if end - start >= LEAST or end == len(content) > start:
            yield start, end
            start = end


if __name__ == "__main__":
    main()
