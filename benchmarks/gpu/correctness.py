"""Are the codes transformers' own, and is the sound?"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sounds import structured

from benchmarks.gpu.bench import HOP, N_Q, WIDTH, Bench, Chunk, encode, equal, music
from tokenizer.codecs.base import ChunkCodes
from tokenizer.codecs.encodec.arithmetic import exact_float32, modest_memory
from tokenizer.codecs.encodec.gpu.batches import PARTS

CPU = torch.device("cpu")
CPU_TIME = 240
"""seconds that must be left for comparisons with a CPU, which cost some 20"""


def run(bench: Bench) -> None:
    """Every kind of sound at every class of length, against `EncodecModel.encode` on one recording
    alone, on the same device and on the CPU."""
    sounds = kinds(bench)
    bench.report.line(
        "The truth is `EncodecModel.encode` of one recording alone, at 24 kbps. The last column "
        "says how far transformers agrees with itself between this device and a CPU."
    )
    bench.report.table(
        "sound", "chunks", "codes", "equal to it here", "settled", "transformers here and on a CPU"
    )
    network = bench.network(24.0)
    for name, chunks in sounds.items():
        before = network.repeated
        found = encode(network, chunks)
        here = [upstream(bench.model(), chunk, 24.0) for chunk in chunks]
        same, total = equal(found, here)
        sample = slice(0, len(chunks), max(1, len(chunks) // 4))
        if bench.on_gpu and bench.left() > CPU_TIME:
            there = [upstream(bench.model(CPU), chunk, 24.0) for chunk in chunks[sample]]
            agree, of = equal(here[sample], there)
            between = f"{agree / of:.5%} of {of:,}"
        else:
            between = "not compared"
        verdict = "all" if same == total else f"**{total - same} differ**"
        bench.report.row(
            name, len(chunks), f"{total:,}", verdict, network.repeated - before, between
        )
    decoding(bench)


def kinds(bench: Bench) -> dict[str, list[Chunk]]:
    """Chunks by what is special about them."""
    full, some = (3, 2) if bench.toy else (64, 12)
    edges = {WIDTH // part + step for part in PARTS for step in (-1, 0, 1)}
    short = {1, 2, 3, 7, HOP - 1, HOP, HOP + 1, 2 * HOP, 480, 1000}
    lengths = sorted(n for n in edges | short if 1 <= n < WIDTH)
    if bench.toy:
        lengths = lengths[:: len(lengths) // 3]
    chosen: dict[str, list[Chunk]] = {
        "full chunks": [music(WIDTH, seed) for seed in range(full)],
        "tails, every length class and its edges": [music(n, n) for n in lengths],
        "tails of random lengths": [
            music(int(n), int(n)) for n in np.random.default_rng(0).integers(1, WIDTH, 5 * some)
        ],
    }
    for seed in range(some):
        for name, one in structured(WIDTH if seed % 2 else 20_000 + seed, seed).items():
            chosen.setdefault(name, []).append(one.samples)
    return chosen


def upstream(model: Any, chunk: Chunk, bandwidth: float) -> ChunkCodes:
    """What transformers says of a recording of one chunk."""
    place = next(model.parameters()).device
    with torch.inference_mode(), exact_float32(), modest_memory(place):
        codes, scale = model._encode_frame(torch.from_numpy(chunk)[None].to(place), bandwidth)
    return ChunkCodes(
        codes[0].cpu().numpy().astype(np.uint16), None if scale is None else float(scale)
    )


def decoding(bench: Bench) -> None:
    """Samples against transformers' decoder on the same device."""
    count = 4 if bench.toy else 64
    bench.report.table("decoding", "chunks", "largest difference", "of the largest sample")
    for bandwidth in (24.0,) if bench.toy else (3.0, 24.0):
        rng = np.random.default_rng(1)
        frames = [150 if i % 3 else int(rng.integers(1, 151)) for i in range(count)]
        chunks = [
            ChunkCodes(rng.integers(0, 1024, (N_Q[bandwidth], n)).astype(np.uint16), 0.1)
            for n in frames
        ]
        mine = bench.network(bandwidth).decode(chunks)
        theirs = bench.truth(bandwidth).decode(chunks)
        worst = max(float(np.abs(a - b).max()) for a, b in zip(mine, theirs, strict=True))
        peak = max(float(np.abs(b).max()) for b in theirs)
        bench.report.row(f"{bandwidth:g} kbps", count, f"{worst:.2e}", f"{worst / peak:.1e}")
