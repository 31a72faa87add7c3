"""DAC beside transformers, and the memory of a long recording.

    python -m tokenizer.codecs.dac.seeded codec --model 44khz
    python -m benchmarks.dac codec FOLDER --clips 6 --minutes 1
    python -m benchmarks.dac codec --hours 10

Recordings of FOLDER, one after the other, are cut into clips of 10 s, and joined to one long
recording. Ours and transformers' take turns, one recording at a time; CPU seconds and wall clock
seconds are of both, and codes are compared one by one.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.machine import machine
from tokenizer import read_audio
from tokenizer.codecs.pieces import Piece
from tokenizer.codecs.registry import load_codec
from tokenizer.errors import RecordingError

Samples = NDArray[np.float32]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("codec")
    parser.add_argument("folder", nargs="?", help="recordings")
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--minutes", type=float, default=1.0, help="of the long recording")
    parser.add_argument("--hours", type=float, help="of synthetic audio through encode_pieces")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    codec: Any = load_codec(options.codec, device="cpu", threads=options.threads)
    print(f"{machine()}; torch {torch.__version__}; {options.threads} threads; {codec}")
    if options.hours:
        memory(codec, options.hours)
        return 0
    samples = audio(Path(options.folder), codec.sample_rate, 60 * options.minutes + 10)
    size = 10 * codec.sample_rate
    clips = [samples[:, i * size : (i + 1) * size] for i in range(options.clips)]
    compare(codec, options.codec, "10 s", [one for one in clips if one.shape[1] == size])
    compare(
        codec,
        options.codec,
        f"{options.minutes:g} min",
        [samples[:, : round(60 * options.minutes * codec.sample_rate)]],
    )
    return 0


def audio(folder: Path, rate: int, seconds: float) -> Samples:
    parts: list[Samples] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            parts.append(read_audio(path, rate, 1).samples)
        except RecordingError:
            continue
        if sum(part.shape[1] for part in parts) > seconds * rate:
            break
    return np.concatenate(parts, axis=1)


def compare(codec: Any, folder: str, name: str, recordings: list[Samples]) -> None:
    from transformers import DacFeatureExtractor, DacModel

    model = DacModel.from_pretrained(folder).eval()
    extract = DacFeatureExtractor.from_pretrained(folder)

    def theirs(one: Samples) -> NDArray[Any]:
        inputs = extract(one[0], sampling_rate=codec.sample_rate, return_tensors="pt")
        with torch.inference_mode():
            codes: NDArray[Any] = (
                model.encode(inputs["input_values"], n_quantizers=codec.spec.n_q)
                .audio_codes[0]
                .numpy()
            )
        return codes

    def ours(one: Samples) -> NDArray[Any]:
        codes: NDArray[Any] = codec.encode_pieces([Piece(one)])[0].codes
        return codes

    ours(recordings[0][:, : 2 * codec.sample_rate])  # kernels are compiled
    total, different = 0, 0
    spent = np.zeros((2, 2))
    for one in recordings:
        found = []
        for row, way in enumerate((ours, theirs)):
            codes, cost = timed(way, one)
            found.append(codes)
            spent[row] += cost
        total += found[0].size
        different += int((found[0] != found[1]).sum())
    (cpu, wall), (their_cpu, their_wall) = spent
    print(
        f"{name} x {len(recordings)}: ours {cpu:.1f} s CPU, {wall:.1f} s; transformers "
        f"{their_cpu:.1f} s CPU, {their_wall:.1f} s; {their_cpu / cpu:.2f} times by CPU, "
        f"{their_wall / wall:.2f} by the clock; {different} of {total:,} codes differ; "
        f"{codec.doubted} frames doubted, {codec.settled} recordings settled",
        flush=True,
    )


def timed(
    way: Callable[[Samples], NDArray[Any]], one: Samples
) -> tuple[NDArray[Any], tuple[float, float]]:
    cpu, wall = time.process_time(), time.perf_counter()
    codes = way(one)
    return codes, (time.process_time() - cpu, time.perf_counter() - wall)


def memory(codec: Any, hours: float) -> None:
    rng = np.random.default_rng(0)
    state, frames = None, 0
    count = round(hours * 3600 * codec.sample_rate / codec.piece_length)
    for i in range(count):
        samples = (0.1 * rng.standard_normal((1, codec.piece_length))).astype(np.float32)
        (found,) = codec.encode_pieces([Piece(samples, state, i == count - 1)])
        state, frames = found.state, frames + found.codes.shape[1]
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{hours:g} h: {frames:,} frames, {most:.0f} MB at most", flush=True)


if __name__ == "__main__":
    sys.exit(main())
