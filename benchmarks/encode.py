"""Encoding speed: ours and transformers the model card's way, in turns in one run.

    python -m tokenizer.codecs.encodec.seeded codec --size full
    python -m benchmarks.encode --codec codec --bandwidth 24 > benchmarks/results/encode_24kbps.md
    python -m benchmarks.encode --codec codec --device cuda --precision fast  # TF32 beside

Each arm encodes the same recordings, already decoded, in every round; a ratio is the median of the
rounds' ratios. The card's way is `EncodecModel.encode` with one recording at a time, unpadded,
which is also what the codes are compared with.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import machine
from tokenizer import Codes, Waveform, load_codec, read_audio
from tokenizer.codecs.encodec.arithmetic import exact_float32
from tokenizer.codecs.encodec.checkpoint import load_encodec
from tokenizer.codecs.encodec.gpu.batches import groups
from tokenizer.codecs.encodec.reference import ReferenceModules, ReferenceNetwork
from tokenizer.codecs.encodec.seeded import synthetic_audio
from tokenizer.codecs.precision import PRECISIONS
from tokenizer.errors import RecordingError

BATCH = 16
GFLOP = 6.04
"""of the full-size encoder, for a second of audio; the quantizer adds 0.04 for each codebook"""
N_Q = {3.0: 2, 6.0: 4, 12.0: 8, 24.0: 16}
LIMIT_SIZE = {"cpu": 2048, "cuda": 8192}
"""of the products that tell a device's limit: large enough to be bound by its arithmetic"""
ROUND_SECONDS = {"cpu": 60.0, "cuda": 1800.0}
"""of audio in a round: on a GPU several batches of its largest shape"""
SECONDS = (0.4, 1.0, 3.3, 7.7, 12.0, 20.01)
"""lengths of the generated recordings, over and over"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--codec",
        required=True,
        help="a checkpoint folder (python -m tokenizer.codecs.encodec.seeded FOLDER)",
    )
    parser.add_argument("--bandwidth", type=float, default=24.0)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--precision", default="exact", choices=PRECISIONS, help="fast adds an arm")
    parser.add_argument(
        "--seconds", type=float, help=f"of audio in a round: {ROUND_SECONDS} by default"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--audio", help="a folder of recordings to encode instead of generated ones"
    )
    options = parser.parse_args()
    options.seconds = options.seconds or ROUND_SECONDS[options.device]
    waveforms = recordings(options)
    seconds = sum(waveform.seconds for waveform in waveforms)
    arms = make_arms(options, waveforms)
    expected = next(iter(arms.values()))()
    alone = by_one_thread(next(iter(arms.values()))) if options.device == "cpu" else expected
    times: dict[str, list[float]] = {name: [] for name in arms}
    shares = {
        name: equal_shares(arm(), alone if "a core" in name else expected)
        for name, arm in arms.items()
    }  # and warms up
    for _ in range(options.rounds):
        for name, arm in arms.items():
            began = time.perf_counter()
            arm()
            times[name].append(time.perf_counter() - began)
    report(options, len(waveforms), seconds, times, shares)
    if options.device == "cpu":
        print(
            "\nEqual codes: against transformers with as many threads. Its own codes with one "
            "thread are equal to those with",
            end=" ",
        )
        print(f"{torch.get_num_threads()} in {np.mean(equal_shares(alone, expected)):.4%}.")
    return 0


def by_one_thread(arm: Callable[[], list[Any]]) -> list[Any]:
    """What an arm gives when products are not split between threads, which rounds differently."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return arm()
    finally:
        torch.set_num_threads(threads)


def recordings(options: argparse.Namespace) -> list[Waveform]:
    """48 kHz stereo, `--seconds` of them in all."""
    if options.audio:
        return from_folder(Path(options.audio), options.seconds)
    found: list[Waveform] = []
    torch.manual_seed(0)
    sound = synthetic_audio(2, 48_000, 30).numpy() * 0.1
    while sum(waveform.seconds for waveform in found) < options.seconds:
        length = round(SECONDS[len(found) % len(SECONDS)] * 48_000)
        found.append(Waveform(np.roll(sound, 7919 * len(found), axis=1)[:, :length].copy(), 48_000))
    return found


def from_folder(folder: Path, seconds: float) -> list[Waveform]:
    found: list[Waveform] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if sum(waveform.seconds for waveform in found) >= seconds:
            break
        try:
            found.append(read_audio(path, 48_000, 2))
        except RecordingError:
            continue
    return found


class Stacked(ReferenceNetwork):
    """`BATCH` chunks of a length at a time; in company they are rounded differently."""

    def to_codes(self, chunks: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        results = list(chunks)
        for _, indices in groups([chunk.shape for chunk in chunks], BATCH):
            embeddings = self._modules.embed(torch.stack([chunks[i] for i in indices]))
            for i, codes in zip(
                indices, self._modules.quantize(embeddings, self.n_q).unbind(1), strict=True
            ):
                results[i] = codes
        return results


def make_arms(
    options: argparse.Namespace, waveforms: list[Waveform]
) -> dict[str, Callable[[], list[Any]]]:
    model = load_encodec(options.codec, torch.device(options.device))
    codec = load_codec(options.codec, bandwidth=options.bandwidth, device=options.device)
    plain = load_codec(
        options.codec, bandwidth=options.bandwidth, device=options.device, reference=True
    )
    stacked = load_codec(
        options.codec, bandwidth=options.bandwidth, device=options.device, reference=True
    )
    stacked._network = Stacked(  # type: ignore[attr-defined]
        model, ReferenceModules(model), codec.spec.n_q
    )
    arms: dict[str, Callable[[], list[Any]]] = {
        "transformers, one recording at a time": lambda: [
            card(model, waveform, options) for waveform in waveforms
        ],
        "transformers' modules, a chunk at a time (`--reference`)": lambda: plain.encode_batch(
            waveforms
        ),
        f"transformers' modules, {BATCH} chunks at a time": lambda: stacked.encode_batch(waveforms),
        "ours, one process": lambda: codec.encode_batch(waveforms),
    }
    if options.precision == "fast":
        fast = load_codec(
            options.codec, bandwidth=options.bandwidth, device=options.device, precision="fast"
        )
        # Its first chunks are compared with the reference's, which is not to be timed.
        while fast._probe.wanted(1):  # type: ignore[attr-defined]
            fast.encode_batch(waveforms)
        arms["ours, one process, `--precision fast`"] = lambda: fast.encode_batch(waveforms)
    if options.device == "cpu":
        options.pool = Pool(options, waveforms, os.cpu_count() or 1)
        arms["ours, a process a core (what `tokenize` runs)"] = options.pool.run
    return arms


def card(model: Any, waveform: Waveform, options: argparse.Namespace) -> np.ndarray | None:
    """Codes `[n_q, frames]` with the padding of a partial chunk cut off; None where transformers
    raises."""
    samples = torch.from_numpy(waveform.samples)[None].to(options.device)
    with torch.inference_mode(), exact_float32():
        try:
            encoded = model.encode(
                samples, torch.ones_like(samples[:, 0], dtype=torch.bool), options.bandwidth
            )
        except RuntimeError:
            return None
    codes = encoded.audio_codes[:, 0].cpu().numpy()
    frames = [
        -(-min(48_000, waveform.num_samples - start) // 320)
        for start in range(0, waveform.num_samples, 47_520)
    ]
    return np.concatenate(
        [chunk[:, :count] for chunk, count in zip(codes, frames, strict=True)], axis=1
    )


class Pool:
    """A process a core with one thread each; every one has its share of the recordings in memory
    before the clock starts."""

    def __init__(
        self,
        options: argparse.Namespace,
        items: Sequence[Waveform | Codes],
        count: int,
        what: str = "encode",
    ) -> None:
        context = multiprocessing.get_context("spawn")
        # Longest first, each to the process with the least to do.
        shares: list[list[int]] = [[] for _ in range(count)]
        load = [0.0] * count
        for i in sorted(range(len(items)), key=lambda i: -items[i].num_samples):
            least = load.index(min(load))
            shares[least].append(i)
            load[least] += items[i].num_samples
        self._shares, self._total = shares, len(items)
        self._pipes: list[Connection] = []
        for share in shares:
            ours, theirs = context.Pipe()
            arguments = (theirs, options.codec, options.bandwidth, [items[i] for i in share], what)
            context.Process(target=work, args=arguments, daemon=True).start()
            ours.recv()
            self._pipes.append(ours)

    def run(self) -> list[Any]:
        """What each gives for its share, in the order of the whole."""
        for pipe in self._pipes:
            pipe.send("go")
        results: list[Any] = [None] * self._total
        for pipe, share in zip(self._pipes, self._shares, strict=True):
            for i, codes in zip(share, pipe.recv(), strict=True):
                results[i] = codes
        return results

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.send("")

    def memory(self) -> float:
        """Peak resident memory of the largest process, MiB."""
        for pipe in self._pipes:
            pipe.send("memory")
        return max(float(pipe.recv()) for pipe in self._pipes)


def work(pipe: Connection, name: str, bandwidth: float, items: list[Any], what: str) -> None:
    codec = load_codec(name, bandwidth=bandwidth, device="cpu", threads=1)
    pipe.send("ready")
    with contextlib.suppress(EOFError):  # the measuring process has ended
        while asked := pipe.recv():
            if asked == "memory":
                pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            elif what == "encode":
                pipe.send(codec.encode_batch(items))
            else:
                pipe.send([codec.decode(item) for item in items])


def equal_shares(found: list[Any], expected: list[Any]) -> list[float]:
    """By level, of all codes that transformers gives."""
    equal, frames = np.zeros(1), 0
    for one, other in zip(found, expected, strict=True):
        if other is not None:
            codes = one.codes if isinstance(one, Codes) else one
            equal = equal + (codes == other).sum(axis=1)
            frames += other.shape[1]
    return [float(share) for share in equal / frames]


def full_size(codec: str) -> bool:
    """Whether `GFLOP` is about this codec."""
    from transformers import EncodecConfig

    config = EncodecConfig.from_pretrained(codec)
    return (config.num_filters, config.num_residual_layers, config.num_lstm_layers) == (32, 1, 2)


def float32_limit(device: str) -> float:
    """GFLOP/s of large matrix products on everything there is, of `LIMIT_SIZE`."""
    size, best = LIMIT_SIZE[device], float("inf")
    a = torch.randn(size, size, device=device)
    with exact_float32():
        for _ in range(20):
            began = time.perf_counter()
            float((a @ a)[0, 0])
            best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best / 1e9


def report(
    options: argparse.Namespace,
    count: int,
    seconds: float,
    times: dict[str, list[float]],
    shares: dict[str, list[float]],
) -> None:
    device = torch.cuda.get_device_name() if options.device == "cuda" else machine()
    what = "real recordings" if options.audio else "generated recordings"
    print("# Encoding\n")
    print(
        f"    python -m benchmarks.encode --codec CODEC --bandwidth {options.bandwidth:g} "
        f"--device {options.device}",
        end="",
    )
    print(" --precision fast" if options.precision == "fast" else "", end="")
    print(
        f" --seconds {options.seconds:g} --rounds "
        f"{options.rounds}{' --audio FOLDER' if options.audio else ''}\n"
    )
    print(
        f"{device}; torch {torch.__version__}; {count} {what}, {seconds:.1f} s of audio; median of "
        f"{options.rounds} rounds.\n"
    )
    report_arms(options, seconds, times, shares)
    report_memory(options)
    print(
        "\nThe PyPI package `encodec` is not an arm: it needs torchaudio, for which there is no "
        "build beside this torch."
    )


def report_arms(
    options: argparse.Namespace,
    seconds: float,
    times: dict[str, list[float]],
    shares: dict[str, list[float]],
) -> None:
    print("| | x real time | ratio | of the limit | equal codes |\n|---|---|---|---|---|")
    limit, size = float32_limit(options.device), LIMIT_SIZE[options.device]
    flops = None if not full_size(options.codec) else GFLOP + 0.04 * N_Q[options.bandwidth]
    base = next(iter(times))
    for name, taken in times.items():
        ratio = statistics.median(b / t for b, t in zip(times[base], taken, strict=True))
        speed = seconds / statistics.median(taken)
        part = "" if flops is None else f"{speed * flops / limit:.0%}"
        print(f"| {name} | {speed:.2f} | {ratio:.2f} | {part} | {np.mean(shares[name]):.4%} |")
    if flops is not None:
        print(
            f"\nThe limit: {limit:.0f} GFLOP/s in float32 products of {size:,} x {size:,}, "
            f"{limit / flops:.0f} x real time."
        )
    for name in (name for name in shares if min(shares[name]) < 1.0):
        print(
            f"\nEqual codes by level, {name}: "
            f"{', '.join(f'{share:.3%}' for share in shares[name])}."
        )


def report_memory(options: argparse.Namespace) -> None:
    if options.device == "cuda":
        print(
            "\nPeak GPU memory of the measuring process, with every codec in it: "
            f"{torch.cuda.max_memory_reserved() >> 20} MiB."
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"\nPeak resident memory of the measuring process, with both codecs in it: {peak:.0f} MiB",
        end="",
    )
    print(
        f"; of one that encodes only: {options.pool.memory():.0f} MiB."
        if options.device == "cpu"
        else "."
    )


if __name__ == "__main__":
    sys.exit(main())
