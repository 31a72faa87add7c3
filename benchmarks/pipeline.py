"""Whole runs by shape of corpus: `codecshards tokenize` against the script that people write today.

    python -m tokenizer.codecs.encodec.seeded codec --size full
    python -m benchmarks.pipeline --codec codec > benchmarks/results/pipeline.md

The script reads one file after the other, encodes it with `EncodecModel.encode`, unpadded, and
writes a Parquet file at the end. Both are timed from their first recording to their last byte,
without the start of Python, Ray and the model, in turns in one run. The encoder's own speed is that
of as many processes as workers, one thread each, on the same recordings decoded in memory; the
efficiency is the run's share of it. It depends on the shape: a second of audio is two chunks when
it is alone, and 1.01 in a song.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch

from benchmarks.encode import Pool, card
from benchmarks.machine import machine
from pipelines.output.manifest.commits import Manifest
from pipelines.output.storage import open_storage
from tokenizer import Waveform, read_audio
from tokenizer.codecs.encodec.checkpoint import load_encodec
from tokenizer.errors import RecordingError

RATE = 44_100
SHAPES = {
    "songs of 3 minutes, flac": (180.0, "flac"),
    "clips of 10 s, flac": (10.0, "flac"),
    "clips of 1 s, wav": (1.0, "wav"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--codec",
        required=True,
        help="a checkpoint folder (python -m tokenizer.codecs.encodec.seeded FOLDER)",
    )
    parser.add_argument("--bandwidth", type=float, default=6.0)
    parser.add_argument(
        "--seconds", type=float, default=180.0, help="of audio in each generated corpus"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--audio", help="a folder of recordings, measured beside the generated corpora"
    )
    parser.add_argument("--script", nargs=2, metavar=("CORPUS", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.script:
        return script(Path(options.script[0]), Path(options.script[1]), options)
    with tempfile.TemporaryDirectory(prefix="pipeline-") as folder:
        corpora = {
            name: write_corpus(Path(folder, str(i)), options.seconds, *SHAPES[name])
            for i, name in enumerate(SHAPES)
        }
        if options.audio:
            corpora["the folder given"] = Path(options.audio)
        head(options)
        for name, corpus in corpora.items():
            measure(name, corpus, Path(folder), options)
    return 0


def write_corpus(folder: Path, seconds: float, length: float, form: str) -> Path:
    """Chords and noise, as long as asked for."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    time_axis = np.arange(round(length * RATE)) / RATE
    for number in range(max(round(seconds / length), 1)):
        tones = sum(np.sin(2 * np.pi * f * time_axis) for f in rng.uniform(60, 3000, 4))
        samples = 0.1 * np.stack([tones, np.roll(tones, 200)], axis=1) + 0.01 * rng.standard_normal(
            (len(time_axis), 2)
        )
        soundfile.write(folder / f"{number:05d}.{form}", samples, RATE)
    return folder


def measure(name: str, corpus: Path, folder: Path, options: argparse.Namespace) -> None:
    """One row of the table a number of workers, each against the script and against the encoder
    alone."""
    counts = sorted({1, os.cpu_count() or 1})
    recordings = decoded(corpus)
    pools = {workers: Pool(options, recordings, workers) for workers in counts}
    arms: dict[str, Callable[[Path], tuple[float, float]]] = {
        "script": lambda out: by_script(corpus, out, options)
    }
    for workers in counts:
        arms[f"{workers} alone"] = lambda out, pool=pools[workers]: by_encoder(pool, recordings)
        arms[f"{workers} workers"] = lambda out, workers=workers: by_tokenize(
            corpus, out, workers, options
        )
    speeds: dict[str, list[float]] = {arm: [] for arm in arms}
    for round in range(options.rounds):
        for arm, run in arms.items():
            seconds, taken = run(folder / f"{len(list(folder.iterdir()))}-{round}")
            speeds[arm].append(seconds / taken)
    for pool in pools.values():
        pool.close()
    for workers in counts:
        ours, alone = speeds[f"{workers} workers"], speeds[f"{workers} alone"]
        figures = [speeds["script"], ours, ratios(ours, speeds["script"]), alone]
        cells = " | ".join(f"{statistics.median(figure):.2f}" for figure in figures)
        print(
            f"| {name} | {workers} | {cells} | {statistics.median(ratios(ours, alone)):.0%} |",
            flush=True,
        )


def ratios(ours: list[float], theirs: list[float]) -> list[float]:
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]


def decoded(corpus: Path) -> list[Waveform]:
    """What of a corpus is a recording that can be encoded."""
    recordings = []
    for path in sorted(path for path in corpus.rglob("*") if path.is_file()):
        with contextlib.suppress(RecordingError):
            recordings.append(read_audio(path, 48_000, 2))
    return recordings


def by_encoder(pool: Pool, recordings: list[Waveform]) -> tuple[float, float]:
    """`encode_batch` in every process, on its share of the recordings."""
    began = time.perf_counter()
    pool.run()
    return sum(recording.seconds for recording in recordings), time.perf_counter() - began


def by_tokenize(
    corpus: Path, out: Path, workers: int, options: argparse.Namespace
) -> tuple[float, float]:
    """Audio seconds, and seconds from the first recording to the commit."""
    command = [
        sys.executable,
        "-m",
        "pipelines",
        "tokenize",
        str(corpus),
        str(out),
        "--codec",
        options.codec,
        "--quiet",
    ]
    more = [
        "--bandwidth",
        str(options.bandwidth),
        "--workers",
        str(workers),
        "--shard-hours",
        "1000",
        "--device",
        "cpu",
    ]
    ended = subprocess.run([*command, *more], check=False)
    if ended.returncode not in (0, 3):
        sys.exit(f"the run failed with exit code {ended.returncode}")
    (record,) = Manifest(open_storage(str(out))).committed().values()
    return record.num_samples / 48_000, record.timings["wall"]


def by_script(corpus: Path, out: Path, options: argparse.Namespace) -> tuple[float, float]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.pipeline",
        "--codec",
        options.codec,
        "--bandwidth",
        str(options.bandwidth),
    ]
    printed = subprocess.check_output([*command, "--script", str(corpus), str(out)])
    seconds, taken = json.loads(printed)
    return seconds, taken


def script(corpus: Path, out: Path, options: argparse.Namespace) -> int:
    """What people write today, without its faults: it survives broken files and does not pad."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    model = load_encodec(options.codec, torch.device("cpu"))
    options.device = "cpu"
    began, seconds, rows = time.perf_counter(), 0.0, []
    for path in sorted(path for path in corpus.rglob("*") if path.is_file()):
        try:
            waveform = read_audio(path, 48_000, 2)
        except RecordingError:
            continue
        codes = card(model, waveform, options)
        if codes is not None:
            rows.append({"id": path.name, "codes": codes.astype(np.uint16).tolist()})
            seconds += waveform.seconds
    out.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), out / "codes.parquet")
    print(json.dumps([seconds, time.perf_counter() - began]))
    return 0


def head(options: argparse.Namespace) -> None:
    audio = " --audio FOLDER" if options.audio else ""
    print("# Whole runs\n")
    print(
        f"    python -m benchmarks.pipeline --codec CODEC --bandwidth {options.bandwidth:g}",
        end=" ",
    )
    print(f"--seconds {options.seconds:g} --rounds {options.rounds}{audio}\n")
    print(f"{machine()}; torch {torch.__version__}; median of {options.rounds} rounds.\n")
    print(
        "| corpus | workers | script, x real time | tokenize, x real time | ratio | encoder alone, "
        "x real time | efficiency |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)


if __name__ == "__main__":
    sys.exit(main())
