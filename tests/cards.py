"""A card that is none: what is captured is recorded as a list of operations, and replayed on the
CPU.

A replay sees the tensors that were there at the capture and nothing else, as a graph does: a value
that Python looked at, or a tensor that was made for one batch, gives wrong results for the next.
Streams do everything at once; what they are told to wait for must have been recorded.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tokenizer.codecs.encodec.gpu import graphs
from tokenizer.codecs.encodec.gpu.graphs import GraphRunner, Shape, Work

CPU = torch.device("cpu")


class Recording(TorchDispatchMode):
    """Operations as they are called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result


class FakeGraph:
    """Stands for `torch.cuda.CUDAGraph`."""

    made = replayed = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.recording = Recording()

    def replay(self) -> None:
        type(self).replayed += 1
        for func, args, kwargs, result in self.recording.calls:
            for old, new in zip(
                tree_leaves(result), tree_leaves(func(*args, **kwargs)), strict=True
            ):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


CARD = threading.local()
"""the devices that a thread is on"""


@contextmanager
def on_card(device: torch.device) -> Iterator[None]:
    CARD.all = [*getattr(CARD, "all", []), device]
    yield
    CARD.all.pop()


def require_card(*given: object) -> None:
    """What goes to the thread's own card must have been sent there."""
    assert getattr(CARD, "all", []), "on whichever card the thread is"


class FakeEvent:
    def __init__(self, blocking: bool = False) -> None:
        self.recorded = False

    def record(self, stream: Any) -> None:
        require_card()
        self.recorded = True

    def synchronize(self) -> None:
        assert self.recorded, "nothing to wait for"


class FakeStream:
    def __init__(self, device: Any, priority: int = 0) -> None:
        pass

    def wait_event(self, event: FakeEvent) -> None:
        event.synchronize()

    def synchronize(self) -> None:
        pass


@contextmanager
def inside(stream: Any) -> Iterator[None]:
    yield


@contextmanager
def capture(graph: FakeGraph, **how: Any) -> Iterator[None]:
    require_card()
    assert how["capture_error_mode"] == "thread_local"
    with graph.recording:
        yield


def pretend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch have such a card."""
    fakes: dict[str, Any] = {
        "CUDAGraph": FakeGraph,
        "Event": FakeEvent,
        "Stream": FakeStream,
        "stream": inside,
    }
    fakes |= {
        "graph": capture,
        "graph_pool_handle": object,
        "device": on_card,
        "synchronize": require_card,
        "empty_cache": require_card,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(graphs, "_pinned", lambda size: torch.full((size,), 255, dtype=torch.uint8))
    monkeypatch.setattr(FakeGraph, "made", 0)
    monkeypatch.setattr(FakeGraph, "replayed", 0)


def graph_runner(
    work: Work, precision: str, device: torch.device, largest: Shape, lanes: int = 1
) -> GraphRunner:
    """What `graphs.open_runner` gives for a GPU."""
    return GraphRunner(work, precision, CPU, largest, lanes)


class NothingIsReadBack(TorchDispatchMode):
    """Refuses operations that look at values, which a GPU would be waited for, and which no graph
    can hold."""

    FORBIDDEN = (
        "_local_scalar_dense",
        "nonzero",
        "lift_fresh",
        "masked_select",
        "repeat_interleave",
        "unique",
        "is_nonzero",
    )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        assert not any(word in name for word in self.FORBIDDEN), name
        if "index" in name:
            places = [one for one in args if isinstance(one, list)]
            assert all(one is None or one.dtype != torch.bool for some in places for one in some), (
                name
            )
        return func(*args, **(kwargs or {}))
