"""The encoder of a runner: it spreads batches over the encode actors that there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError

from pipelines.cluster.deaths import Place, how_it_died
from pipelines.system.blame import Death, DeathKind
from pipelines.tokenizing.encoders import Batch, Coded, EncoderLost
from tokenizer.errors import CodecshardsError, FailureKind, RecordingError

DECODE_TRIES = 4


@dataclass(frozen=True, slots=True)
class Feed:
    """Where a runner may send its chunks, and how many at a time."""

    actors: tuple[Any, ...]
    """encode actors that are ready"""
    places: tuple[Place, ...]
    """each one's"""
    nearby: bool
    """send only to those on the runner's own node, where there are any: what a GPU takes would fill
    a network"""
    batch_chunks: int
    window: int
    """batches that a runner may have under way"""

    def seen_from(self, node: str, number: int) -> tuple[Any, ...]:
        """The actors that runner `number` on `node` sends to, the one that gets its first batch in
        front."""
        near = [
            actor
            for actor, place in zip(self.actors, self.places, strict=True)
            if place.node == node
        ]
        chosen = near if self.nearby and near else list(self.actors)
        first = number % len(chosen) if chosen else 0
        return tuple(chosen[first:] + chosen[:first])


@dataclass(frozen=True, slots=True, eq=False)
class _Ticket:
    """A batch under way."""

    answer: Any
    actor: Any


class RayEncoder:
    """Sends each batch to the encode actor that has the fewest of this runner's, so that none waits
    for a slower one.

    The driver says which actors there are, and again whenever that changes; while there are none,
    `submit` waits.
    """

    def __init__(self, node: str, number: int, feed: Feed) -> None:
        self.busy = 0.0
        self._node, self._number = node, number
        self._under_way: dict[Any, Any] = {}
        """actor by answer"""
        self._changed = Condition()
        self._piece_length: tuple[int | None] | None = None
        """None until it is known"""
        self.refeed(feed)

    def refeed(self, feed: Feed) -> None:
        """Take over which actors there are; on any thread."""
        with self._changed:
            self._feed = feed
            self._actors = list(feed.seen_from(self._node, self._number))
            self.batch_chunks, self.window, self.lanes = (
                feed.batch_chunks,
                max(feed.window, 1),
                max(len(self._actors), 1),
            )
            self._changed.notify_all()

    @property
    def piece_length(self) -> int | None:
        """As the actors say, who hold the codec; asked once."""
        if self._piece_length is None:
            self._piece_length = (self._ask(lambda actor: actor.piece_length.remote(), "asked"),)
        return self._piece_length[0]

    def submit(self, batch: Batch) -> _Ticket:
        actor = self._idlest()
        answer = actor.encode.remote(list(batch))
        self._under_way[answer] = actor
        return _Ticket(answer, actor)

    def result(self, ticket: _Ticket) -> list[Any]:
        try:
            found = ray.get(ticket.answer)
        except RayActorError as error:
            raise EncoderLost(self._lost(ticket.actor, error)) from error
        finally:
            self._under_way.pop(ticket.answer, None)
        if isinstance(found, CodecshardsError):
            raise found
        codes, seconds = found
        self.busy += seconds
        return list(codes)

    def decode(self, coded: Coded) -> list[Any]:
        return list(self._ask(lambda actor: actor.decode.remote(list(coded)), "decoded"))

    def _ask(self, question: Callable[[Any], Any], what: str) -> Any:
        """The answer of whichever actor lives."""
        for _ in range(DECODE_TRIES):
            actor = self._idlest()
            try:
                found = ray.get(question(actor))
            except RayActorError as error:
                self._lost(actor, error)
                continue
            if isinstance(found, CodecshardsError):
                raise found
            return found
        raise RecordingError(
            FailureKind.ENCODER,
            f"its process died {DECODE_TRIES} times while it was {what}",
            "decode",
        )

    def _lost(self, actor: Any, error: RayActorError) -> Death:
        """An actor is gone: send it no more, until the driver says so."""
        if isinstance(error, ActorUnavailableError):  # it may be there again
            return Death(DeathKind.LOST, "a connection that broke")
        with self._changed:
            if actor in self._actors:
                self._actors.remove(actor)
            feed = self._feed
        places = [
            place for known, place in zip(feed.actors, feed.places, strict=True) if known == actor
        ]
        return (
            how_it_died(places[0], error)
            if places
            else Death(DeathKind.LOST, "a death that was known of")
        )

    def _idlest(self) -> Any:
        """The actor with the fewest unfinished batches; of several, the one whose turn it is."""
        under_way = list(self._under_way)
        done, _ = (
            ray.wait(under_way, num_returns=len(under_way), timeout=0) if under_way else ([], [])
        )
        for answer in done:
            self._under_way.pop(answer)
        busy = list(self._under_way.values())
        with self._changed:
            while not self._actors:
                self._changed.wait()
            actor = min(self._actors, key=busy.count)
            self._actors.remove(actor)
            self._actors.append(actor)
            return actor
