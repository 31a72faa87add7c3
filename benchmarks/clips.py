"""What a file costs beyond its codec, and what a shard costs beyond its files: corpora of clips of one second.

    python -m benchmarks.clips > benchmarks/results/clips.md

The codec is `mulaw`, which costs next to nothing, so that all else shows. Whole runs with a worker a core take turns with a loop
in one process that has none of the pipeline: soundfile, soxr, the codec, a list. A file costs the seconds of the whole command,
less those of a run on a few clips, times the cores, over the files; a core counts as used when it waits. A shard costs what a
run that puts the same files in many shards takes longer than one that puts them in few. The stages are CPU time on one core.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import soxr

from pipelines.manifest import hash_file
from pipelines.shards import shard_format
from pipelines.shards.schema import Row
from tokenizer import Waveform, load_codec, read_audio
from tokenizer.codecs.base import Codec

SECONDS = 1.0
FEW, MANY = 4, 40
"""shards"""
SHAPES = {
    "wav, 16 kHz mono": ("wav", 16_000, 1),
    "flac, 44.1 kHz stereo": ("flac", 44_100, 2),
    "mp3, 44.1 kHz stereo": ("mp3", 44_100, 2),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=4000, help="in each corpus")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES), metavar="SHAPE")
    options = parser.parse_args()
    shapes = "" if options.shapes == list(SHAPES) else " --shapes " + " ".join(f'"{shape}"' for shape in options.shapes)
    print("# Clips of one second\n")
    print(f"    python -m benchmarks.clips --files {options.files} --rounds {options.rounds}{shapes}\n")
    print(f"{cores()} cores, {platform.machine()}, Python {platform.python_version()}; median of {options.rounds} rounds.\n")
    print("| clips | files | a file, ms of a core | bare loop, ms of a core | ratio | a shard, s | start and end of a run, s |")
    print("|---|---|---|---|---|---|---|", flush=True)
    stages = {}
    for name in options.shapes:
        with tempfile.TemporaryDirectory(prefix="clips-") as folder:
            corpus, handful = write_corpora(Path(folder), options.files, *SHAPES[name])
            print(f"| {name} | {options.files:,} | {whole(corpus, handful, Path(folder), options)} |", flush=True)
            stages[name] = measure_stages(corpus, Path(folder))
    print("\nStages, milliseconds of one core for a file:\n")
    print("| clips | " + " | ".join(next(iter(stages.values()))) + " |")
    print("|---|" + "---|" * len(next(iter(stages.values()))))
    for name, figures in stages.items():
        print(f"| {name} | " + " | ".join(f"{1000 * value:.2f}" for value in figures.values()) + " |")
    return 0


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def write_corpora(folder: Path, files: int, form: str, rate: int, channels: int) -> tuple[Path, Path]:
    """Noise and tones, no two alike; and the first few of them in a folder of their own."""
    rng = np.random.default_rng(0)
    time_axis = np.arange(round(SECONDS * rate)) / rate
    corpus, handful = folder / "corpus", folder / "handful"
    for number in range(files):
        place = corpus / f"{number // 1000:03d}"
        place.mkdir(parents=True, exist_ok=True)
        tone = 0.3 * np.sin(2 * np.pi * rng.uniform(60, 3000) * time_axis)[:, None]
        samples = tone + 0.02 * rng.standard_normal((len(time_axis), channels))
        soundfile.write(place / f"{number:05d}.{form}", samples, rate)
    handful.mkdir()
    for path in sorted(corpus.rglob(f"*.{form}"))[:FEW]:
        shutil.copy(path, handful)
    return corpus, handful


def whole(corpus: Path, handful: Path, folder: Path, options: argparse.Namespace) -> str:
    """The cells of a row, each the median over rounds; all arms in turns."""
    arms: dict[str, Callable[[Path], tuple[float, int]]] = {
        "start": lambda out: run(handful, out, FEW),
        "few": lambda out: run(corpus, out, options.files / FEW),
        "many": lambda out: run(corpus, out, options.files / MANY),
        "bare": lambda out: (bare(corpus), 0),
    }
    taken: dict[str, list[float]] = {arm: [] for arm in arms}
    shards: dict[str, int] = {}
    for round in range(options.rounds):
        for arm, work in arms.items():
            out = folder / f"{arm}-{round}"
            seconds, shards[arm] = work(out)
            taken[arm].append(seconds)
            shutil.rmtree(out, ignore_errors=True)
    rounds = list(zip(*taken.values(), strict=True))
    files = options.files
    ours = [1000 * (few - start) * cores() / (files - FEW) for start, few, _, _ in rounds]
    loop = [1000 * seconds / files for seconds in taken["bare"]]
    shard = [(many - few) / (shards["many"] - shards["few"]) for _, few, many, _ in rounds]
    ratio = [mine / other for mine, other in zip(ours, loop, strict=True)]
    figures = (ours, loop, ratio, shard, taken["start"])
    return " | ".join(f"{statistics.median(figure):.{digits}f}" for figure, digits in zip(figures, (2, 2, 2, 3, 1), strict=True))


def run(corpus: Path, out: Path, seconds: float) -> tuple[float, int]:
    """Seconds that the whole command takes, and shards of about so many seconds of audio that it writes."""
    command = [sys.executable, "-m", "pipelines", "tokenize", str(corpus), str(out), "--codec", "mulaw", "--quiet"]
    began = time.perf_counter()
    subprocess.run([*command, "--shard-hours", f"{seconds / 3600:.9f}", "--device", "cpu"], check=True)
    return time.perf_counter() - began, len(list((out / "data").iterdir()))


def bare(corpus: Path) -> float:
    """Seconds of a loop over the files that reads, resamples and encodes."""
    codec = load_codec("mulaw")
    began, rows = time.perf_counter(), []
    for path in sorted(path for path in corpus.rglob("*") if path.is_file()):
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        samples = soxr.resample(samples, rate, 48_000)
        stereo = np.ascontiguousarray(np.broadcast_to(samples, (len(samples), 2)).T)
        rows.append(codec.encode(Waveform(stereo, 48_000)))
    return time.perf_counter() - began


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
    return Row(path.name, codec.encode(waveform), 2, str(path), 44_100, 2, "0" * 64, None, None, None, {})


if __name__ == "__main__":
    sys.exit(main())
