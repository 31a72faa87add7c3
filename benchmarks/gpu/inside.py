"""Where the time goes: near ties, kernels and the gaps between them, and what feeds the card."""

from __future__ import annotations

import time
from collections.abc import Sequence
from unittest.mock import patch

import torch

from benchmarks.gpu.bench import WIDTH, Bench, Chunk, clip_chunks, encode, full_chunks
from tokenizer.codecs.encodec import certainty
from tokenizer.codecs.encodec.gpu.batched import BatchedNetwork
from tokenizer.codecs.encodec.gpu.graphs import fill

TOP = 12


def settling(bench: Bench) -> None:
    """Which share of the chunks is encoded again, and how much longer that makes it."""
    bench.report.table(
        "kbps",
        "way",
        "chunks",
        "settled",
        "share",
        "of these alone",
        "s with",
        "s without",
        "ms of settling a chunk",
    )
    for bandwidth in (24.0,) if bench.toy else (3.0, 6.0, 24.0):
        chunks = full_chunks(2 if bench.toy else 512) + clip_chunks(1.3, 1 if bench.toy else 64)
        with patch.object(certainty, "CERTAIN", 0.0):  # nothing is in doubt then
            without = _encoded(bench, bench.network(bandwidth), chunks)[0]
        bench.forget()
        for beside in (False, True):
            network = bench.network(bandwidth, beside=beside)
            taken, again, alone = _encoded(bench, network, chunks)
            bench.forget()
            bench.report.row(
                f"{bandwidth:g}",
                "side by side first" if beside else "alone",
                len(chunks),
                again,
                f"{again / len(chunks):.1%}",
                alone,
                f"{taken:.3f}",
                f"{without:.3f}",
                f"{1000 * (taken - without) / again:.2f}" if again else "",
            )


def _encoded(
    bench: Bench, network: BatchedNetwork, chunks: Sequence[Chunk]
) -> tuple[float, int, int]:
    """Seconds, once all that is captured has been, and how many were settled, and alone."""
    for _ in range(3 if bench.on_gpu else 1):  # graphs of every lane
        encode(network, chunks)
    again, alone = network.repeated, network.settled_alone
    taken = bench.seconds(lambda: encode(network, chunks))
    return taken, network.repeated - again, network.settled_alone - alone


def kernels(bench: Bench) -> None:
    """The profiler's word on one batch of full chunks and one of tails."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if bench.on_gpu else [])
    feeds: dict[str, list[Chunk]] = {
        "full chunks": full_chunks(2 if bench.toy else 256),
        "tails": clip_chunks(0.6, 2 if bench.toy else 256, 0.5),
    }
    arms = [(name, "exact") for name in feeds] + [("full chunks", "fast")]
    for name, precision in arms[:2] if bench.toy else arms:
        chunks, network = feeds[name], bench.network(24.0, precision)
        encode(network, chunks)
        with profile(activities=activities) as record:
            taken = bench.seconds(lambda network=network, chunks=chunks: encode(network, chunks))
        _profiled(bench, f"{name}, {precision}", chunks, taken, record.key_averages())


def _profiled(
    bench: Bench, name: str, chunks: Sequence[Chunk], taken: float, found: Sequence[object]
) -> None:
    def cost(one: object) -> float:
        kind = "self_device_time_total" if bench.on_gpu else "self_cpu_time_total"
        return float(getattr(one, kind, 0.0))

    # Of what runs on the card only its own kernels and copies count, not the calls that wait for
    # them.
    there = [
        one for one in found if not bench.on_gpu or "CUDA" in str(getattr(one, "device_type", ""))
    ]
    there.sort(key=cost, reverse=True)
    busy = sum(map(cost, there)) / 1e6
    launches = sum(int(getattr(one, "count", 0)) for one in there)
    bench.report.line(
        f"{name}: {len(chunks)} chunks in {taken * 1000:.1f} ms, busy {busy * 1000:.1f} ms "
        f"({busy / taken:.0%}, with lanes side by side more than there is), "
        f"{launches / len(chunks):.1f} kernels a chunk."
    )
    bench.report.table("kernel", "calls", "ms", "share")
    for one in there[:TOP]:
        share = cost(one) / 1e6 / busy if busy else 0.0
        key = str(getattr(one, "key", ""))[:90].replace("|", "\\|")
        count = getattr(one, "count", 0)
        bench.report.row(f"`{key}`", count, f"{cost(one) / 1e3:.2f}", f"{share:.1%}")
    bench.report.line()


def feed(bench: Bench) -> None:
    """What one host thread does for every chunk, and how fast samples reach the card."""
    rows = 4 if bench.toy else 256
    chunks = full_chunks(rows)
    samples = torch.empty(rows, 2, WIDTH, pin_memory=bench.on_gpu)
    lengths = torch.empty(rows, dtype=torch.int64)
    began, rounds = time.perf_counter(), 2 if bench.toy else 10
    for _ in range(rounds):
        fill(samples, lengths, chunks)
    taken = (time.perf_counter() - began) / rounds
    bench.report.table("step", "ms for a batch", "seconds of audio a second", "GB/s")
    size = samples.numel() * 4
    bench.report.row(
        f"fill {rows} rows on the host, one thread",
        f"{taken * 1000:.2f}",
        f"{rows / taken:,.0f}",
        f"{size / taken / 1e9:.1f}",
    )
    if bench.on_gpu:
        there = torch.empty_like(samples, device=bench.device)
        for label, host in (("pinned", samples), ("pageable", torch.empty(samples.shape))):
            copied = bench.seconds(lambda there=there, host=host: there.copy_(host))
            bench.report.row(
                f"copy to the card, {label}",
                f"{copied * 1000:.2f}",
                f"{rows / copied:,.0f}",
                f"{size / copied / 1e9:.1f}",
            )
    checked = chunks[0]
    began = time.perf_counter()
    for _ in range(rounds * 10):
        float(checked.min()), float(checked.max())
    each = (time.perf_counter() - began) / rounds / 10
    bench.report.row(
        "check one chunk",
        f"{each * 1000:.3f}",
        f"{1 / each:,.0f}",
        f"{checked.nbytes / each / 1e9:.1f}",
    )
