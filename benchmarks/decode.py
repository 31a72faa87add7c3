"""Decoding speed: ours and transformers the model card's way, in turns in one run.

    python -m tokenizer.codecs.encodec.seeded codec --size full
    python -m benchmarks.decode --codec codec > benchmarks/results/decode.md

Each arm decodes the codes of the same recordings in every round; a ratio is the median of the
rounds' ratios. The card's way is `EncodecModel.decode` with one recording at a time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.encode import LIMIT_SIZE, Pool, float32_limit, recordings
from benchmarks.machine import machine
from tokenizer import Waveform, load_codec
from tokenizer.codecs.encodec.arithmetic import exact_float32
from tokenizer.codecs.encodec.checkpoint import load_encodec

GFLOP = 6.04
"""of the full-size decoder, for a second of audio"""
ROUND_SECONDS = {"cpu": 45.0, "cuda": 1800.0}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--codec",
        required=True,
        help="a checkpoint folder (python -m tokenizer.codecs.encodec.seeded FOLDER)",
    )
    parser.add_argument("--bandwidth", type=float, default=6.0)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument(
        "--seconds", type=float, help=f"of audio in a round: {ROUND_SECONDS} by default"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--audio", help="a folder of recordings to decode again instead of generated ones"
    )
    options = parser.parse_args()
    options.seconds = options.seconds or ROUND_SECONDS[options.device]
    waveforms = recordings(options)
    seconds = sum(waveform.seconds for waveform in waveforms)
    arms = make_arms(options, waveforms)
    expected = next(iter(arms.values()))()
    worst = {name: furthest(arm(), expected) for name, arm in arms.items()}  # and warms up
    times: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(options.rounds):
        for name, arm in arms.items():
            began = time.perf_counter()
            arm()
            times[name].append(time.perf_counter() - began)
    report(options, len(waveforms), seconds, times, worst)
    return 0


def make_arms(
    options: argparse.Namespace, waveforms: list[Waveform]
) -> dict[str, Callable[[], list[Any]]]:
    how = {"bandwidth": options.bandwidth, "device": options.device}
    model = load_encodec(options.codec, torch.device(options.device))
    codec, plain = (
        load_codec(options.codec, **how),
        load_codec(options.codec, **how, reference=True),
    )
    codes = codec.encode_batch(waveforms)
    encoded = [encode(model, waveform, options) for waveform in waveforms]
    arms: dict[str, Callable[[], list[Any]]] = {
        "transformers, one recording at a time": lambda: [card(model, one) for one in encoded],
        "transformers' modules, a chunk at a time (`--reference`)": lambda: [
            plain.decode(one).samples for one in codes
        ],
        "ours, one process": lambda: [codec.decode(one).samples for one in codes],
        "ours, one process, many recordings at once": lambda: [
            one.samples for one in codec.decode_batch(codes)
        ],
    }
    if options.device == "cpu":
        options.pool = Pool(options, codes, os.cpu_count() or 1, "decode")
        arms["ours, a process a core (what `audit` runs)"] = lambda: [
            one.samples for one in options.pool.run()
        ]
    return arms


def encode(model: Any, waveform: Waveform, options: argparse.Namespace) -> Any:
    """transformers' own encoding; None where it raises."""
    samples = torch.from_numpy(waveform.samples)[None].to(options.device)
    with torch.inference_mode(), exact_float32():
        try:
            return model.encode(
                samples, torch.ones_like(samples[:, 0], dtype=torch.bool), options.bandwidth
            )
        except RuntimeError:
            return None


def card(model: Any, encoded: Any) -> np.ndarray | None:
    """Samples `[channels, n]`, a padded end included; None where transformers raises."""
    if encoded is None:
        return None
    with torch.inference_mode(), exact_float32():
        try:
            pad = encoded.last_frame_pad_length
            decoded = model.decode(
                encoded.audio_codes, encoded.audio_scales, last_frame_pad_length=pad
            ).audio_values
        except RuntimeError:
            return None
    samples: np.ndarray = decoded[0].cpu().numpy()
    return samples


def furthest(found: list[Any], expected: list[Any]) -> float:
    """Largest difference of a sample from the card's, over the recording's largest sample."""
    worst = 0.0
    for one, other in zip(found, expected, strict=True):
        if other is not None and one is not None:
            count = min(one.shape[1], other.shape[1])
            worst = max(
                worst, float(np.abs(one[:, :count] - other[:, :count]).max() / np.abs(other).max())
            )
    return worst


def report(
    options: argparse.Namespace,
    count: int,
    seconds: float,
    times: dict[str, list[float]],
    worst: dict[str, float],
) -> None:
    device = torch.cuda.get_device_name() if options.device == "cuda" else machine()
    what = "real recordings" if options.audio else "generated recordings"
    print("# Decoding\n")
    print(
        f"    python -m benchmarks.decode --codec CODEC --bandwidth {options.bandwidth:g} "
        f"--device {options.device}",
        end="",
    )
    print(
        f" --seconds {options.seconds:g} --rounds "
        f"{options.rounds}{' --audio FOLDER' if options.audio else ''}\n"
    )
    print(
        f"{device}; torch {torch.__version__}; {count} {what}, {seconds:.1f} s of audio; median of "
        f"{options.rounds} rounds.\n"
    )
    print("| | x real time | ratio | of the limit | furthest sample |\n|---|---|---|---|---|")
    limit, base = float32_limit(options.device), next(iter(times))
    for name, taken in times.items():
        ratio = statistics.median(b / t for b, t in zip(times[base], taken, strict=True))
        speed = seconds / statistics.median(taken)
        print(
            f"| {name} | {speed:.2f} | {ratio:.2f} | {speed * GFLOP / limit:.0%} | "
            f"{worst[name]:.1e} |"
        )
    size = LIMIT_SIZE[options.device]
    print(
        f"\nThe limit: {limit:.0f} GFLOP/s in float32 products of {size:,} x {size:,}; its share "
        "holds for the full size."
    )
    print(
        "The furthest sample: its distance from the first row's, over the recording's largest "
        "sample."
    )
    if options.device == "cpu":
        print(
            f"\nPeak resident memory of a process that decodes only: {options.pool.memory():.0f} "
            "MiB."
        )


if __name__ == "__main__":
    sys.exit(main())
