"""Ten hours in one file, through any codec: peak memory of every process, and time.

    python -m benchmarks.long --codec FOLDER-OR-NAME
    python -m benchmarks.long --seeded encodec:24khz --seeded mimi --hours 10

A recording is made on the fly (16 kHz mono, so that reading and resampling are the small part),
tokenized, verified, decoded and audited by the command, in processes of their own. Peaks are the
kernel's own `VmHWM`. That the codes are those of the whole is for tests; here, those of the first
minute are held against that minute encoded alone, but for its last two seconds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.long_file import descendants, resident_peak
from benchmarks.machine import machine

RATE = 16_000
LIMIT_MIB = 1536
STEPS = ("tokenize", "verify", "decode", "audit")
EVERY_SECONDS = 0.5
FIRST_SECONDS, TAIL_SECONDS = 60, 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--codec", action="append", default=[], help="a checkpoint or a name")
    parser.add_argument(
        "--seeded",
        action="append",
        default=[],
        help="a seeded checkpoint: encodec:24khz, encodec:32khz, dac:44khz, mimi",
    )
    parser.add_argument("--size", default="reduced", help="of those: reduced or full")
    parser.add_argument("--form", default="flac", choices=("flac", "wav"))
    parser.add_argument("--workers", default="0", help="0 is one process without Ray")
    parser.add_argument("--steps", default=",".join(STEPS))
    asked = parser.parse_args()
    print("# Ten hours in one file\n")
    print(f"    python -m benchmarks.long {' '.join(sys.argv[1:])}\n")
    print(f"{machine()}. {asked.hours:g} h, {asked.form}, {RATE:,} Hz mono.\n")
    print("| codec | step | s | x real time | process | peak MiB |\n|---|---|---:|---:|---|---:|")
    highest = 0.0
    with tempfile.TemporaryDirectory(prefix="long-") as scratch:
        work = Path(scratch)
        (work / "corpus").mkdir()
        write_recording(work / "corpus" / f"long.{asked.form}", asked.hours)
        codecs = [(name, name) for name in asked.codec]
        codecs += [
            (f"{name} ({asked.size})", seeded(name, asked.size, work)) for name in asked.seeded
        ]
        for label, codec in codecs:
            highest = max(highest, one(label, codec, work, asked))
    print(f"\nLimit: {LIMIT_MIB} MiB in any one process; highest: {highest:.0f}.")
    return 0 if highest < LIMIT_MIB else 1


def one(label: str, codec: str, work: Path, asked: argparse.Namespace) -> float:
    """The rows of one codec; returns the highest peak."""
    out = work / f"out-{len(list(work.iterdir()))}"
    name, options = f"long.{asked.form}", ["--codec", codec]
    commands = {
        "tokenize": ["tokenize", work / "corpus", out, *options, "--workers", asked.workers],
        "verify": ["verify", out],
        "decode": ["decode", out, name, *options, "-o", work / "decoded.wav"],
        "audit": ["audit", out, *options, "--all", "--workers", asked.workers],
    }
    highest = 0.0
    for step in asked.steps.split(","):
        run = measured([str(argument) for argument in commands[step]])
        for process, peak in sorted(run.peaks.items(), key=lambda item: -item[1]):
            highest = max(highest, peak)
            speed = asked.hours * 3600 / run.seconds
            print(
                f"| {label} | {step} | {run.seconds:.0f} | {speed:.0f} | {process} | {peak:.0f} |"
            )
        sys.stdout.flush()
    if "decode" in asked.steps:
        found = soundfile.info(work / "decoded.wav").duration
        print(f"| {label} | decoded | {found:.3f} s | | | |")
    equal, frames = first_minute(codec, out, work / "corpus" / name)
    print(f"| {label} | first minute | {equal:,} of {frames:,} frames equal | | | |")
    return highest


@dataclass(frozen=True, slots=True)
class Run:
    """One command."""

    seconds: float
    peaks: dict[str, float]
    """MiB by kind of process"""


def measured(arguments: Sequence[str]) -> Run:
    began, peaks = time.monotonic(), dict[str, float]()
    command = [sys.executable, "-m", "codecshards", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as run:
        os.set_blocking(run.stderr.fileno(), False)  # type: ignore[union-attr]
        said = b""
        while run.poll() is None:
            for pid in descendants(run.pid):
                found = resident_peak(pid)
                if found is not None:
                    name, peak = kind_of(pid, found[0]), found[1]
                    peaks[name] = max(peaks.get(name, 0.0), peak)
            said = (said + (run.stderr.read() or b""))[-4_000:]  # type: ignore[union-attr]
            time.sleep(EVERY_SECONDS)
        if run.returncode not in (0, 1):
            sys.exit(f"{arguments[0]} failed with exit code {run.returncode}: {said.decode()}")
    return Run(time.monotonic() - began, peaks)


def kind_of(pid: int, known: str) -> str:
    command = Path("/proc", str(pid), "cmdline")
    try:
        text = command.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return known
    for mark, name in (
        ("reader_process", "reader of audio files"),
        ("-m codecshards", "the command"),
    ):
        if mark in text:
            return name
    return known


def write_recording(path: Path, hours: float) -> None:
    """A tone that glides, with noise whose level moves; a minute at a time."""
    rng = np.random.default_rng(0)
    at = np.arange(60 * RATE) / RATE
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for minute in range(round(hours * 60)):
            level = 0.1 + 0.3 * np.abs(np.sin(0.7 * at + minute))
            glide = np.sin(2 * np.pi * (150 + minute % 50 + 2 * at) * at)
            noise = rng.standard_normal(len(at), dtype=np.float32)
            file.write(level * (0.7 * glide + 0.1 * noise))


def seeded(name: str, size: str, work: Path) -> str:
    """A checkpoint with weights that are random, and sizes that are the published ones' or
    smaller."""
    family, _, model = name.partition(":")
    module = import_module(f"tokenizer.codecs.{family}.seeded")
    write = getattr(module, "write_seeded" if family == "encodec" else f"write_seeded_{family}")
    given = {"model": model} if model else {}
    return str(write(work / name.replace(":", "-"), size=size, **given))


def first_minute(codec: str, out: Path, source: Path) -> tuple[int, int]:
    """Frames that are equal, of those that are compared."""
    from pipelines.loader.dataset import CodesDataset
    from tokenizer import load_codec, read_audio
    from tokenizer.codecs.base import ChunkCodes

    spec = CodesDataset(out).spec
    loaded = load_codec(codec, n_q=spec.n_q, device="cpu")
    waveform = read_audio(source, spec.sample_rate, spec.channels, end=FIRST_SECONDS)
    frames = int((waveform.seconds - TAIL_SECONDS) * spec.frame_rate)
    whole: ChunkCodes | None = None
    if spec.chunk_length is None:
        (whole,) = loaded.encode_chunks([waveform.samples])
    codes = loaded.encode(waveform).codes if whole is None else whole.codes
    stored = CodesDataset(out).read(0).codes
    frames = min(frames, stored.shape[1], codes.shape[1])
    return int((stored[:, :frames] == codes[:, :frames]).all(axis=0).sum()), frames


if __name__ == "__main__":
    sys.exit(main())
