"""How far rounding moves what codes are decided by, and whether the bounds of
`tokenizer.codecs.encodec.certainty` hold it.

    python -m tokenizer.codecs.encodec.seeded codec --size full
    python -m benchmarks.rounding FOLDER --codec codec --codec small >
    benchmarks/results/rounding.md
    python -m benchmarks.rounding FOLDER --codec codec --network batched [--device cuda]

Chunks of recordings are encoded by one of our networks in company, and by transformers' own alone.
What counts is how far the margins of codes are apart (`benchmarks/moves.py`), against the bound
that decides whether the reference settles a chunk.

The expected share of wrong codes is the density of margins about zero times the mean excess over
the bound: how often a tie comes so near that only an excess could decide it.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import machine
from benchmarks.moves import Moves, measure
from tokenizer import read_audio
from tokenizer.chunking import chunk_spans, frames_of
from tokenizer.codecs.encodec.arithmetic import exact_float32
from tokenizer.codecs.encodec.checkpoint import load_encodec
from tokenizer.codecs.encodec.cpu.seanet import SeaNet
from tokenizer.codecs.encodec.gpu.batches import batches
from tokenizer.codecs.encodec.gpu.graphs import fill
from tokenizer.codecs.encodec.gpu.masked import MaskedEncoder
from tokenizer.codecs.encodec.scales import normalise, row_scales
from tokenizer.errors import RecordingError

BATCH = {"tiled": 8, "batched": 64}
"""chunks that our network takes at once"""
Network = Callable[[list[torch.Tensor]], list[tuple[torch.Tensor, float]]]
"""chunks float32 `[1, 2, n]` as they are, to embeddings `[dim, frames]` and conditions"""
NEAR = 1e-3
"""margins below it, as a share of the chunk's RMS, tell the density of margins about zero"""


BEGINNING = 4.0
"""seconds of a recording that a codec without windows is given"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", help="recordings; two chunks of each are taken")
    parser.add_argument(
        "--codec", action="append", required=True, help="checkpoint folders or names"
    )
    parser.add_argument("--files", type=int, default=120, help="most recordings")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--network", choices=sorted(BATCH), help="the device's own by default")
    options = parser.parse_args()
    options.network = options.network or ("tiled" if options.device == "cpu" else "batched")
    torch.set_num_threads(1)
    files = sorted(path for path in Path(options.folder).rglob("*") if path.is_file())
    files = random.Random(1).sample(files, min(options.files, len(files)))
    names = " ".join(f"--codec {Path(name).name}" for name in options.codec)
    print("# What rounding moves\n")
    print(f"    python -m benchmarks.rounding FOLDER {names} --files {options.files}", end="")
    print(f" --device {options.device} --network {options.network}\n")
    device = torch.cuda.get_device_name() if options.device == "cuda" else machine()
    print(f"{device}; torch {torch.__version__}; {len(files)} files.\n")
    print(
        "| codec | codes | a frame moves, median | most | beyond the bound | most, of it | "
        "uncertain codes | chunks settled",
        end="",
    )
    print(" | expected wrong |\n|---|---|---|---|---|---|---|---|---|")
    for name in options.codec:
        print(
            row(
                Path(name).name,
                [moves for moves in compare(name, files, options) if moves is not None],
            ),
            flush=True,
        )
    return 0


def some_chunks(files: list[Path], config: Any) -> Iterator[torch.Tensor]:
    """float32 `[1, channels, n]`, two of each file that can be read; its beginning for a codec
    without windows."""
    rng = random.Random(2)
    for path in files:
        try:
            samples = read_audio(path, config.sampling_rate, config.audio_channels).samples
        except RecordingError:
            continue
        if config.chunk_length is None:
            samples = samples[:, : round(BEGINNING * config.sampling_rate)]
        spans = chunk_spans(samples.shape[1], config.chunk_length, config.chunk_stride)
        for start, stop in rng.sample(spans, min(2, len(spans))):
            yield torch.from_numpy(np.ascontiguousarray(samples[:, start:stop]))[None]


@torch.inference_mode()
def compare(name: str, files: list[Path], options: argparse.Namespace) -> Iterator[Moves | None]:
    """None: the codec's output is not finite."""
    model = load_encodec(name, torch.device(options.device))
    chunks = list(some_chunks(files, model.config))
    network = tiled(model) if options.network == "tiled" else batched(model)
    size = BATCH[options.network]
    for start in range(0, len(chunks), size):
        group = [chunk.to(options.device) for chunk in chunks[start : start + size]]
        with exact_float32():
            found = [
                measure(
                    model,
                    model.encoder(ready(model, chunk))[0].t().contiguous(),
                    ours.t().contiguous(),
                    condition,
                )
                for chunk, (ours, condition) in zip(group, network(group), strict=True)
            ]
        yield from found


def tiled(model: Any) -> Network:
    """What runs on a CPU."""
    encoder = SeaNet(model.encoder)
    return lambda chunks: list(
        zip(*encoder.conditioned([ready(model, chunk)[0] for chunk in chunks]), strict=True)
    )


def ready(model: Any, chunk: torch.Tensor) -> torch.Tensor:
    return normalise(chunk)[0] if model.config.normalize else chunk


def batched(model: Any) -> Network:
    """What runs on a GPU: full chunks in one batch, and the others masked in another."""
    encoder = MaskedEncoder(model.encoder)

    def network(chunks: list[torch.Tensor]) -> list[tuple[torch.Tensor, float]]:
        results = [(chunk, 1.0) for chunk in chunks]
        for shape, indices in batches(
            [chunk.shape[2] for chunk in chunks], 48_000, (BATCH["batched"],)
        ):
            samples, lengths = (
                torch.empty(shape.rows, 2, shape.width),
                torch.empty(shape.rows, dtype=torch.int64),
            )
            fill(samples, lengths, [chunks[i][0].cpu().numpy() for i in indices])
            samples, known = (
                samples.to(chunks[0].device),
                lengths.to(chunks[0].device) if shape.masked else None,
            )
            embeddings, _, conditions = encoder.conditioned(
                samples / row_scales(samples, known)[:, None, None], known
            )
            for row, i in enumerate(indices):
                results[i] = (
                    embeddings[row, :, : frames_of(chunks[i].shape[2], 320)],
                    float(conditions[row]),
                )
        return results

    return network


def row(name: str, found: list[Moves]) -> str:
    moved, bound, margin = (
        np.concatenate([getattr(one, part).ravel() for one in found])
        for part in ("moved", "bound", "margin")
    )
    rms = np.concatenate([np.full(one.margin.size, one.rms) for one in found])
    frames = np.concatenate([one.frames for one in found])
    settled = sum(bool((one.margin < one.bound).any()) for one in found) / len(found)
    beyond, density = moved > bound, (np.abs(margin) < NEAR * rms).mean() / NEAR
    wrong = (np.maximum(moved - bound, 0.0) / rms).mean() * density
    cells = [
        name,
        f"{moved.size:,}",
        f"{np.median(frames):.2g}",
        f"{frames.max():.2g}",
        f"{beyond.mean():.2g}",
    ]
    cells += [
        f"{(moved / bound).max():.2f}",
        f"{(margin < bound).mean():.2g}",
        f"{settled:.1%}",
        f"{wrong:.1g}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
