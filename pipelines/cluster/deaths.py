"""How an actor's process died. Ray hides exit codes: each process leaves its last words in a file
on its node."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipelines.system.blame import Death, DeathKind, LastWords
from pipelines.system.machine import of_this_machine

WORDS_SECONDS = 60.0
"""to ask a node how one of its processes died"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an actor runs."""

    node: str
    words: str
    """file on that node in which it says how it died"""


def settle_down() -> tuple[LastWords, Place]:
    """Have this actor's process say how it dies."""
    context = ray.get_runtime_context()
    path = Path(
        tempfile.gettempdir(),
        f"codecshards-{os.getuid()}",
        f"{context.get_actor_id()}.{os.getpid()}",
    )
    return LastWords(path), Place(str(context.get_node_id()), str(path))


def _read_last_words(path: str) -> Death:
    return LastWords.read(Path(path))


def _own_node() -> str | None:
    """The node that this process is on; None for a client, which is on none."""
    if ray.util.client.ray.is_connected():  # type: ignore[no-untyped-call]
        return None
    return str(ray.get_runtime_context().get_node_id())


def how_it_died(place: Place | None, error: BaseException) -> Death:
    """How an actor's process died. Asks its node, while there is one, for a minute at the most.

    Args:
        place: where it ran; None where it never said so.
        error: what Ray raised in its place.
    """
    if place is None:
        return Death(DeathKind.LOST, "a death before it had begun")
    if (
        "low on memory" in str(error) or "OutOfMemory" in type(error).__name__
    ):  # Ray's own watch over memory
        return Death(DeathKind.MEMORY, "Ray's limit on a node's memory")
    if place.node == _own_node():
        return _read_last_words(place.words)
    gone = Death(DeathKind.LOST, "the loss of its node")
    if not is_alive(place.node):
        return gone
    there = NodeAffinitySchedulingStrategy(place.node, soft=False)
    options: dict[str, Any] = {"num_cpus": 0, "max_retries": 3, "scheduling_strategy": there}
    task: Any = ray.remote(**options)(_read_last_words)
    try:
        found: Death = ray.get(task.remote(place.words), timeout=WORDS_SECONDS)
    except RayError:
        return gone
    return found


def is_alive(node_id: str) -> bool:
    """Whether the head takes a node to be there; a lost one is noticed some seconds late."""
    nodes: Any = ray.nodes()  # type: ignore[no-untyped-call]
    return any(node["NodeID"] == node_id and node["Alive"] for node in nodes)


def last_line(error: BaseException) -> str:
    """What an error says in the end: above it, Ray's errors have the trace of another process."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


def why_it_failed(error: RayTaskError) -> str:
    """What an error that ended an actor's task means: its machine's refusal, or a fault of ours."""
    cause: BaseException | None = getattr(error, "cause", None)
    refused = None if cause is None else of_this_machine(cause)
    return refused or f"{last_line(error)} (a fault in codecshards: please report it)"
