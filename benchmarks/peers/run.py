"""One peer in one process: `python -m benchmarks.peers.run PEER write|check|measure …`; prints
JSON.

Started by `benchmarks/loader.py` with the interpreter of the environment that the peer lives in.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import time
from importlib import import_module
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from benchmarks.peers.common import CHECKSUMS, Task, checksum, recordings

PEERS = {
    "codecshards": "ours",
    "codecshards, reading ahead": "ours_ahead",
    "LitData": "litdata_peer",
    "MDS": "mds_peer",
    "WebDataset": "webdataset_peer",
    "datasets, streaming": "datasets_peer",
    "memory map": "memmap_peer",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("what", choices=("write", "check", "measure"))
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--chunks", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=3.0, help="of CPU time to measure")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    peer = import_module(f"benchmarks.peers.{PEERS[options.peer]}")
    task = Task(options.folder, options.source, options.chunks, options.batch_size, options.seed)
    print(
        json.dumps(
            {"write": write, "check": check, "measure": measure}[options.what](peer, task, options)
        )
    )
    return 0


def write(peer: ModuleType, task: Task, options: argparse.Namespace) -> dict[str, Any]:
    """The peer's own format from the Parquet shards, and the checksums of all recordings."""
    np.save(
        task.source.parent / CHECKSUMS,
        np.array([checksum(codes) for codes in recordings(task.source)], np.int64),
    )
    peer.write(task.source, task.folder)
    return {"version": version(peer.PACKAGE), "settings": peer.SETTINGS}


def check(peer: ModuleType, task: Task, options: argparse.Namespace) -> dict[str, Any]:
    """Whether what comes out is what was written, and of the shape that was asked for."""
    known = frozenset(np.load(task.source.parent / CHECKSUMS).tolist())
    checked = Task(task.folder, task.source, task.chunks, task.batch_size, task.seed, known)
    n_q = len(next(recordings(task.source)))
    for batch in islice(peer.batches(checked), 3):
        if batch.dtype != torch.int64 or batch.shape != (task.batch_size, n_q, 150 * task.chunks):
            raise SystemExit(f"{options.peer} gives {batch.dtype}{list(batch.shape)}")
    return {}


def measure(peer: ModuleType, task: Task, options: argparse.Namespace) -> dict[str, Any]:
    """The first batch from nothing but imports, and then as many as fit into the time."""
    began = time.perf_counter()
    stream = peer.batches(task)
    next(stream)
    first = time.perf_counter() - began
    cpu, began, tokens = cpu_seconds(), time.perf_counter(), 0
    while (
        cpu_seconds() - cpu < options.seconds
    ):  # so that other work on the machine shortens no measurement
        tokens += next(stream).numel()
    wall = time.perf_counter() - began
    close = getattr(stream, "close", None)
    if close:
        close()
    del stream
    if multiprocessing.active_children():
        raise SystemExit(f"{options.peer} has left processes whose time cannot be counted")
    return {
        "tokens_per_cpu": tokens / (cpu_seconds() - cpu),
        "tokens_per_wall": tokens / wall,
        "first_seconds": first,
        "peak_bytes": peak_bytes(),
    }


def peak_bytes() -> int:
    """Most resident memory so far. Linux carries `ru_maxrss` over from the process that started
    this one; `VmHWM` is our own."""
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * next(
            int(line.split()[1])
            for line in status.read_text().splitlines()
            if line.startswith("VmHWM")
        )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def cpu_seconds() -> float:
    """User and system time of this process and of those it has waited for."""
    return sum(
        sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )


if __name__ == "__main__":
    sys.exit(main())
