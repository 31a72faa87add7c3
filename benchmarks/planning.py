"""What a large corpus costs before its first shard: a manifest of a million rows and a folder of a
hundred thousand files are listed, planned, stored, looked up and found done.

    python -m benchmarks.planning [--rows 1000000] [--files 100000] [--work FOLDER]

Each stage is a process of its own; the table tells its CPU seconds (user and system, all threads,
imports included) and its peak memory. The files of the tables are empty, and all of them are there;
those of the folder are WAV of a second each. Every shard of the last stage has a commit record and
an empty file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.machine import machine

SECONDS = 5.3
"""that each row says its file is long"""
WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "sleeps")
KINDS = ("jsonl", "csv", "parquet")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--work", help="folder for the inputs, which stay there")
    parser.add_argument("--kinds", default=",".join(KINDS), help="default: %(default)s")
    parser.add_argument("--stage", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.stage:
        name, source, out = asked.stage
        STAGES[name](source, out)
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(json.dumps([used.ru_utime + used.ru_stime, peak_of_this()]))
        return 0
    with tempfile.TemporaryDirectory(dir=asked.work) as scratch:
        report(Path(asked.work or scratch), Path(scratch), asked)
    return 0


def report(inputs: Path, scratch: Path, asked: argparse.Namespace) -> None:
    """Print the table, as Markdown."""
    rows, files = asked.rows, asked.files
    print(f"# Planning\n\n    python -m benchmarks.planning --rows {rows} --files {files}", end="")
    print(f" --kinds {asked.kinds}\n")
    print(f"{machine()}. CPU seconds and peak MiB of a fresh process for each stage, its imports")
    seconds, peak = measure("import", "-", "-")
    print(f"among them ({seconds:.1f} s, {peak:.0f} MiB).\n")
    print("| corpus | list | list, lengths too | plan and store | find one recording ", end="")
    print("| nothing to do | plan, MB |\n|---|---|---|---|---|---|---|")
    for kind in asked.kinds.split(","):
        name = f"manifest, {rows:,} rows, {kind}"
        print(row(name, str(manifest(inputs, rows, kind)), scratch / kind), flush=True)
    folder = small_files(inputs / f"wav-{files}", files, wav_head())
    print(row(f"folder, {files:,} files", str(folder), scratch / "folder"), flush=True)


def row(name: str, source: str, out: Path) -> str:
    """One line of the table."""
    cells = []
    for stage in ("list", "lengths", "plan", "find", "commit", "resume"):
        seconds, peak = measure(stage, source, str(out))
        if stage != "commit":  # that is preparation
            cells.append(f"{seconds:.1f} s, {peak:.0f} MiB")
    size = (out / "manifest" / "plan.parquet").stat().st_size / 1e6
    return f"| {name} | {' | '.join(cells)} | {size:.1f} |"


def measure(stage: str, source: str, out: str) -> tuple[float, float]:
    """CPU seconds and peak MiB of one stage in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.planning", "--stage", stage, source, out]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    seconds, peak = json.loads(done.stdout.splitlines()[-1])
    return seconds, peak


def peak_of_this() -> float:
    """MiB that this process had at most. What `getrusage` says counts the parent's before it became
    this program too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def wav_head() -> bytes:
    """Of a second at 16 kHz; zeros that are no part of the disk follow."""
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16)
    data = struct.pack("<4sI", b"data", 32_000)
    return struct.pack("<4sI4s", b"RIFF", 32_036, b"WAVE") + fmt + data


def small_files(folder: Path, count: int, head: bytes = b"") -> Path:
    """Files to list, a thousand in a folder: empty, or a header with zeros behind it."""
    marker = folder.with_suffix(".done")
    if not marker.exists():
        for number in range(count):
            if number % 1000 == 0:
                (folder / f"{number // 1000:04d}").mkdir(parents=True, exist_ok=True)
            handle = os.open(folder / name_of(number), os.O_CREAT | os.O_WRONLY)
            if head:
                os.write(handle, head)
                os.ftruncate(handle, len(head) + 32_000)
            os.close(handle)
        marker.touch()
    return folder


def name_of(number: int) -> str:
    """Of a file, in its folder."""
    return f"{number // 1000:04d}/{number:07d}.wav"


def rows_of(count: int) -> Iterator[dict[str, object]]:
    """What a table says: path, length, text, speaker, and a field that goes to meta."""
    for number in range(count):
        said = " ".join(WORDS[(number * 7 + at) % len(WORDS)] for at in range(8))
        yield {
            "path": f"clips-{count}/{name_of(number)}",
            "duration": SECONDS,
            "text": f"{said} {number}",
            "speaker": f"s{number % 5000}",
            "quality": number % 5,
        }


def manifest(folder: Path, count: int, kind: str) -> Path:
    """A table of that many rows, and its files."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    small_files(folder / f"clips-{count}", count)
    path = folder / f"rows-{count}.{kind}"
    if path.exists():
        return path
    if kind == "jsonl":
        with path.open("w") as file:
            file.writelines(json.dumps(each) + "\n" for each in rows_of(count))
        return path
    open_writer = pyarrow.csv.CSVWriter if kind == "csv" else pq.ParquetWriter
    batches = batched(rows_of(count), 100_000)
    first = pa.Table.from_pylist(list(next(batches)))
    with open_writer(path, first.schema) as writer:
        writer.write_table(first)
        for batch in batches:
            writer.write_table(pa.Table.from_pylist(list(batch)))
    return path


def batched(rows: Iterator[Any], count: int) -> Iterator[list[Any]]:
    """So many at a time."""
    while batch := list(islice(rows, count)):
        yield batch


def list_only(source: str, out: str) -> None:
    """Every recording of the source, once."""
    from pipelines.corpus.sources import open_source

    print(sum(1 for _ in open_source(source).scan()), file=sys.stderr)


def list_lengths(source: str, out: str) -> None:
    """The same, with lengths from headers where the source says none."""
    from pipelines.corpus.by_channel import planned
    from pipelines.corpus.sources import open_source

    listed = planned(open_source(source), None, None, 60.0)
    print(sum(one.seconds or 0.0 for one in listed), file=sys.stderr)


def plan_and_store(source: str, out: str) -> None:
    """What `tokenize` does before its first shard."""
    from pipelines.output.config import RunOptions, TokenizeConfig
    from pipelines.run import _Run
    from pipelines.tokenizing.progress import open_display

    options = RunOptions(workers=0, quiet=True)
    with open_display(True) as display:
        _Run(TokenizeConfig(source, codec="mulaw"), out, options, display)


def find(source: str, out: str) -> None:
    """What `decode` does before it opens a shard."""
    from pipelines.output.export_audio import find_row
    from tokenizer.errors import UsageError

    last = middle_id(source)
    try:
        find_row(out, last)
    except UsageError as error:
        if "not done yet" not in str(error):
            raise SystemExit(str(error)) from error


def middle_id(source: str) -> str:
    """Of a recording about in the middle of the corpus."""
    path = Path(source)
    if path.is_dir():
        return name_of(int(path.name.rpartition("-")[2]) // 2)
    count = int(path.stem.rpartition("-")[2])
    return f"clips-{count}/{name_of(count // 2)}"


def commit(source: str, out: str) -> None:
    """A commit record for every shard, as if each held one row of an empty file."""
    import hashlib

    import numpy as np

    from pipelines.output.formats import shard_format
    from pipelines.output.manifest.commits import CommitRecord, Manifest, pack_counts
    from pipelines.output.storage import open_storage

    form, storage = shard_format("parquet"), open_storage(out)
    made, empty = Manifest(storage), hashlib.sha256(b"").hexdigest()
    fingerprint = made.require_config().fingerprint
    counts = pack_counts(np.random.default_rng(0).integers(0, 5000, (1, 256)))
    for name in made.planned_names():
        staged = f"manifest/staging/{name}.0123456789ab.{'0' * 32}.parquet"
        storage.write(staged, b"")
        values = (name, "parquet", fingerprint, 1, 1, 1, 1, 0, empty, staged, ())
        made.publish(CommitRecord(*values, codebook_counts=counts), form)


def resume(source: str, out: str) -> None:
    """The same command again."""
    from pipelines.output.config import RunOptions, TokenizeConfig
    from pipelines.run import tokenize_corpus

    config = TokenizeConfig(source, codec="mulaw")
    done = tokenize_corpus(config, out, RunOptions(workers=0, quiet=True))
    print(asdict(done), file=sys.stderr)


def imports(source: str, out: str) -> None:
    """Nothing but the program itself."""
    import pipelines.run  # noqa: F401


STAGES: dict[str, Callable[[str, str], None]] = {
    "import": imports,
    "list": list_only,
    "lengths": list_lengths,
    "plan": plan_and_store,
    "find": find,
    "commit": commit,
    "resume": resume,
}

if __name__ == "__main__":
    sys.exit(main())
