"""Which decoder for which format: PyAV (FFmpeg) and soundfile (libsndfile), in turns.

    python -m benchmarks.decoders > benchmarks/results/decoders.md

Both as this package uses them, to float32 blocks at the file's own rate, without resampling. A
format that only one of them reads has one figure. Where the samples differ, a codec's codes would
too: lossy formats decode to other floats and, at their ends, to other lengths.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile

from benchmarks.machine import machine
from tokenizer.allocator import keep_freed_memory
from tokenizer.audio.readers.pyav import PyAVReader
from tokenizer.audio.readers.sndfile import SoundFileReader
from tokenizer.errors import RecordingError

RATE = 44_100
FORMATS = {
    "wav, 16 bits": ("a.wav", "pcm_s16le"),
    "wav, float": ("a.wav", "pcm_f32le"),
    "flac": ("a.flac", "flac"),
    "mp3": ("a.mp3", "libmp3lame"),
    "ogg, Vorbis": ("a.ogg", None),
    "ogg, Opus": ("a.opus", "libopus"),
    "m4a, AAC": ("a.m4a", "aac"),
}
"""file name and FFmpeg's encoder; None is written by libsndfile"""
READERS: dict[str, Callable[[str], Any]] = {
    "PyAV": lambda path: PyAVReader(path, path),
    "soundfile": lambda path: SoundFileReader(path, path),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--seconds", type=float, nargs="+", default=[1.0, 60.0], help="lengths of the recordings"
    )
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    keep_freed_memory()
    print("# Decoders\n")
    lengths = " ".join(f"{seconds:g}" for seconds in options.seconds)
    print(f"    python -m benchmarks.decoders --seconds {lengths} --rounds {options.rounds}\n")
    print(f"{machine()}, PyAV {av.__version__}, soundfile {soundfile.__version__};")
    print(
        f"median of {options.rounds} rounds, CPU time of a core; stereo at 44.1 kHz, Opus at 48.\n"
    )
    print(
        "| format | seconds | PyAV, ms | soundfile, ms | PyAV, x real time | soundfile, x real "
        "time | samples |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="decoders-") as folder:
        for name, (file, codec) in FORMATS.items():
            for seconds in options.seconds:
                print(
                    f"| {name} | {seconds:g} | "
                    f"{row(write(Path(folder, file), seconds, codec), seconds, options)} |",
                    flush=True,
                )
    return 0


def write(path: Path, seconds: float, codec: str | None) -> str:
    """Chords and noise."""
    rng = np.random.default_rng(0)
    rate = 48_000 if codec == "libopus" else RATE
    time_axis = np.arange(round(seconds * rate)) / rate
    tones = sum(np.sin(2 * np.pi * f * time_axis) for f in rng.uniform(60, 3000, 4))
    samples = (
        0.1 * np.stack([tones, np.roll(tones, 200)])
        + 0.01 * rng.standard_normal((2, len(time_axis)))
    ).astype(np.float32)
    if codec is None:
        with soundfile.SoundFile(path, "w", RATE, 2) as file:
            for start in range(
                0, samples.shape[1], RATE
            ):  # libsndfile crashes on many seconds of Vorbis at once
                file.write(samples.T[start : start + RATE])
        return str(path)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate, layout="stereo")
        frame = av.AudioFrame.from_ndarray(samples, "fltp", "stereo")
        frame.sample_rate = rate
        resampler = av.AudioResampler(
            format=stream.format, rate=rate, frame_size=stream.codec_context.frame_size or 1024
        )
        for ready in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(ready))
        container.mux(stream.encode(None))
    return str(path)


def row(path: str, seconds: float, options: argparse.Namespace) -> str:
    """The cells of one file."""
    taken: dict[str, list[float]] = {name: [] for name in READERS}
    found: dict[str, np.ndarray] = {}
    for _ in range(options.rounds):
        for name, open_reader in READERS.items():
            began = time.process_time()
            try:
                found[name] = read(open_reader(path))
            except RecordingError:
                continue
            taken[name].append(time.process_time() - began)
    middle = {name: statistics.median(values) if values else None for name, values in taken.items()}
    spent = ["-" if value is None else f"{1000 * value:.2f}" for value in middle.values()]
    speed = ["-" if value is None else f"{seconds / value:,.0f}" for value in middle.values()]
    return " | ".join([*spent, *speed, compared(found)])


def read(reader: Any) -> np.ndarray:
    blocks = list(reader.blocks())
    reader.close()
    return np.concatenate(blocks, axis=1)


def compared(found: dict[str, np.ndarray]) -> str:
    if len(found) < 2:
        return "PyAV alone reads it"
    ours, theirs = found["PyAV"], found["soundfile"]
    if ours.shape != theirs.shape:
        return f"{ours.shape[1]:,} against {theirs.shape[1]:,}"
    return (
        "equal"
        if np.array_equal(ours, theirs)
        else f"differ by up to {np.abs(ours - theirs).max():.1e}"
    )


if __name__ == "__main__":
    sys.exit(main())
