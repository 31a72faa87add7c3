"""How far rounding moves margins in the batches and in what is settled side by side, against their
bounds, and what each stage of settling costs.

"Of the bound" is what `benchmarks/rounding.py` and `benchmarks/structured.py` report: how far the
margin of a code differs from transformers' alone, over the bound that puts it in doubt. "Of the
encoder's part" leaves out how distances are rounded, on both sides: it grows as
`certainty.BESIDE` is made smaller, and is what that may be chosen by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from sounds import structured

from benchmarks.gpu.bench import HOP, WIDTH, Bench, Chunk, clip_chunks, full_chunks, music
from benchmarks.moves import Moves, measure
from tokenizer.chunking import frames_of
from tokenizer.codecs.encodec.arithmetic import exact_float32, modest_memory
from tokenizer.codecs.encodec.certainty import BESIDE
from tokenizer.codecs.encodec.gpu import settling
from tokenizer.codecs.encodec.gpu.batched import BatchedNetwork
from tokenizer.codecs.encodec.gpu.batches import Batcher
from tokenizer.codecs.encodec.gpu.beside import Together
from tokenizer.codecs.encodec.gpu.graphs import Shape, fill
from tokenizer.codecs.encodec.reference import ReferenceModules
from tokenizer.codecs.encodec.scales import normalise, row_scales

AT_ONCE = settling.ROWS[-1]
"""chunks that are embedded together"""
Embedded = list[tuple[torch.Tensor, float]]
"""of each chunk embeddings float32 `[frames, dim]` and the condition that multiplies its bound"""


def run(bench: Bench) -> None:
    """Both tables."""
    moves(bench)
    bench.forget()
    costs(bench)


def moves(bench: Bench) -> None:
    """How far both stages moved margins, as shares of their bounds."""
    network = bench.network(24.0, beside=True)
    outcomes = trial(network, 4 if bench.toy else AT_ONCE)
    said = [f"{sum(some)} of {len(some)} `{name}`" for name, some in outcomes.items()]
    bench.report.line(f"In one call, with the bits of alone, run {', '.join(said)}.")
    bench.report.line(f"Side by side the bound has {BESIDE:.3g} of the encoder's part.")
    bench.report.table(
        "chunks",
        "stage",
        "codes",
        "of the bound: most",
        "99.9%",
        "of the encoder's part: most",
        "99.9%",
        "codes beyond the bound",
    )
    for name, chunks in kinds(bench).items():
        for stage, found in moved(bench, network, chunks).items():
            bench.report.row(name, stage, *cells(found))


def kinds(bench: Bench) -> dict[str, list[Chunk]]:
    """Full chunks and shorter ones of music, and of what leaves a normalisation little but a
    mean."""
    few = 2 if bench.toy else 64
    return {
        "full": [music(WIDTH, 1_000 + seed) for seed in range(few)],
        "tails": clip_chunks(0.5, few, 0.9),
        "structured, full": odd_ones(WIDTH, few),
        "structured, tails": odd_ones(9_001, few),
    }


def odd_ones(samples: int, count: int) -> list[Chunk]:
    """Of each kind in turn."""
    found: list[Chunk] = []
    while len(found) < count:
        found += [one.samples for one in structured(samples, len(found)).values()]
    return found[:count]


def trial(network: BatchedNetwork, rows: int) -> dict[str, list[bool]]:
    """Whether steps run in one call for so many rows, by their kind."""
    outcomes: dict[str, list[bool]] = {}
    tried = Together._tried

    def counted(self: Together, x: torch.Tensor) -> torch.Tensor:
        found = tried(self, x)
        name = getattr(self._step, "__name__", type(self._step).__name__)
        outcomes.setdefault(name, []).append(tuple(x.shape) in self._proven)
        return found

    with patch.object(Together, "_tried", counted), exact_float32():
        network._settling.full.try_out([Shape(rows, WIDTH)])
    return outcomes


@torch.inference_mode()
def moved(bench: Bench, network: BatchedNetwork, chunks: Sequence[Chunk]) -> dict[str, list[Moves]]:
    """In both stages, of every chunk whose embeddings are finite."""
    found: dict[str, list[Moves]] = {"batches": [], "side by side": []}
    encoder = ReferenceModules(bench.model(), static=True).encoder
    for start in range(0, len(chunks), AT_ONCE):
        some = [torch.from_numpy(chunk)[None] for chunk in chunks[start : start + AT_ONCE]]
        some = [chunk.to(bench.device) for chunk in some]
        with exact_float32(), modest_memory(bench.device):
            theirs = [encoder(normalise(chunk)[0])[0].t().contiguous() for chunk in some]
            stages = ((in_batches(network, some), 1.0), (beside(network, some), BESIDE))
            for stage, (ours, share) in zip(found, stages, strict=True):
                for one, (other, condition) in zip(theirs, ours, strict=True):
                    moves = measure(bench.model(), one, other, condition, share)
                    found[stage] += [] if moves is None else [moves]
    return found


def in_batches(network: BatchedNetwork, chunks: list[torch.Tensor]) -> Embedded:
    """By the encoder of the batches."""
    samples, lengths = joined(chunks)
    known = None if all(chunk.shape[2] == WIDTH for chunk in chunks) else lengths
    divided = samples / row_scales(samples, known)[:, None, None]
    embeddings, _, conditions = network._encoding._encoder.conditioned(divided, known)
    return by_chunk(chunks, embeddings, conditions)


def beside(network: BatchedNetwork, chunks: list[torch.Tensor]) -> Embedded:
    """As they are settled side by side."""
    settling = network._settling
    if all(chunk.shape[2] == WIDTH for chunk in chunks):
        return by_chunk(chunks, *settling.rest.embed(settling.full.front(joined(chunks)[0])[0]))
    hidden, own, _ = settling.shorter.hidden(chunks)
    return by_chunk(chunks, *settling.rest.embed(hidden, own))


def joined(chunks: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch float32 `[rows, channels, width]` on the chunks' device, and lengths `[rows]`."""
    samples = torch.empty(len(chunks), chunks[0].shape[1], WIDTH)
    lengths = torch.empty(len(chunks), dtype=torch.int64)
    fill(samples, lengths, [chunk[0].cpu().numpy() for chunk in chunks])
    return samples.to(chunks[0].device), lengths.to(chunks[0].device)


def by_chunk(
    chunks: list[torch.Tensor], embeddings: torch.Tensor, conditions: torch.Tensor
) -> Embedded:
    """`[rows, dim, frames]` and `[rows]`, taken apart."""
    frames = [frames_of(chunk.shape[2], HOP) for chunk in chunks]
    values = conditions.tolist()
    rows = [embeddings[row, :, :count].t().contiguous() for row, count in enumerate(frames)]
    return list(zip(rows, values, strict=True))


def cells(found: Sequence[Moves]) -> list[str]:
    """Of a row of the table."""
    if not found:
        return ["0"]
    share = np.concatenate([(one.moved / one.bound).ravel() for one in found])
    encoder = np.concatenate([one.encoder.ravel() for one in found])
    values = [part for some in (share, encoder) for part in (some.max(), np.quantile(some, 0.999))]
    return [f"{share.size:,}", *(f"{value:.3f}" for value in values), f"{(share > 1).sum()}"]


def costs(bench: Bench) -> None:
    """Chunks in doubt after each stage, and what settling one takes."""
    bench.report.line("\nMilliseconds of a chunk in either stage, were all in doubt settled so:")
    bench.report.table(
        "kbps",
        "chunks",
        "full, in doubt after the batches",
        "after side by side",
        "ms side by side",
        "ms alone",
        "tails, in doubt after the batches",
        "after side by side",
        "ms side by side",
        "ms alone",
    )
    full = full_chunks(4 if bench.toy else 256)
    tails = clip_chunks(0.5, 4 if bench.toy else 256, 0.9)
    for bandwidth in (24.0,) if bench.toy else (3.0, 6.0, 24.0):
        network = bench.network(bandwidth, beside=True)
        found = [part for chunks in (full, tails) for part in of_kind(bench, network, chunks)]
        bench.report.row(f"{bandwidth:g}", f"{len(full)} + {len(tails)}", *found)
        bench.forget()


def of_kind(bench: Bench, network: BatchedNetwork, chunks: Sequence[Chunk]) -> Iterator[object]:
    """Cells of full chunks or of tails."""
    doubtful = [
        chunks[i]
        for indices, (_, _, _, near) in network._encoder().run(chunks)
        for row, i in enumerate(indices)
        if near[row]
    ]
    yield len(doubtful)
    settling = network._settling
    is_full = chunks[0].shape[1] == WIDTH
    left = 0
    if doubtful:
        batcher = settling._full() if is_full else settling._shorter()
        for indices, (_, _, near, _) in batcher.run(doubtful):
            left += int(near[: len(indices)].sum())
    yield left
    for opened in ((settling._full if is_full else settling._shorter), settling._alone):
        yield milliseconds(bench, opened(), doubtful) if doubtful else ""


def milliseconds(bench: Bench, batcher: Batcher, chunks: Sequence[Chunk]) -> str:
    """Of one of the chunks, with all graphs captured."""

    def go(some: Sequence[Any] = chunks) -> None:
        for _ in batcher.run(some):
            pass

    go()
    return f"{bench.seconds(go) / len(chunks) * 1000:.2f}"
