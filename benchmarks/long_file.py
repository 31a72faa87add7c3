"""Memory on one very long file: tokenizes a generated recording and watches every process of the run.

    python benchmarks/long_file.py --hours 10 --codec FOLDER > benchmarks/results/long_file.md

The recording is a 44.1 kHz stereo FLAC, so that decoding, resampling and encoding all take part. The peak is the kernel's own
`VmHWM` of each process, sampled while the run lasts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

RATE = 44_100
PATTERN_SECONDS = 30
LIMIT_MIB = 1536


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--codec", required=True, help="a checkpoint folder (python -m tokenizer.codecs.seeded FOLDER)")
    parser.add_argument("--bandwidth", default="6")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="long-file-") as folder:
        corpus, out = Path(folder, "corpus"), Path(folder, "out")
        corpus.mkdir()
        write_recording(corpus / "long.flac", options.hours)
        command = ["tokenize", str(corpus), str(out), "--codec", options.codec, "--bandwidth", options.bandwidth]
        began = time.monotonic()
        peaks = watch(subprocess.Popen([sys.executable, "-m", "pipelines", *command]))
        elapsed = time.monotonic() - began
        summary = json.loads(subprocess.check_output([sys.executable, "-m", "pipelines", "inspect", str(out), "--json"]))
        report(options, summary, peaks, elapsed)
    return 0 if max(peaks.values()) < LIMIT_MIB else 1


def write_recording(path: Path, hours: float) -> None:
    """Chords with a little noise whose level and pitch move, one pattern after the other."""
    rng = np.random.default_rng(0)
    time_axis = np.arange(PATTERN_SECONDS * RATE) / RATE
    tones = sum(np.sin(2 * np.pi * f * time_axis) for f in (110.0, 164.8, 220.5, 277.2))
    pattern = 0.1 * np.stack([tones, np.roll(tones, 300)], axis=1)
    with soundfile.SoundFile(path, "w", RATE, 2, "PCM_16") as file:
        for _ in range(round(hours * 3600 / PATTERN_SECONDS)):
            noise = 0.002 * rng.standard_normal(pattern.shape, dtype=np.float32)
            file.write(np.roll(pattern, int(rng.integers(RATE)), axis=0) * rng.uniform(0.2, 1.0) + noise)


def watch(run: subprocess.Popen[bytes]) -> dict[str, float]:
    """Highest resident memory in MiB by kind of process, until the run ends."""
    peaks: dict[str, float] = {}
    while run.poll() is None:
        for pid in descendants(run.pid):
            found = resident_peak(pid)
            if found is not None:
                name, peak = found
                peaks[name] = max(peaks.get(name, 0.0), peak)
        time.sleep(5)  # the kernel remembers the peak; looking at every process of a machine is not free
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
        command = Path("/proc", str(pid), "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        status = Path("/proc", str(pid), "status").read_text()
    except OSError:
        return None
    line = next((line for line in status.splitlines() if line.startswith("VmHWM")), None)
    return None if line is None else (kind_of(command), int(line.split()[1]) / 1024)


def kind_of(command: str) -> str:
    for mark, name in (
        ("_EncodeActor", "encoder (holds the model)"),
        ("_Runner", "runner (cuts, packs, writes)"),
        ("decode_worker", "decoder"),
        ("pipelines tokenize", "driver"),
    ):
        if mark in command:
            return name
    return "Ray's own"


def report(options: argparse.Namespace, summary: dict, peaks: dict[str, float], elapsed: float) -> None:
    seconds = summary["hours"] * 3600
    print("# Memory on one long file\n")
    print(f"    python benchmarks/long_file.py --hours {options.hours:g} --codec CODEC --bandwidth {options.bandwidth}\n")
    print(f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}, Python {platform.python_version()}.")
    print(f"One 44.1 kHz stereo FLAC of {summary['hours']:.2f} h: {summary['chunks']} chunks, {summary['frames']} frames.")
    print(f"{elapsed:.0f} s, {seconds / elapsed:.1f} x real time (start of Ray and of the model included).\n")
    print("| process | peak resident memory, MiB |\n|---|---|")
    for name, peak in sorted(peaks.items(), key=lambda item: -item[1]):
        print(f"| {name} | {peak:.0f} |")
    print(f"\nLimit: {LIMIT_MIB} MiB in any one process; highest: {max(peaks.values()):.0f}.")


if __name__ == "__main__":
    sys.exit(main())
