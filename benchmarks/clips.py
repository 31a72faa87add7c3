"""What a file costs beyond its codec, and what a shard costs beyond its files: corpora of clips of
one second.

    python -m benchmarks.clips > benchmarks/results/clips.md

The codec is `mulaw`, which costs next to nothing, so that all else shows. Whole runs (`--workers
0`: one runner and its decoder) take turns with a loop in one process that has none of the pipeline:
soundfile, soxr, the codec, a list. A clip costs the CPU time of all processes of a run, less that
of a run on a few clips and less what the codec took, over the clips. A second of sound is the same
of a run on long recordings; the difference is what a file costs. A shard costs what a run that puts
the same files in many shards takes longer than one that puts them in few. The stages are CPU time
on one core.
"""

from __future__ import annotations

import argparse
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from benchmarks.machine import machine
from pipelines.output.formats import shard_format
from pipelines.output.formats.schema import Row
from pipelines.output.manifest.commits import Manifest
from pipelines.output.manifest.names import hash_file
from pipelines.output.storage import open_storage
from tokenizer import Waveform, load_codec, read_audio
from tokenizer.allocator import keep_freed_memory
from tokenizer.codecs.base import Codec

SECONDS = 1.0
LONG = 50
"""seconds of a long recording"""
FEW, MANY = 4, 40
"""shards"""
SHAPES = {
    "wav, 16 kHz mono": ("wav", 16_000, 1),
    "flac, 44.1 kHz stereo": ("flac", 44_100, 2),
    "mp3, 44.1 kHz stereo": ("mp3", 44_100, 2),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--files", type=int, default=20_000, help="in each corpus")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES), metavar="SHAPE"
    )
    options = parser.parse_args()
    keep_freed_memory()
    shapes = (
        ""
        if options.shapes == list(SHAPES)
        else " --shapes " + " ".join(f'"{shape}"' for shape in options.shapes)
    )
    print("# Clips of one second\n")
    print(
        f"    python -m benchmarks.clips --files {options.files} --rounds "
        f"{options.rounds}{shapes}\n"
    )
    print(f"{machine()}, Python {platform.python_version()}; median of {options.rounds} rounds.\n")
    headings = [
        "a clip, ms",
        "of it a second of sound, ms",
        "of it the file, ms",
        "a clip in the bare loop, ms",
    ]
    headings += ["clips a second", "a shard, s", "start and end of a run, s"]
    print("| clips | files | " + " | ".join(headings) + " |")
    print("|---" * (2 + len(headings)) + "|", flush=True)
    stages = {}
    for name in options.shapes:
        with tempfile.TemporaryDirectory(prefix="clips-") as folder:
            write_corpora(Path(folder), options.files, *SHAPES[name])
            print(f"| {name} | {options.files:,} | {whole(Path(folder), options)} |", flush=True)
            stages[name] = measure_stages(Path(folder, "clips"), Path(folder))
    print("\nStages, milliseconds of one core for a file:\n")
    print("| clips | " + " | ".join(next(iter(stages.values()))) + " |")
    print("|---|" + "---|" * len(next(iter(stages.values()))))
    for name, figures in stages.items():
        print(
            f"| {name} | " + " | ".join(f"{1000 * value:.2f}" for value in figures.values()) + " |"
        )
    return 0


def write_corpora(folder: Path, files: int, form: str, rate: int, channels: int) -> None:
    """Noise and tones, no two alike: `clips` of a second, `long` recordings of as much sound, and a
    `handful` of the clips."""
    rng = np.random.default_rng(0)
    write_corpus(folder / "clips", files, SECONDS, form, rate, channels, rng)
    write_corpus(
        folder / "long", max(round(files * SECONDS / LONG), 1), LONG, form, rate, channels, rng
    )
    (folder / "handful").mkdir()
    for path in sorted((folder / "clips").rglob(f"*.{form}"))[:FEW]:
        shutil.copy(path, folder / "handful")


def write_corpus(
    folder: Path,
    files: int,
    seconds: float,
    form: str,
    rate: int,
    channels: int,
    rng: np.random.Generator,
) -> None:
    time_axis = np.arange(round(seconds * rate)) / rate
    for number in range(files):
        place = folder / f"{number // 1000:03d}"
        place.mkdir(parents=True, exist_ok=True)
        tone = 0.3 * np.sin(2 * np.pi * rng.uniform(60, 3000) * time_axis)[:, None]
        samples = tone + 0.02 * rng.standard_normal((len(time_axis), channels))
        soundfile.write(place / f"{number:05d}.{form}", samples, rate)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run took."""

    wall: float
    """seconds"""
    cpu: float
    """seconds of all its processes, without the codec's"""
    shards: int = 0


def whole(folder: Path, options: argparse.Namespace) -> str:
    """The cells of a row, each the median over rounds; all arms in turns."""
    files = options.files
    arms: dict[str, Callable[[Path], Cost]] = {
        "start": lambda out: run(folder / "handful", out, FEW),
        "few": lambda out: run(folder / "clips", out, files / FEW),
        "many": lambda out: run(folder / "clips", out, files / MANY),
        "long": lambda out: run(folder / "long", out, files / FEW),
        "bare": lambda out: bare(folder / "clips"),
    }
    taken: dict[str, list[Cost]] = {arm: [] for arm in arms}
    for round in range(options.rounds):
        for arm, work in arms.items():
            out = folder / f"{arm}-{round}"
            taken[arm].append(work(out))
            shutil.rmtree(out, ignore_errors=True)
    rounds = list(zip(*taken.values(), strict=True))
    clip = [1000 * (few.cpu - start.cpu) / (files - FEW) for start, few, _, _, _ in rounds]
    second = [
        1000 * SECONDS * (long.cpu - start.cpu) / (files * SECONDS - FEW)
        for start, _, _, long, _ in rounds
    ]
    columns = [
        (2, clip),
        (2, second),
        (2, [whole - part for whole, part in zip(clip, second, strict=True)]),
        (2, [1000 * loop.cpu / files for _, _, _, _, loop in rounds]),
        (0, [(files - FEW) / (few.wall - start.wall) for start, few, _, _, _ in rounds]),
        (3, [(many.wall - few.wall) / (many.shards - few.shards) for _, few, many, _, _ in rounds]),
        (1, [start.wall for start, _, _, _, _ in rounds]),
    ]
    return " | ".join(f"{statistics.median(values):.{digits}f}" for digits, values in columns)


def run(corpus: Path, out: Path, seconds: float) -> Cost:
    """The whole command, with shards of about so many seconds of audio."""
    command = [
        sys.executable,
        "-m",
        "pipelines",
        "tokenize",
        str(corpus),
        str(out),
        "--codec",
        "mulaw",
        "--quiet",
    ]
    more = ["--shard-hours", f"{seconds / 3600:.9f}", "--device", "cpu", "--workers", "0"]
    began, before = time.perf_counter(), children()
    subprocess.run([*command, *more], check=True)
    records = Manifest(open_storage(str(out))).committed().values()
    encoding = sum(record.timings["encode"] for record in records)
    return Cost(time.perf_counter() - began, children() - before - encoding, len(records))


def children() -> float:
    """CPU seconds of all processes that were started from here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def bare(corpus: Path) -> Cost:
    """A loop over the files that reads, resamples and encodes."""
    codec = load_codec("mulaw")
    began, before, encoding, rows = time.perf_counter(), time.process_time(), 0.0, []
    for path in sorted(path for path in corpus.rglob("*") if path.is_file()):
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        samples = soxr.resample(samples, rate, 48_000)
        stereo = np.ascontiguousarray(np.broadcast_to(samples, (len(samples), 2)).T)
        began_encoding = time.process_time()
        rows.append(codec.encode(Waveform(stereo, 48_000)))
        encoding += time.process_time() - began_encoding
    return Cost(time.perf_counter() - began, time.process_time() - before - encoding)


def measure_stages(corpus: Path, folder: Path) -> dict[str, float]:
    """CPU seconds of this process for a file, stage by stage."""
    paths = sorted(path for path in corpus.rglob("*") if path.is_file())[:300]
    codec = load_codec("mulaw")
    waveforms = [read_audio(path, 48_000, 2) for path in paths]
    rows = [as_row(codec, path, waveform) for path, waveform in zip(paths, waveforms, strict=True)]
    form = shard_format("parquet")

    def write() -> None:
        form.write(str(folder / "shard.parquet"), iter(rows), {})
        hash_file(str(folder / "shard.parquet"))

    stages: dict[str, Callable[[], object]] = {
        "hash": lambda: [hash_file(str(path)) for path in paths],
        "decode, resample, check": lambda: [read_audio(path, 48_000, 2) for path in paths],
        "encode (mulaw)": lambda: [codec.encode(waveform) for waveform in waveforms],
        "write": write,
    }
    return {name: min(busy(work) for _ in range(3)) / len(paths) for name, work in stages.items()}


def busy(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def as_row(codec: Codec, path: Path, waveform: Waveform) -> Row:
    return Row(
        path.name, codec.encode(waveform), 2, str(path), 44_100, 2, "0" * 64, None, None, None, {}
    )


if __name__ == "__main__":
    sys.exit(main())
