"""Silence, constants, impulses and the like against transformers' `EncodecModel.encode`, and how
far rounding moves margins.

    PYTHONPATH=.:tests python -m benchmarks.structured [--seeds 50] [--first 0]

A reduced checkpoint per seed, and a recording of a second of every kind with it. "Of the bound" is
the most that rounding moved a margin, over the bound that decides whether the reference settles the
chunk; see `benchmarks/rounding.py`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from sounds import structured
from transformers import EncodecModel

from benchmarks.machine import machine
from benchmarks.moves import measure
from benchmarks.rounding import batched, ready, tiled
from tokenizer import Waveform, load_codec
from tokenizer.codecs.encodec.arithmetic import exact_float32
from tokenizer.codecs.encodec.checkpoint import load_model
from tokenizer.codecs.encodec.codec import EncodecCodec
from tokenizer.codecs.encodec.cpu.tiled_network import TiledNetwork
from tokenizer.codecs.encodec.gpu.batched import BatchedNetwork
from tokenizer.codecs.encodec.reference import ReferenceModules
from tokenizer.codecs.encodec.seeded import write_seeded

SAMPLES = 47_520
"""one chunk"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=50, help="how many")
    parser.add_argument("--first", type=int, default=0, help="seed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for seed in range(options.first, options.first + options.seeds):
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode(), exact_float32():
            for name, row in compare(
                write_seeded(Path(folder) / "codec", size="reduced", seed=seed), seed
            ).items():
                rows[name].append(row)
    print("# Structured signals\n")
    print(
        f"    PYTHONPATH=.:tests python -m benchmarks.structured --seeds {options.seeds} "
        f"--first {options.first}\n"
    )
    print(
        f"{machine()}; torch {torch.__version__}; {options.seeds} reduced checkpoints, one "
        "recording each.\n"
    )
    print(
        "| kind | codes | tiled: wrong | settled | of the bound | batched: wrong | settled | of "
        "the bound |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, found in rows.items():
        table = np.array(found)
        cells = [f"{int(table[:, 0].sum()):,}"]
        for at in (1, 4):
            cells += [
                f"{int(table[:, at].sum())}",
                f"{table[:, at + 1].mean():.0%}",
                f"{table[:, at + 2].max():.2f}",
            ]
        print(f"| {name} | {' | '.join(cells)} |")
    return 0


def compare(folder: Path, seed: int) -> dict[str, tuple[float, ...]]:
    """Per kind: codes; then wrong codes, whether the reference settled it, and the most of the
    bound, of both networks."""
    model, oracle = (
        load_model(folder, torch.device("cpu")),
        EncodecModel.from_pretrained(folder).eval(),
    )
    codec = load_codec(str(folder), bandwidth=24.0, device="cpu")
    assert isinstance(codec, EncodecCodec) and isinstance(codec._network, TiledNetwork)
    network = BatchedNetwork(model, ReferenceModules(model, static=True), n_q=16)
    results = {}
    for name, waveform in structured(SAMPLES, seed).items():
        chunk = torch.from_numpy(waveform.samples)[None]
        expected = oracle.encode(chunk, bandwidth=24.0).audio_codes[0, 0].numpy()
        row: list[float] = [expected.size]
        for net, embed in ((codec._network, tiled(model)), (network, batched(model))):
            before = net.repeated
            found = (
                codec.encode(Waveform(waveform.samples, 48_000))
                if net is codec._network
                else network.encode([chunk[0].numpy()])[0]
            )
            (ours, condition) = embed([chunk])[0]
            moves = measure(
                model,
                model.encoder(ready(model, chunk))[0].t().contiguous(),
                ours.t().contiguous(),
                condition,
            )
            assert moves is not None
            row += [
                int((found.codes != expected).sum()),
                net.repeated - before,
                float((moves.moved / moves.bound).max()),
            ]
        results[name] = tuple(row)
    return results


if __name__ == "__main__":
    sys.exit(main())
