"""Batches of fixed shapes through a function of tensors: as it is, or on a GPU as captured CUDA
graphs.

A graph replays hundreds of kernels with one call and nothing in it can wait for the host. Staging
buffers, the slots, take turns, so that the next batches are filled and copied while this one is
computed:

    host      fill 0 │ fill 1 │ fill 2  │ wait 0, fill 0  │ …
    copying          │ up 0   │ up 1    │ up 2            │
    computing                 │ graph 0, down 0 │ graph 1, down 1

Threads may share a runner: only launches are done in turns. A thread that waits for a slot must
hold none, or two threads could wait for each other's for ever.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from queue import Empty, LifoQueue
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.codecs.encodec.arithmetic import arithmetic, modest_memory

WARM_UP = 2
"""runs before a capture, in which libraries choose their algorithms and take their memory"""
SLOTS = 3
"""one is computed, one waits on the device, one is filled"""
ALIGNED = 256
"""bytes that a tensor in a buffer starts at a multiple of"""


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a batch."""

    rows: int
    width: int
    """samples, or frames where codes or an LSTM's input go in"""
    masked: bool = False
    """rows may be shorter than `width`; else all are full"""
    levels: int = 0
    """codebooks, where codes go in"""


Layout = Sequence[tuple[tuple[int, ...], torch.dtype]]
"""dimensions and type of every tensor that goes in"""


class Work(Protocol):
    """What is done to a batch."""

    captured: bool = True
    """whether a GPU may capture it: nothing in it looks at a value or copies from the host"""
    modest: bool = False
    """whether it is rounded as with `modest_memory`, which is more than any of its batches needs"""

    def layout(self, shape: Shape) -> Layout:
        """Of the inputs of a batch."""

    def fill(self, inputs: Sequence[torch.Tensor], items: Sequence[Any]) -> None:
        """Write at most as many items as the batch has rows into its inputs on the host, and
        something harmless after them."""

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Inputs on the device to results there, whose shapes follow from theirs."""


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """A batch under way, to be redeemed once."""

    slot: Any
    results: tuple[torch.Tensor, ...]


class Runner(ABC):
    """Runs batches, as many at a time as it has slots."""

    def __init__(self, work: Work, precision: str, slots: Sequence[Any]) -> None:
        """`precision` is that of `tokenizer.codecs.encodec.arithmetic.arithmetic`."""
        self._work, self._precision = work, precision
        # The one that was free last comes first: few batches are captured in few lanes.
        self._free: LifoQueue[Any] = LifoQueue()
        for slot in slots:
            self._free.put(slot)

    def claim(self, wait: bool) -> Any:
        """A slot, for `submit`; None where all are taken and the caller does not wait, as it must
        not while it holds one."""
        try:
            return self._free.get(block=wait)
        except Empty:
            return None

    @torch.inference_mode()
    def submit(self, slot: Any, shape: Shape, items: Sequence[Any]) -> Ticket:
        """Start on a batch of at most `shape.rows` items.

        Raises:
            torch.OutOfMemoryError: the device has too little for such a batch; the slot is free
                again.
        """
        try:
            return Ticket(slot, self._start(slot, shape, items))
        except BaseException:
            self._drain(slot)
            self._free.put(slot)
            raise

    def result(self, ticket: Ticket) -> tuple[NDArray[Any], ...]:
        """What the work gave, in the host's memory; the slot is free again."""
        try:
            return self._finish(ticket)
        finally:
            self._free.put(ticket.slot)

    @abstractmethod
    def forget(self) -> None:
        """Give memory back that is kept for shapes that come again."""

    @abstractmethod
    def _start(self, slot: Any, shape: Shape, items: Sequence[Any]) -> tuple[torch.Tensor, ...]:
        """Results in the host's memory, which may still be on their way."""

    @abstractmethod
    def _finish(self, ticket: Ticket) -> tuple[NDArray[Any], ...]:
        """Wait for them, and take them out of the slot."""

    @abstractmethod
    def _drain(self, slot: Any) -> None:
        """Wait until nothing that was started for a slot uses its memory."""


class EagerRunner(Runner):
    """Calls the work. What a graph would be captured from, on a CPU."""

    def __init__(self, work: Work, precision: str) -> None:
        super().__init__(work, precision, range(SLOTS))

    def _start(self, slot: int, shape: Shape, items: Sequence[Any]) -> tuple[torch.Tensor, ...]:
        inputs = [torch.empty(dims, dtype=dtype) for dims, dtype in self._work.layout(shape)]
        self._work.fill(inputs, items)
        with arithmetic(self._precision):
            return self._work(*inputs)

    def _finish(self, ticket: Ticket) -> tuple[NDArray[Any], ...]:
        return tuple(tensor.numpy() for tensor in ticket.results)

    def forget(self) -> None:
        """Nothing is kept."""

    def _drain(self, slot: int) -> None:
        """Nothing is under way between calls."""


class GraphRunner(Runner):
    """Captures the work once a shape, of those that come again: masked ones, and full ones of the
    largest width.

    For a CUDA device. With several lanes as many batches are computed at the same time, each with
    memory of its own.
    """

    def __init__(
        self, work: Work, precision: str, device: torch.device, largest: Shape, lanes: int = 1
    ) -> None:
        """`largest` has the most rows, the greatest width and the most inputs of all shapes."""
        size = _places(work.layout(largest))[1]
        self._device, self._width = device, largest.width
        with self._card():
            # Small batches beside large ones come first, or each of their kernels would wait for
            # the large ones'.
            self._lanes = [_Lane(device, size, urgent=lanes > 1) for _ in range(lanes)]
            slots = [_Slot(self._lanes[i % lanes], size, device) for i in range(max(SLOTS, lanes))]
            self._copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            # The buffers' memory may have been something else's, and the weights may still be on
            # their way.
            torch.cuda.synchronize(device)
        super().__init__(work, precision, slots)

    def _card(self) -> AbstractContextManager[None]:
        """CUDA calls that name no card go to this one: threads begin on the first, and a capture
        waits for the card that is the thread's own."""
        guard: AbstractContextManager[None] = torch.cuda.device(self._device)
        return guard

    def _memory(self) -> AbstractContextManager[None]:
        return modest_memory(self._device) if self._work.modest else nullcontext()

    def _start(self, slot: _Slot, shape: Shape, items: Sequence[Any]) -> tuple[torch.Tensor, ...]:
        places, size = _places(self._work.layout(shape))
        self._work.fill(_views(slot.host, places), items)
        with self._card(), arithmetic(self._precision):
            again = shape.masked or shape.width == self._width
            graph = self._captured(slot.lane, shape) if again and self._work.captured else None
            with torch.cuda.stream(self._copying):
                slot.device[:size].copy_(slot.host[:size], non_blocking=True)
                slot.copied.record(self._copying)
            with torch.cuda.stream(slot.lane.stream):
                slot.lane.stream.wait_event(slot.copied)
                if graph is None:
                    with self._memory():
                        there = self._work(*_views(slot.device, places))
                else:
                    slot.lane.inputs[:size].copy_(slot.device[:size])
                    graph.graph.replay()
                    there = graph.results
                results = slot.room_for(there)
                for result, tensor in zip(results, there, strict=True):
                    result.copy_(tensor, non_blocking=True)
                slot.done.record(slot.lane.stream)
        return tuple(results)

    def _finish(self, ticket: Ticket) -> tuple[NDArray[Any], ...]:
        ticket.slot.done.synchronize()
        return tuple(tensor.numpy().copy() for tensor in ticket.results)

    def _drain(self, slot: _Slot) -> None:
        # A stream that another thread captures must not be waited for.
        with self._card(), arithmetic(self._precision):
            self._copying.synchronize()
            slot.lane.stream.synchronize()

    def forget(self) -> None:
        """Give the graphs' memory back; they are captured again when they are needed."""
        with self._card(), arithmetic(self._precision):
            torch.cuda.synchronize(self._device)
            for lane in self._lanes:
                lane.graphs.clear()
                lane.pool = torch.cuda.graph_pool_handle()
            torch.cuda.empty_cache()

    def _captured(self, lane: _Lane, shape: Shape) -> _Graph:
        if shape not in lane.graphs:
            lane.graphs[shape] = self._capture(lane, shape)
        return lane.graphs[shape]

    def _capture(self, lane: _Lane, shape: Shape) -> _Graph:
        places, size = _places(self._work.layout(shape))
        inputs = _views(lane.inputs, places)
        graph = torch.cuda.CUDAGraph()
        with self._memory():
            with torch.cuda.stream(lane.stream):
                lane.inputs[:size].zero_()
                for _ in range(WARM_UP):
                    self._work(*inputs)
            # A lane's graphs share memory: their results are copied away, in the same stream,
            # before the next one is replayed.
            with torch.cuda.graph(
                graph, pool=lane.pool, stream=lane.stream, capture_error_mode="thread_local"
            ):
                results = self._work(*inputs)
        return _Graph(graph, results)


def open_runner(
    work: Work, precision: str, device: torch.device, largest: Shape, lanes: int = 1
) -> Runner:
    """The one for a device, as `GraphRunner`."""
    if device.type == "cpu":
        return EagerRunner(work, precision)
    return GraphRunner(work, precision, device, largest, lanes)


@dataclass(frozen=True, slots=True, eq=False)
class _Graph:
    """Captured work with what it writes; it reads its lane's inputs."""

    graph: Any
    results: tuple[torch.Tensor, ...]


class _Lane:
    """A stream with graphs that are replayed in it one after the other, and the memory that all of
    them read."""

    def __init__(self, device: torch.device, size: int, urgent: bool) -> None:
        priority = -1 if urgent else 0
        self.stream = torch.cuda.Stream(device, priority)  # type: ignore[no-untyped-call]
        self.pool: Any = torch.cuda.graph_pool_handle()
        self.inputs = torch.empty(size, dtype=torch.uint8, device=device)
        self.graphs: dict[Shape, _Graph] = {}


class _Slot:
    """Staging buffers: pinned memory for inputs, its twin on the device, pinned memory for results,
    and when they are done with.

    All are kept: pinned memory that is given back is marked in the streams that used it, which
    another thread may be capturing.
    """

    def __init__(self, lane: _Lane, size: int, device: torch.device) -> None:
        self.lane = lane
        self.host = _pinned(size)
        self.device = torch.empty(size, dtype=torch.uint8, device=device)
        self.back = torch.empty(0, dtype=torch.uint8)
        self.copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        # A thread that waits for it sleeps, and leaves its core to those that decode audio.
        self.done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]

    def room_for(self, results: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Pinned tensors like these, until the slot's next batch."""
        places, size = _places([(tuple(tensor.shape), tensor.dtype) for tensor in results])
        if self.back.numel() < size:
            self.back = _pinned(size)
        return _views(self.back, places)


def _pinned(size: int) -> torch.Tensor:
    """Bytes of the host's that a GPU copies by itself; where no more memory may be pinned, such as
    the driver copies for it, whose caller waits meanwhile."""
    try:
        return torch.empty(size, dtype=torch.uint8, pin_memory=True)
    except RuntimeError:
        return torch.empty(size, dtype=torch.uint8)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tensor lies in a buffer."""

    start: int
    dims: tuple[int, ...]
    dtype: torch.dtype

    @property
    def stop(self) -> int:
        return self.start + math.prod(self.dims) * self.dtype.itemsize


def _places(layout: Layout) -> tuple[list[_Place], int]:
    """Of every input in a buffer of bytes, and the bytes of all."""
    places: list[_Place] = []
    for dims, dtype in layout:
        start = -(-places[-1].stop // ALIGNED) * ALIGNED if places else 0
        places.append(_Place(start, dims, dtype))
    return places, places[-1].stop


def _views(buffer: torch.Tensor, places: Sequence[_Place]) -> list[torch.Tensor]:
    return [buffer[place.start : place.stop].view(place.dtype).view(place.dims) for place in places]


def fill(
    samples: torch.Tensor, lengths: torch.Tensor, chunks: Sequence[NDArray[np.float32]]
) -> None:
    """Write chunks into a batch on the host; rows without one are silence of full width, and come
    to nothing."""
    # By NumPy: torch would divide every chunk among threads that it has to wake up for it.
    rows = samples.numpy()
    rows[len(chunks) :] = 0.0
    lengths.fill_(samples.shape[2])
    for row, chunk in enumerate(chunks):
        count = chunk.shape[1]
        rows[row, :, :count] = chunk
        rows[row, :, count:] = 0.0
        lengths[row] = count


def put(samples: torch.Tensor, recording: NDArray[np.float32]) -> None:
    """Write a recording into a tensor on the host, of the same shape."""
    samples.numpy()[:] = recording
