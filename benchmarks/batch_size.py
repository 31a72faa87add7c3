"""How many chunks a call to the encoder should take: what `tokenizer.codecs.batch_chunks` rests on.

    python -m tokenizer.codecs.encodec.seeded codec --size full
    python -m benchmarks.batch_size --codec codec > benchmarks/results/batch_size.md

One thread, as each of `tokenize`'s encoders has; all sizes in turns. Larger batches share the
LSTM's weights; smaller ones leave less at the end of a shard for one encoder alone, and less on its
way.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import numpy as np
import torch

from benchmarks.machine import machine
from tokenizer import load_codec
from tokenizer.allocator import keep_freed_memory


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--codec",
        required=True,
        help="a checkpoint folder (python -m tokenizer.codecs.encodec.seeded FOLDER)",
    )
    parser.add_argument("--bandwidth", type=float, default=6.0)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    keep_freed_memory()
    codec = load_codec(options.codec, bandwidth=options.bandwidth, device="cpu", threads=1)
    rng = np.random.default_rng(0)
    chunks = [
        np.float32(0.1) * rng.standard_normal((2, 48_000), np.float32)
        for _ in range(max(options.sizes))
    ]
    taken: dict[int, list[float]] = {size: [] for size in options.sizes}
    codec.encode_chunks(chunks)
    for _ in range(options.rounds):
        for size in options.sizes:
            began = time.perf_counter()
            for start in range(0, len(chunks), size):
                codec.encode_chunks(chunks[start : start + size])
            taken[size].append((time.perf_counter() - began) / len(chunks))
    print("# Chunks a batch on a CPU\n")
    sizes = " ".join(map(str, options.sizes))
    print(
        f"    python -m benchmarks.batch_size --codec CODEC --bandwidth {options.bandwidth:g} "
        f"--sizes {sizes}",
        end=" ",
    )
    print(f"--rounds {options.rounds}\n")
    print(f"One thread of {machine()}; torch {torch.__version__}; {len(chunks)} full chunks;")
    print(f"median of {options.rounds} rounds.\n")
    print("| chunks a batch | ms a chunk | x real time | ratio to the fastest |")
    print("|---|---|---|---|")
    middle = {size: statistics.median(values) for size, values in taken.items()}
    for size, seconds in middle.items():
        print(
            f"| {size} | {1000 * seconds:.1f} | {0.99 / seconds:.2f} | "
            f"{min(middle.values()) / seconds:.2f} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
