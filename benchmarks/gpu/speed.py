"""How many seconds of audio a second encodes and decodes, what memory that takes, and by which
batches."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from itertools import cycle

import torch

from benchmarks.gpu.bench import (
    WIDTH,
    Bench,
    Chunk,
    audio_seconds,
    clip_chunks,
    encode,
    equal,
    full_chunks,
)
from benchmarks.gpu.correctness import upstream
from tokenizer.codecs.base import ChunkCodes
from tokenizer.codecs.encodec.gpu.batches import ROWS
from tokenizer.codecs.encodec.gpu.direct.usable import usable

ROUNDS = 3
FULL = "full chunks"


def run(bench: Bench) -> None:
    """Ours and transformers' in turns."""
    feeds = {name: variants(chunks) for name, chunks in corpora(bench).items()}
    bench.report.line(
        f"Seconds of audio in a second, medians of {1 if bench.toy else ROUNDS} rounds, ours and "
        "transformers' in turns in each. transformers: one chunk at a time, on a sample of them."
    )
    bench.report.table(
        "what", "kbps", "ours exact", "ours fast", "transformers", "ours / transformers"
    )
    for name, feed in feeds.items():
        bandwidths = (6.0, 24.0, 3.0) if name == FULL else (6.0, 24.0)
        for bandwidth in bandwidths[:1] if bench.toy else bandwidths:
            if bench.left() < 30:
                bench.report.row(name, bandwidth, *["no time"] * 4)
                continue
            _encode_row(bench, name, bandwidth, feed)
            bench.forget()
    _decode_rows(bench)


def corpora(bench: Bench) -> dict[str, list[Chunk]]:
    """What is encoded."""
    if bench.toy:
        return {FULL: full_chunks(4), "speech-like clips": clip_chunks(1.2, 2, 0.5)}
    return {
        FULL: full_chunks(2048),
        "clips of 10 s": clip_chunks(10.0, 160),
        "speech-like clips of 1 to 8 s": clip_chunks(4.5, 240, 0.78),
    }


def variants(chunks: Sequence[Chunk]) -> list[Sequence[Chunk]]:
    """The same with other lengths of those that are not full, for every round: libraries choose
    once for each length, and a corpus has ever new ones."""
    return [
        [chunk[:, 11 * turn :] if 1_000 < chunk.shape[1] < WIDTH else chunk for chunk in chunks]
        for turn in range(2 + ROUNDS)
    ]


def _encode_row(bench: Bench, name: str, bandwidth: float, feed: list[Sequence[Chunk]]) -> None:
    chunks = feed[0]
    some = chunks[: 2 if bench.toy else 16]
    model = bench.model()
    arms: dict[str, tuple[Callable[[], object], float]] = {}
    for label in ("exact", "fast"):
        network, turns = bench.network(bandwidth, label), cycle(feed)
        arms[label] = (
            (lambda network=network, turns=turns: encode(network, next(turns))),
            audio_seconds(chunks),
        )
    arms["transformers"] = (
        (lambda: [upstream(model, chunk, bandwidth) for chunk in some]),
        audio_seconds(some),
    )
    found = in_turns(bench, arms)
    ratio = found["exact"] / found["transformers"]
    bench.report.row(
        name,
        f"{bandwidth:g}",
        f"{found['exact']:,.0f}",
        f"{found['fast']:,.0f}",
        f"{found['transformers']:,.1f}",
        f"{ratio:.1f}",
    )


def _decode_rows(bench: Bench) -> None:
    for bandwidth in (6.0,) if bench.toy else (24.0, 6.0):
        if bench.left() < 20:
            return
        chunks = full_chunks(4 if bench.toy else 1024)
        network, truth = bench.network(bandwidth), bench.truth(bandwidth)
        codes: list[ChunkCodes] = encode(network, chunks)
        some = codes[: 2 if bench.toy else 48]
        found = in_turns(
            bench,
            {
                "ours": (lambda network=network, codes=codes: network.decode(codes), len(codes)),
                "transformers": (lambda truth=truth, some=some: truth.decode(some), len(some)),
            },
        )
        bench.report.row(
            "decoding full chunks",
            f"{bandwidth:g}",
            f"{found['ours']:,.0f}",
            "",
            f"{found['transformers']:,.1f}",
            f"{found['ours'] / found['transformers']:.1f}",
        )
        bench.forget()


def ways(bench: Bench) -> None:
    """torch's operations and kernels of our own, in turns, with what is in doubt settled; and
    whether the codes are the same."""
    if not usable(bench.device):
        bench.report.line("Not run: kernels of our own do not run here.")
        return
    bench.report.table("what", "precision", "torch's", "ours", "ratio", "codes that differ")
    chosen = corpora(bench)
    for name in (FULL, list(chosen)[-1]):
        chunks = chosen[name][:1024]
        for precision in ("exact", "fast"):
            if bench.left() > 20:
                _against(bench, "direct", f"{name}, 6 kbps | {precision}", 6.0, precision, chunks)


def compiled(bench: Bench) -> None:
    """What lies between convolutions as it is and compiled, likewise."""
    bench.report.table("what", "precision", "as it is", "compiled", "ratio", "codes that differ")
    chosen = corpora(bench)
    for name in [FULL, list(chosen)[-1]][: 1 if bench.toy else 2]:
        if bench.left() > 20:
            what = f"{name}, 24 kbps | exact"
            _against(bench, "compiled", what, 24.0, "exact", chosen[name][:1024])


def _against(
    bench: Bench, by: str, what: str, bandwidth: float, precision: str, chunks: Sequence[Chunk]
) -> None:
    plain, other = (bench.network(bandwidth, precision, way) for way in ("torch", by))
    same, total = equal(encode(other, chunks), encode(plain, chunks))
    found = in_turns(
        bench,
        {
            "plain": (lambda: encode(plain, chunks), audio_seconds(chunks)),
            "other": (lambda: encode(other, chunks), audio_seconds(chunks)),
        },
    )
    bench.report.row(
        what,
        f"{found['plain']:,.0f}",
        f"{found['other']:,.0f}",
        f"{found['other'] / found['plain']:.2f}",
        f"{total - same} of {total:,}",
    )
    bench.forget()


def in_turns(bench: Bench, arms: dict[str, tuple[Callable[[], object], float]]) -> dict[str, float]:
    """Seconds of audio a second of each arm, once warm."""
    times: dict[str, list[float]] = {name: [] for name in arms}
    for action, _ in arms.values():
        for _ in range(1 if bench.toy else 2):
            action()  # captures, and libraries' choices
    for _ in range(1 if bench.toy else ROUNDS):
        for name, (action, _) in arms.items():
            times[name].append(bench.seconds(action))
    return {name: seconds / statistics.median(times[name]) for name, (_, seconds) in arms.items()}


def by_batch(bench: Bench) -> None:
    """Rows of a batch against speed and memory."""
    bench.report.table("rows of a batch", "seconds of audio a second", "GB reserved")
    network = bench.network(6.0)
    for rows in ROWS[:1] if bench.toy else ROWS:
        if bench.left() < 10:
            return
        chunks = full_chunks(rows * 4)
        encode(network, chunks, rows)
        if bench.on_gpu:
            torch.cuda.reset_peak_memory_stats(bench.device)
        taken = bench.seconds(lambda chunks=chunks, rows=rows: encode(network, chunks, rows))
        held = torch.cuda.memory_reserved(bench.device) / 1e9 if bench.on_gpu else 0.0
        bench.report.row(rows, f"{len(chunks) / taken:,.0f}", f"{held:.2f}")
    bench.forget()
