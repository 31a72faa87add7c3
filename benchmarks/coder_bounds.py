"""Bits a code that a coder takes, by level and by folder, beside what counting allows.

    python -m benchmarks.coder_bounds OUT [--coder small|RUN] [--n-q 4 16] [--hold-out GLOB …]

On recordings that the coder was not trained on: those that `train-coder` holds out with the same
flags. Order 0 counts codes of the recordings that were trained on; "own" is the entropy of the
held-out codes themselves, which nothing that counts without looking back can go below; order 1
counts pairs of codes that follow each other in a level, mixed with order 0 by the weight that is
best here; zstd packs the codes at 16 bits, a level after the other.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from pipelines.cli.archiving.training_codes import Wanted, read_codes
from tokenizer.coding.base import TOTAL_BITS, Predictor
from tokenizer.coding.registry import load_predictor, shipped
from tokenizer.coding.training.corpus import Segments

Codes = NDArray[np.uint16]
_MIXED = (10.0, 30.0, 100.0, 300.0, 1000.0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--coder", default="small")
    parser.add_argument("--n-q", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--hold-out", action="append", default=[])
    parser.add_argument("--leave-out", action="append", default=[])
    parser.add_argument("--hold-out-share", type=float, default=0.05)
    options = parser.parse_args()
    torch.set_num_threads(1)
    coder = coder_of(options.coder)
    for n_q in options.n_q:
        wanted = Wanted(
            n_q=n_q,
            hold_out=tuple(options.hold_out),
            hold_out_share=options.hold_out_share,
            leave_out=tuple(options.leave_out),
        )
        read = read_codes([options.out], wanted)
        report(n_q, coder.at(n_q), read.train, read.held_out)


def coder_of(name: str) -> Predictor:
    path = Path(name)
    file = path / "coder.safetensors" if path.is_dir() else path
    return load_predictor("transformer", file.read_bytes()) if file.is_file() else shipped(name)


def report(n_q: int, coder: Predictor, train: Segments, held: Segments) -> None:
    segments = [held[n] for n in range(len(held))]
    coder.intervals(segments[:1])  # compiles
    began = time.process_time()
    found = [coder.intervals(segments[n : n + 64]) for n in range(0, len(segments), 64)]
    seconds = time.process_time() - began
    bits = [TOTAL_BITS - np.log2(one[1].astype(np.float64)) for part in found for one in part]
    levels = np.concatenate(bits, axis=1).mean(axis=1)
    fixed = np.log2(np.array(coder.sizes))
    table = {
        "order 0": order_0(train, segments),
        "order 0, own": own(segments),
        "order 1": order_1(train, segments),
        "zstd": zstd(segments),
        "coder": levels,
    }
    print(f"\n{n_q} levels, {held.frames:,} frames of {held.recordings} recordings held out\n")
    print("| | mean | saved | " + " | ".join(str(k + 1) for k in range(n_q)) + " |")
    print("|---|---|---|" + "---|" * n_q)
    for name, row in table.items():
        each = " | ".join(f"{one:.2f}" for one in row)
        print(f"| {name} | {row.mean():.3f} | {1 - row.sum() / fixed.sum():.1%} | {each} |")
    by_folder(held, bits, fixed)
    print(f"\nwidths of all codes: {seconds:.1f} s of a core")


def by_folder(
    held: Segments, bits: Sequence[NDArray[np.float64]], fixed: NDArray[np.float64]
) -> None:
    total: dict[str, list[float]] = defaultdict(lambda: [0.0, 0])
    for id, one in zip(held.ids, bits, strict=True):
        folder = "/".join(id.split("/")[:2])
        total[folder][0] += float(one.sum())
        total[folder][1] += one.shape[1]
    print("\n| folder | frames | bits a code | saved |\n|---|---|---|---|")
    for folder, (summed, frames) in sorted(total.items()):
        mean = summed / frames / len(fixed)
        print(f"| {folder} | {frames:,} | {mean:.3f} | {1 - mean / fixed.mean():.1%} |")


def order_0(train: Segments, segments: Sequence[Codes]) -> NDArray[np.float64]:
    found = []
    for level in range(len(train.sizes)):
        share = smoothed(train.counts(level))
        codes = np.concatenate([one[level] for one in segments])
        found.append(-np.log2(share[codes]).mean())
    return np.array(found)


def own(segments: Sequence[Codes]) -> NDArray[np.float64]:
    found = []
    for level in range(len(segments[0])):
        counts = np.bincount(np.concatenate([one[level] for one in segments]))
        share = counts[counts > 0] / counts.sum()
        found.append(-(share * np.log2(share)).sum())
    return np.array(found)


def order_1(train: Segments, segments: Sequence[Codes]) -> NDArray[np.float64]:
    found = []
    for level, size in enumerate(train.sizes):
        pairs = np.zeros((size, size), np.float32)
        for number in range(len(train)):
            codes = train[number][level]
            np.add.at(pairs, (codes[:-1], codes[1:]), 1)
        share, rows = smoothed(train.counts(level)), pairs.sum(axis=1)
        first = np.concatenate([one[level, :1] for one in segments])
        before = np.concatenate([one[level, :-1] for one in segments])
        after = np.concatenate([one[level, 1:] for one in segments])
        best = min(
            -np.log2((pairs[before, after] + mixed * share[after]) / (rows[before] + mixed)).sum()
            for mixed in _MIXED
        )
        total = best - np.log2(share[first]).sum()
        found.append(total / (len(first) + len(after)))
    return np.array(found)


def zstd(segments: Sequence[Codes]) -> NDArray[np.float64]:
    codec, found = pa.Codec("zstd", 19), []
    for level in range(len(segments[0])):
        codes = np.concatenate([one[level] for one in segments]).astype("<u2")
        found.append(8 * len(codec.compress(codes.tobytes(), asbytes=True)) / len(codes))
    return np.array(found)


def smoothed(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    share: NDArray[np.float64] = (counts + 0.5) / (counts + 0.5).sum()
    return share


if __name__ == "__main__":
    main()
