"""Real recordings: their codes against transformers', and how fast they are encoded."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.gpu.bench import N_Q, RATE, WIDTH, Bench, Chunk, audio_seconds, encode, equal
from benchmarks.gpu.correctness import upstream
from benchmarks.gpu.speed import in_turns
from tokenizer.chunking import chunk_spans
from tokenizer.codecs.base import ChunkCodes

STRIDE = WIDTH - WIDTH // 100
COUNT = 2048
"""chunks that are encoded in one go, where speed is measured"""


def run(bench: Bench, folder: Path | None) -> None:
    """Every chunk of every file."""
    if folder is None:
        bench.report.line("Not run: --audio FOLDER names no recordings.")
        return
    full: list[Chunk] = []
    shorter: list[Chunk] = []
    files = sorted(folder.rglob("*.wav"))
    for path in files:
        for chunk in chunks_of(path):
            (full if chunk.shape[1] == WIDTH else shorter).append(chunk)
    bench.report.line(
        f"{len(files)} files; the truth is `EncodecModel.encode` of each chunk alone, at 24 kbps."
    )
    bench.report.table(
        "chunks", "how many", "kbps", "codes", "equal to transformers'", "settled", "of these alone"
    )
    for name, chunks in (("full", full), ("shorter", shorter)):
        if chunks:
            against(bench, name, chunks)
    if full:
        speed(bench, [full[i % len(full)] for i in range(4 if bench.toy else COUNT)])


def chunks_of(path: Path) -> Iterator[Chunk]:
    """Stereo; one channel goes twice."""
    with wave.open(str(path)) as file:
        if file.getframerate() != RATE or file.getsampwidth() != 2:
            raise ValueError(f"{path} is not 48 kHz with 16 bit")
        flat = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        samples = (flat.reshape(-1, file.getnchannels()).T / 32768).astype(np.float32)
    stereo = np.ascontiguousarray(np.broadcast_to(samples, (2, samples.shape[1])))
    for start, stop in chunk_spans(samples.shape[1], WIDTH, STRIDE):
        yield stereo[:, start:stop].copy()


def against(bench: Bench, name: str, chunks: list[Chunk]) -> None:
    """Codes at both bandwidths, of which the lower has the first of the higher one's codebooks."""
    theirs = [upstream(bench.model(), chunk, 24.0) for chunk in chunks]
    for bandwidth in (24.0, 6.0):
        truth = [ChunkCodes(one.codes[: N_Q[bandwidth]], one.scale) for one in theirs]
        network = bench.network(bandwidth)
        same, total = equal(encode(network, chunks), truth)
        verdict = "all" if same == total else f"**{total - same} differ**"
        said = f"{total:,}", verdict, network.repeated, network.settled_alone
        bench.report.row(name, len(chunks), f"{bandwidth:g}", *said)
        bench.forget()


def speed(bench: Bench, chunks: list[Chunk]) -> None:
    """Of full chunks, over and over."""
    bench.report.line("\nSeconds of audio in a second, exact, of these full chunks over and over:")
    bench.report.table("kbps", "ours", "settled, of all", "of these alone")
    for bandwidth in (6.0,) if bench.toy else (6.0, 24.0):
        if bench.left() < 10:
            return
        network = bench.network(bandwidth)
        arm = (lambda network=network: encode(network, chunks)), audio_seconds(chunks)
        found = in_turns(bench, {"ours": arm})["ours"]
        before = network.repeated, network.settled_alone
        encode(network, chunks)
        settled = (network.repeated - before[0]) / len(chunks)
        alone = network.settled_alone - before[1]
        bench.report.row(f"{bandwidth:g}", f"{found:,.0f}", f"{settled:.1%}", alone)
        bench.forget()
