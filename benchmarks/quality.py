"""What measuring quality beside the codes costs.

    python -m benchmarks.quality AUDIO > benchmarks/results/quality.md

The recordings of a folder are read as a run's decoder reads them, in turns without measures, with
all, and with each alone; CPU seconds of this process, of the least of the rounds.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.machine import machine
from tokenizer.audio import stream_audio
from tokenizer.audio.quality import chosen
from tokenizer.audio.quality.meter import QualityMeter
from tokenizer.errors import RecordingError

RATE, CHANNELS = 48_000, 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("audio", type=Path, help="a folder")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--most", type=int, default=200, help="files (default: %(default)s)")
    options = parser.parse_args()
    files = sorted(path for path in options.audio.rglob("*") if path.is_file())[: options.most]
    names = chosen("basic")
    arms = {"none": (), "all": names} | {name: (name,) for name in names}
    seconds = read(files, names)[1]  # and compiles what is compiled
    least = dict.fromkeys(arms, float("inf"))
    for _ in range(options.rounds):
        for arm, wanted in arms.items():
            least[arm] = min(least[arm], read(files, wanted)[0])
    print("# Quality beside the codes\n\n    python -m benchmarks.quality AUDIO", end="")
    print(f" --rounds {options.rounds} --most {options.most}\n")
    print(
        f"{machine()}; {len(files)} files, {seconds:.0f} s of audio, decoded and resampled to "
        f"{RATE} Hz stereo; the least CPU seconds of {options.rounds} rounds in turns.\n"
    )
    print("| measured | CPU s | ms for a second of audio | beside decoding |\n|---|---|---|---|")
    for arm, taken in least.items():
        print(
            f"| {arm} | {taken:.2f} | {1000 * taken / seconds:.2f} | "
            f"{taken / least['none'] - 1:+.0%} |"
        )
    return 0


def read(files: list[Path], wanted: tuple[str, ...]) -> tuple[float, float]:
    """CPU seconds, and seconds of audio."""
    began, samples = time.process_time(), 0
    for path in files:
        try:
            stream = stream_audio(path, RATE, CHANNELS)
            meter = QualityMeter(wanted, str(path))
            stream.listener = meter.add
            samples += sum(block.shape[1] for block in stream)
            meter.result()
        except RecordingError:
            continue
    return time.process_time() - began, samples / RATE


if __name__ == "__main__":
    sys.exit(main())
