"""Batches of a few fixed shapes through a function of tensors: as it is, or on a GPU as captured CUDA graphs.

A graph replays hundreds of kernels with one call and nothing in it can wait for the host. Two staging buffers take turns, so
that the next batch is copied while this one is computed:

    host      fill 0 │ fill 1 │ wait 0, fill 0 │ …
    copying          │ up 0   │ up 1           │
    computing                 │ graph 0, down 0 │ graph 1, down 1
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

WARM_UP = 2
"""runs before a capture, in which libraries choose their algorithms and take their memory"""
Function = Callable[[torch.Tensor, torch.Tensor | None], tuple[torch.Tensor, ...]]
"""float32 `[rows, channels, width]` and int64 `[rows]` or None, to tensors whose shapes follow from those"""


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a batch."""

    rows: int
    width: int
    masked: bool
    """rows may be shorter than `width`; else all are full"""


class Runner(ABC):
    """Runs batches in the order in which they are submitted, at most `ahead` of them before a result is asked for."""

    ahead: int

    @abstractmethod
    def submit(self, shape: Shape, chunks: Sequence[NDArray[np.float32]]) -> Any:
        """Start on a batch of at most `shape.rows` chunks, float32 `[channels, n]` each; returns a ticket."""

    @abstractmethod
    def result(self, ticket: Any) -> tuple[NDArray[Any], ...]:
        """What the function gave, in the host's memory; tickets are redeemed once, in order."""


class EagerRunner(Runner):
    """Calls the function. What a graph would be captured from, on any device."""

    ahead = 1

    def __init__(self, function: Function, channels: int) -> None:
        self._function, self._channels = function, channels

    def submit(self, shape: Shape, chunks: Sequence[NDArray[np.float32]]) -> tuple[torch.Tensor, ...]:
        samples = torch.empty(shape.rows, self._channels, shape.width)
        lengths = torch.empty(shape.rows, dtype=torch.int64)
        fill(samples, lengths, chunks)
        return self._function(samples, lengths if shape.masked else None)

    def result(self, ticket: tuple[torch.Tensor, ...]) -> tuple[NDArray[Any], ...]:
        return tuple(tensor.numpy() for tensor in ticket)


def fill(samples: torch.Tensor, lengths: torch.Tensor, chunks: Sequence[NDArray[np.float32]]) -> None:
    """Write chunks into a batch on the host; rows without one are silence of full width, and come to nothing."""
    samples[len(chunks) :].zero_()
    lengths.fill_(samples.shape[2])
    for row, chunk in enumerate(chunks):
        count = chunk.shape[1]
        samples[row, :, :count] = torch.from_numpy(chunk)
        samples[row, :, count:] = 0.0
        lengths[row] = count


class GraphRunner(Runner):
    """Captures the function once a shape. For a CUDA device, on one thread at a time."""

    ahead = 2

    def __init__(self, function: Function, channels: int, device: torch.device, largest: Shape) -> None:
        self._function, self._channels, self._device = function, channels, device
        self._pool: Any = torch.cuda.graph_pool_handle()
        self._copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._graphs: dict[Shape, _Graph] = {}
        self._slots = [_Slot(largest, channels, device) for _ in range(self.ahead)]
        self._next = 0
        # The buffers' memory may have been something else's, which is still being computed.
        self._copying.wait_stream(torch.cuda.current_stream(device))

    def submit(self, shape: Shape, chunks: Sequence[NDArray[np.float32]]) -> tuple[_Slot, list[torch.Tensor]]:
        if shape not in self._graphs:
            self._graphs[shape] = self._capture(shape)
        graph, slot = self._graphs[shape], self._slots[self._next]
        self._next = (self._next + 1) % len(self._slots)
        sizes = (shape.rows, self._channels, shape.width)
        (samples, lengths), (samples_there, lengths_there) = slot.host.view(*sizes), slot.device.view(*sizes)
        fill(samples, lengths, chunks)
        computing = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._copying):
            self._copying.wait_event(slot.free)
            samples_there.copy_(samples, non_blocking=True)
            lengths_there.copy_(lengths, non_blocking=True)
            slot.copied.record(self._copying)
        computing.wait_event(slot.copied)
        graph.samples.copy_(samples_there)
        graph.lengths.copy_(lengths_there)
        slot.free.record(computing)
        graph.graph.replay()
        results = [torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for tensor in graph.results]
        for result, tensor in zip(results, graph.results, strict=True):
            result.copy_(tensor, non_blocking=True)
        slot.done.record(computing)
        return slot, results

    def result(self, ticket: tuple[_Slot, list[torch.Tensor]]) -> tuple[NDArray[Any], ...]:
        slot, results = ticket
        slot.done.synchronize()
        return tuple(tensor.numpy() for tensor in results)

    def _capture(self, shape: Shape) -> _Graph:
        samples = torch.zeros(shape.rows, self._channels, shape.width, device=self._device)
        lengths = torch.full((shape.rows,), shape.width, dtype=torch.int64, device=self._device)
        given = lengths if shape.masked else None
        aside = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                self._function(samples, given)
        torch.cuda.current_stream(self._device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # All graphs share their memory: their results are copied away, in the same stream, before the next one is replayed.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            results = self._function(samples, given)
        return _Graph(graph, samples, lengths, results)


@dataclass(frozen=True, slots=True, eq=False)
class _Graph:
    """A captured function with what it reads and writes."""

    graph: Any
    samples: torch.Tensor
    lengths: torch.Tensor
    results: tuple[torch.Tensor, ...]


class _Slot:
    """One of the staging buffers: pinned memory, its twin on the device, and when each may be used again."""

    def __init__(self, largest: Shape, channels: int, device: torch.device) -> None:
        self.copied, self.free, self.done = (torch.cuda.Event() for _ in range(3))  # type: ignore[no-untyped-call]
        count = largest.rows * channels * largest.width
        self.host = Buffer(torch.empty(count, pin_memory=True), torch.empty(largest.rows, dtype=torch.int64, pin_memory=True))
        on_device = torch.empty(largest.rows, dtype=torch.int64, device=device)
        self.device = Buffer(torch.empty(count, device=device), on_device)


@dataclass(frozen=True, slots=True, eq=False)
class Buffer:
    """Memory for a batch of any of the shapes."""

    samples: torch.Tensor
    """float32, flat"""
    lengths: torch.Tensor

    def view(self, rows: int, channels: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 `[rows, channels, width]` and int64 `[rows]` in it."""
        return self.samples[: rows * channels * width].view(rows, channels, width), self.lengths[:rows]
