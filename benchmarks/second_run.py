"""What a run with nothing to do costs where OUT lies on an object store: every request to the store
is counted, and takes as long as one on a network.

    python -m benchmarks.second_run [--shards 10000] [--latency 0.05]

OUT has a shard of one recording for each of that many empty files, all of them committed. The store
is fsspec's in memory, with the latency for each request; a listing is one for every thousand names.
What is measured is `tokenize`, from its configuration to its last line, without the imports. With
`--rows` in place of that: CPU seconds of `verify` by a shard's rows, each with four codebooks.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
from fsspec.implementations.memory import MemoryFileSystem

from benchmarks.machine import machine
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.formats import shard_format
from pipelines.output.formats.schema import Row, ShardStats, counted, make_footer
from pipelines.output.manifest.commits import CommitRecord, Manifest, pack_counts
from pipelines.output.manifest.names import hash_file
from pipelines.output.storage import open_storage
from pipelines.output.verify import verify
from pipelines.run import _Run, tokenize_corpus
from pipelines.tokenizing.progress import open_display
from tokenizer.types import Codes

PAGE = 1000
"""names in one answer of a listing"""
QUIET = RunOptions(workers=0, quiet=True)


class FarStore(MemoryFileSystem):
    """A store in memory to which every request takes its time."""

    protocol = "far"
    latency = 0.0
    requests: ClassVar[Counter[str]] = Counter()
    _lock = threading.Lock()

    @classmethod
    def ask(cls, what: str, times: int = 1) -> None:
        """One request, or several after each other."""
        with cls._lock:
            cls.requests[what] += times
        time.sleep(cls.latency * times)

    def cat_file(self, path: str, *given: Any, **more: Any) -> bytes:
        self.ask("read")
        content: bytes = super().cat_file(path, *given, **more)
        return content

    def open(self, path: str, mode: str = "rb", *given: Any, **more: Any) -> Any:
        self.ask("read" if "r" in mode else "write")
        return super().open(path, mode, *given, **more)

    def pipe_file(self, path: str, *given: Any, **more: Any) -> None:
        self.ask("write")
        super().pipe_file(path, *given, **more)

    def info(self, path: str, **more: Any) -> Any:
        self.ask("look")
        return super().info(path, **more)

    def rm_file(self, path: str) -> None:
        self.ask("remove")
        self.store.pop(self._strip_protocol(path), None)

    def ls(self, path: str, *given: Any, **more: Any) -> Any:
        found = super().ls(path, *given, **more)
        self.ask("list", 1 + len(found) // PAGE)
        return found

    def find(self, path: str, *given: Any, **more: Any) -> Any:
        prefix = f"{self._strip_protocol(path)}/"
        names = [name for name in self.store if name.startswith(prefix)]
        self.ask("list", 1 + len(names) // PAGE)
        return {name: {"name": name, "size": len(self.store[name].getbuffer())} for name in names}


def commit_all(out: str) -> None:
    """A commit record for every shard, as if each held one row of an empty file."""
    storage, form = open_storage(out), shard_format("parquet")
    manifest, empty = Manifest(storage), hashlib.sha256(b"").hexdigest()
    fingerprint = manifest.require_config().fingerprint
    counts = pack_counts(np.random.default_rng(0).integers(0, 50, (4, 1024)))
    for name in manifest.planned_names():
        storage.write(f"data/{form.file_name(name)}", b"")
        values = (name, "parquet", fingerprint, 1, 1, 1, 1, 0, empty, None, ())
        record = CommitRecord(*values, codebook_counts=counts)
        storage.write(f"manifest/commits/{name}.json", record.to_json())


def second_run(shards: int, latency: float) -> None:
    """Print what one took."""
    fsspec.register_implementation("far", FarStore, clobber=True)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(shards):
            Path(folder, f"{number:06d}.wav").touch()
        config = TokenizeConfig(folder, codec="mulaw", shard_hours=1e-6)
        with open_display(True) as display:
            _Run(config, "far://out", QUIET, display)
        commit_all("far://out")
        FarStore.requests.clear()
        FarStore.latency = latency
        began = time.perf_counter()
        result = tokenize_corpus(config, "far://out", QUIET)
        seconds = time.perf_counter() - began
    asked = ", ".join(f"{what} {count}" for what, count in FarStore.requests.most_common())
    print(
        f"| {result.shards:,} | {latency * 1000:.0f} ms | {FarStore.requests.total():,} ({asked}) "
        f"| {seconds:.1f} |"
    )


def time_verify(rows: int) -> None:
    """Print the CPU seconds of `verify` on one shard of so many rows."""
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "corpus.csv"), f"{folder}/out"
        names = [f"{number:06d}.wav" for number in range(rows)]
        source.write_text("\n".join(["path", *names]) + "\n")
        with open_display(True) as display:
            _Run(TokenizeConfig(str(source), codec="mulaw", shard_hours=1000), out, QUIET, display)
        manifest, form = Manifest(open_storage(out)), shard_format("parquet")
        stored = manifest.require_config()
        (shard,) = manifest.read_plans().shards
        codes = np.random.default_rng(0).integers(0, 1024, (4, 100)).astype(np.uint16)
        scales, frames = np.ones(1, np.float32), np.array([100], np.uint16)
        one = Codes(codes, scales, frames, 32_000, stored.codec.sample_rate)
        row = Row("", one, stored.codec.channels, "", 48_000, 1, "0" * 64)
        made = (replace(row, id=each.id, source_uri=each.uri) for each in shard.recordings)
        stats, footer = ShardStats(), make_footer(stored.codec, stored.version)
        path = f"{out}/data/{form.file_name(shard.name)}"
        Path(path).parent.mkdir(parents=True)
        form.write(path, counted(made, stats, stored.codec.codebook_size), footer)
        sums = (stats.rows, stats.frames, stats.chunks, stats.num_samples)
        values = (shard.name, "parquet", stored.fingerprint, *sums)
        record = CommitRecord(
            *values,
            bytes=Path(path).stat().st_size,
            sha256=hash_file(path),
            staged=None,
            failures=(),
            codebook_counts=pack_counts(stats.counts),
            footer=footer,
        )
        manifest.publish(record, form)
        began = time.process_time()
        problems = verify(out)
        seconds = time.process_time() - began
    if problems:
        raise SystemExit(str(problems[0]))
    print(f"| {rows:,} | {seconds:.1f} | {seconds / rows * 1e6:.0f} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--shards", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--latency", type=float, default=0.05, help="seconds (default: 0.05)")
    parser.add_argument("--rows", type=int, nargs="+", help="time `verify` instead")
    asked = parser.parse_args()
    print(f"{machine()}.\n")
    if asked.rows:
        print("| rows of a shard | CPU seconds of `verify` | µs a row |\n|---:|---:|---:|")
        for rows in asked.rows:
            time_verify(rows)
        return 0
    print("| shards | latency | requests | seconds |\n|---:|---:|---:|---:|")
    for shards in asked.shards:
        FarStore.latency = 0.0
        FarStore.store.clear()
        second_run(shards, asked.latency)
    return 0


if __name__ == "__main__":
    sys.exit(main())
