"""Memory on one very long file: tokenizes a generated recording, decodes it again, audits it, and
watches every process.

    python -m benchmarks.long_file --hours 10 --codec FOLDER > benchmarks/results/long_file.md

The recording is a 44.1 kHz stereo FLAC, so that decoding, resampling and encoding all take part.
The peak is the kernel's own `VmHWM` of each process, sampled while a run lasts.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.machine import machine

RATE = 44_100
PATTERN_SECONDS = 30
LIMIT_MIB = 1536


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument(
        "--codec",
        required=True,
        help="a checkpoint folder (python -m tokenizer.codecs.encodec.seeded FOLDER)",
    )
    parser.add_argument("--bandwidth", default="6")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="long-file-") as folder:
        corpus, out = Path(folder, "corpus"), Path(folder, "out")
        corpus.mkdir()
        write_recording(corpus / "long.flac", options.hours)
        codec = ["--codec", options.codec]
        commands = {
            "tokenize": [str(corpus), str(out), *codec, "--bandwidth", options.bandwidth],
            "decode": [str(out), "long.flac", *codec, "-o", str(Path(folder, "long.wav"))],
            "audit": [str(out), *codec, "--all", "--quiet"],
        }
        runs = {name: measured(name, arguments) for name, arguments in commands.items()}
        summary = json.loads(
            subprocess.check_output(
                [sys.executable, "-m", "pipelines", "inspect", str(out), "--json"]
            )
        )
        decoded = soundfile.info(Path(folder, "long.wav")).duration
        report(options, summary, decoded, runs)
    return 0 if max(max(run.peaks.values()) for run in runs.values()) < LIMIT_MIB else 1


@dataclass(frozen=True, slots=True)
class Run:
    """One command."""

    seconds: float
    peaks: dict[str, float]
    """MiB by kind of process"""


def measured(command: str, arguments: list[str]) -> Run:
    began = time.monotonic()
    peaks = watch(
        subprocess.Popen(
            [sys.executable, "-m", "pipelines", command, *arguments], stdout=subprocess.DEVNULL
        )
    )
    return Run(time.monotonic() - began, peaks)


def write_recording(path: Path, hours: float) -> None:
    """Chords with a little noise whose level and pitch move, one pattern after the other."""
    rng = np.random.default_rng(0)
    time_axis = np.arange(PATTERN_SECONDS * RATE) / RATE
    tones = sum(np.sin(2 * np.pi * f * time_axis) for f in (110.0, 164.8, 220.5, 277.2))
    pattern = 0.1 * np.stack([tones, np.roll(tones, 300)], axis=1)
    with soundfile.SoundFile(path, "w", RATE, 2, "PCM_16") as file:
        for _ in range(round(hours * 3600 / PATTERN_SECONDS)):
            noise = 0.002 * rng.standard_normal(pattern.shape, dtype=np.float32)
            file.write(
                np.roll(pattern, int(rng.integers(RATE)), axis=0) * rng.uniform(0.2, 1.0) + noise
            )


def watch(run: subprocess.Popen[bytes]) -> dict[str, float]:
    """Highest resident memory in MiB by kind of process, until the run ends."""
    peaks: dict[str, float] = {}
    while run.poll() is None:
        for pid in descendants(run.pid):
            found = resident_peak(pid)
            if found is not None:
                name, peak = found
                peaks[name] = max(peaks.get(name, 0.0), peak)
        time.sleep(
            5
        )  # the kernel remembers the peak; looking at every process of a machine is not free
    if run.returncode != 0:
        sys.exit(f"the run failed with exit code {run.returncode}")
    return peaks


def descendants(root: int) -> Iterator[int]:
    """The process and everything it started, directly or not."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    queue = [root]
    while queue:
        pid = queue.pop()
        yield pid
        queue += children.get(pid, [])


def resident_peak(pid: int) -> tuple[str, float] | None:
    """What a process is, and its peak in MiB."""
    try:
        command = (
            Path("/proc", str(pid), "cmdline")
            .read_bytes()
            .replace(b"\0", b" ")
            .decode(errors="replace")
        )
        status = Path("/proc", str(pid), "status").read_text()
    except OSError:
        return None
    line = next((line for line in status.splitlines() if line.startswith("VmHWM")), None)
    return None if line is None else (kind_of(command), int(line.split()[1]) / 1024)


def kind_of(command: str) -> str:
    for mark, name in (
        ("EncodeActor", "encoder (holds the model)"),
        ("Runner", "runner (cuts, packs, writes)"),
        ("_AuditActor", "auditor (holds the model, measures)"),
        ("decode_worker", "decoder of audio files"),
        ("-m pipelines", "the command itself"),
    ):
        if mark in command:
            return name
    return "Ray's own"


def report(
    options: argparse.Namespace, summary: dict, decoded: float, runs: dict[str, Run]
) -> None:
    seconds = summary["hours"] * 3600
    print("# Memory on one long file\n")
    print(
        f"    python -m benchmarks.long_file --hours {options.hours:g} --codec {options.codec} "
        f"--bandwidth {options.bandwidth}\n"
    )
    print(f"{machine()}, Python {platform.python_version()}.")
    print(
        f"One 44.1 kHz stereo FLAC of {summary['hours']:.2f} h: {summary['chunks']} chunks, "
        f"{summary['frames']} frames;"
    )
    print(
        f"decoded again it has {decoded / 3600:.2f} h. Times include the start of Ray and of the "
        "model.\n"
    )
    print(
        "| command | s | x real time | process | peak resident memory, MiB |\n|---|---|---|---|---|"
    )
    for name, run in runs.items():
        for process, peak in sorted(run.peaks.items(), key=lambda item: -item[1]):
            print(
                f"| {name} | {run.seconds:.0f} | {seconds / run.seconds:.1f} | {process} | "
                f"{peak:.0f} |"
            )
    highest = max(max(run.peaks.values()) for run in runs.values())
    print(f"\nLimit: {LIMIT_MIB} MiB in any one process; highest: {highest:.0f}.")


if __name__ == "__main__":
    sys.exit(main())
