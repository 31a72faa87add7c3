"""What every part works with: a card, a checkpoint, networks, sounds, a clock, and a report that is
written as it grows."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sounds import sound

from benchmarks.machine import machine
from tokenizer.codecs.base import ChunkCodes
from tokenizer.codecs.encodec.checkpoint import load_encodec
from tokenizer.codecs.encodec.codec import open_batched
from tokenizer.codecs.encodec.gpu.batched import BatchedNetwork
from tokenizer.codecs.encodec.gpu.fused import Fused
from tokenizer.codecs.encodec.networks import Network
from tokenizer.codecs.encodec.reference import ReferenceModules, ReferenceNetwork

RATE, WIDTH, HOP = 48_000, 48_000, 320
N_Q = {3.0: 2, 6.0: 4, 12.0: 8, 24.0: 16}
GPU_CALLS = 2
"""that are made side by side, as `pipelines.cluster.driver` does, which needs Ray"""
Chunk = NDArray[np.float32]


class Report:
    """Markdown on standard output and in a file, line by line: what was measured before a run was
    cut off is there."""

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("w", encoding="utf-8") if path else None

    def line(self, text: str = "") -> None:
        print(text, flush=True)
        if self._file:
            self._file.write(text + "\n")
            self._file.flush()

    def table(self, *names: str) -> None:
        self.line()
        self.row(*names)
        self.line("|" + "---|" * len(names))

    def row(self, *values: object) -> None:
        self.line("| " + " | ".join(str(value) for value in values) + " |")


@dataclass
class Bench:
    """One run."""

    folder: Path
    """of the checkpoint"""
    device: torch.device
    toy: bool
    """so little of everything that a CPU is through with it in a minute"""
    ends: float
    """`time.monotonic()` at which nothing new begins"""
    report: Report
    _kept: dict[object, Any] = field(default_factory=dict)

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def card(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.on_gpu else machine()

    def left(self) -> float:
        """Seconds."""
        return self.ends - time.monotonic()

    def model(self, device: torch.device | None = None) -> Any:
        """transformers' `EncodecModel`, on the card or elsewhere."""
        place = device or self.device
        return self._once(("model", place), lambda: load_encodec(str(self.folder), place))

    def network(
        self,
        bandwidth: float,
        precision: str = "exact",
        by: str | None = None,
        beside: bool = True,
    ) -> BatchedNetwork:
        """Ours; on a CPU the very batches, without graphs. `by` torch's operations, "compiled"
        ones or kernels of our own, "direct"; None: as the product chooses. `beside` as
        `BatchedNetwork`."""

        def make() -> BatchedNetwork:
            model, modules = self.model(), ReferenceModules(self.model(), static=True)
            if by is None:
                return open_batched(model, modules, N_Q[bandwidth], precision, beside)
            fused = Fused("eager" if self.toy else "inductor") if by == "compiled" else None
            return BatchedNetwork(
                model, modules, N_Q[bandwidth], precision, fused, by == "direct", beside
            )

        return self._once((bandwidth, precision, by, beside), make)

    def truth(self, bandwidth: float, device: torch.device | None = None) -> ReferenceNetwork:
        """transformers' own modules on a chunk at a time."""

        def make() -> ReferenceNetwork:
            model = self.model(device)
            return ReferenceNetwork(model, ReferenceModules(model), N_Q[bandwidth])

        return self._once(("truth", bandwidth, device), make)

    def forget(self, *keep: object) -> None:
        """Free what networks hold on the card, but for the models."""
        self._kept = {key: value for key, value in self._kept.items() if "model" in str(key)}
        # A network and what fills its batches know each other.
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()

    def wait(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def seconds(self, action: Callable[[], object]) -> float:
        """Of one call, with all that it started."""
        self.wait()
        began = time.perf_counter()
        action()
        self.wait()
        return time.perf_counter() - began

    @contextmanager
    def part(self, title: str) -> Iterator[None]:
        """A section of the report; what breaks in it costs that section."""
        self.report.line(f"\n## {title}\n")
        began = time.monotonic()
        try:
            yield
        except Exception as error:  # the next parts are of use whatever became of this one
            self.report.line(f"\n**{type(error).__name__}**: {error}")
        self.report.line(f"\n({time.monotonic() - began:.0f} s)")

    def _once(self, key: object, make: Callable[[], Any]) -> Any:
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]


def music(samples: int, seed: int) -> Chunk:
    """Tones and noise with a moving level, float32 `[2, samples]`."""
    return sound(samples, seed=seed).samples


def full_chunks(count: int) -> list[Chunk]:
    """Different sounds, of which the first few are repeated: making them takes longer than encoding
    them."""
    made = [music(WIDTH, seed) for seed in range(min(count, 32))]
    return [made[i % len(made)] for i in range(count)]


def clip_chunks(seconds: float, clips: int, spread: float = 0.0, seed: int = 0) -> list[Chunk]:
    """The chunks of clips of some length, or of lengths that vary by a share of it."""
    rng = np.random.default_rng(seed)
    chunks: list[Chunk] = []
    long = music(WIDTH * 4, seed)
    for _ in range(clips):
        samples = int(seconds * RATE * rng.uniform(1 - spread, 1 + spread))
        for start in range(0, samples, 47_520):
            count, at = min(WIDTH, samples - start), int(rng.integers(0, WIDTH * 3))
            chunks.append(np.ascontiguousarray(long[:, at : at + count]))
            if start + WIDTH >= samples:
                break
    return chunks


def audio_seconds(chunks: Sequence[Chunk]) -> float:
    """Of the samples that go in."""
    return sum(chunk.shape[1] for chunk in chunks) / RATE


def encode(
    network: Network, chunks: Sequence[Chunk], at_once: int = 512, calls: int = GPU_CALLS
) -> list[ChunkCodes]:
    """As a worker does: a batch of so many at a time, in calls side by side, so that the next
    batches are filled while these are computed."""
    groups = [chunks[start : start + at_once] for start in range(0, len(chunks), at_once)]
    if len(groups) == 1:
        return network.encode(groups[0])
    with ThreadPoolExecutor(calls) as threads:
        return [one for found in threads.map(network.encode, groups) for one in found]


def equal(mine: Sequence[ChunkCodes], theirs: Sequence[ChunkCodes]) -> tuple[int, int]:
    """Codes that are equal, and all."""
    pairs = list(zip(mine, theirs, strict=True))
    same = sum(int((one.codes == other.codes).sum()) for one, other in pairs)
    return same, sum(other.codes.size for _, other in pairs)
