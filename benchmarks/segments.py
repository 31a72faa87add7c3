"""Do segments late in a long file cost more than early ones?

    python -m benchmarks.segments --hours 2 > benchmarks/results/segments.md

Twenty segments of two seconds, at the beginning and at the end of one file, sorted and shuffled,
each through `codecshards tokenize --codec mulaw --workers 0` as a process of its own: CPU seconds
of it and its children, starting included. The last column is what one decoding of the whole file
takes, which a script that begins at the beginning pays for each late segment. The files are made
by FFmpeg's program.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.machine import machine

COMMAND = Path(sys.executable).with_name("codecshards")
SEGMENTS, SECONDS = 20, 2.0
FORMATS = {
    "mp3": ["-b:a", "128k"],
    "flac": [],
    "wav": [],
    "m4a": ["-b:a", "128k"],
    "opus": ["-b:a", "96k"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--hours", type=float, default=2.0, help="default: %(default)s")
    parser.add_argument("--formats", default=",".join(FORMATS), help="default: %(default)s")
    options = parser.parse_args()
    if shutil.which("ffmpeg") is None:
        raise SystemExit("benchmarks.segments: needs FFmpeg's program, which makes the files")
    print("# Segments of long files\n\n    python -m benchmarks.segments", *sys.argv[1:])
    print(
        f"\n{machine()}; {SEGMENTS} segments of {SECONDS:g} s from a file of {options.hours:g} h, "
        "stereo at 44.1 kHz; CPU seconds of one run each, which takes about "
    )
    with tempfile.TemporaryDirectory(prefix="segments-") as scratch:
        folder = Path(scratch)
        print(f"{base(folder):.1f} for a file of one second.\n")
        print("| format | early | late | late, shuffled | late / early | the whole, decoded once |")
        print("|---|---|---|---|---|---|")
        for name in options.formats.split(","):
            path = make(folder, name, options.hours * 3600)
            total = options.hours * 3600
            early = spans(10.0)
            late = spans(total - 10.0 - 3 * SECONDS * SEGMENTS)
            mixed = random.Random(0).sample(late, len(late))
            taken = [
                cpu_seconds(lambda path=path, chosen=chosen: tokenize(folder, path, chosen))
                for chosen in (early, late, mixed)
            ]
            whole = cpu_seconds(lambda path=path: decode(path))
            row = " | ".join(f"{seconds:.1f}" for seconds in taken)
            print(f"| {name} | {row} | {taken[1] / taken[0]:.2f} | {whole:.1f} |", flush=True)
            path.unlink()
    return 0


def spans(start: float) -> list[tuple[float, float]]:
    """Segments with as much again twice between them."""
    return [
        (start + 3 * SECONDS * number, start + 3 * SECONDS * number + SECONDS)
        for number in range(SEGMENTS)
    ]


def make(folder: Path, ending: str, seconds: float) -> Path:
    """Tones and noise."""
    path = folder / f"long.{ending}"
    sound = f"sine=f=330:r=44100:d={seconds}[a];anoisesrc=r=44100:a=0.05:d={seconds}:s=1[b]"
    sound = f"{sound};[a][b]amix=inputs=2,pan=stereo|c0=c0|c1=0.7*c0"
    command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", sound, *FORMATS[ending], path]
    subprocess.run([*map(str, command)], check=True)
    return path


def tokenize(folder: Path, path: Path, chosen: list[tuple[float, float]]) -> None:
    """A run of its own over these segments."""
    table, out = folder / "table.jsonl", folder / "out"
    rows = [{"path": str(path), "start": start, "end": end} for start, end in chosen]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shutil.rmtree(out, ignore_errors=True)
    command = [COMMAND, "tokenize", table, out, "--codec", "mulaw", "--workers", "0", "--quiet"]
    subprocess.run([*map(str, command)], check=True, capture_output=True)


def decode(path: Path) -> None:
    """All of it, by FFmpeg's program."""
    subprocess.run(
        ["ffmpeg", "-v", "error", "-threads", "1", "-i", str(path), "-f", "null", "-"], check=True
    )


def base(folder: Path) -> float:
    """What a run costs however short its file."""
    path = make(folder, "wav", 1.0)
    return cpu_seconds(lambda: tokenize(folder, path, [(0.0, 0.5)]))


def cpu_seconds(action: Callable[[], None]) -> float:
    """Of the processes that it starts and waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    action()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())
