"""Chunks of many recordings, packed into full batches; codes handed back per recording, in order.

        recording 1   ████ ▌              batch 1  ████
        recording 2   ▌                   batch 2  ▌▌██
        recording 3   ██████ ▌            batch 3  ████ …

Which chunks share a batch follows from the recordings' order, the batch size and, for the last
ones, the encoder's lanes; what a chunk's codes are does not depend on its company.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipelines.system.blame import Trial
from pipelines.tokenizing.encoders import Chunk, Encoder, EncoderLost
from tokenizer.codecs.base import ChunkCodes
from tokenizer.codecs.pieces import Piece
from tokenizer.errors import FailureKind, RecordingError
from tokenizer.types import Recording


@dataclass(slots=True, eq=False)
class Pending:
    """A recording whose chunks are on their way through an encoder."""

    recording: Recording
    chunks: dict[int, ChunkCodes] = field(default_factory=dict)
    submitted: int = 0
    ended: bool = False
    """no more chunks will come"""
    error: RecordingError | None = None
    facts: Any = None
    """what the decoder reported at the end"""
    num_samples: int = 0

    @property
    def done(self) -> bool:
        return self.ended and (self.error is not None or len(self.chunks) == self.submitted)

    def fail(self, error: RecordingError) -> None:
        """Give the recording up; the first reason stays."""
        self.error = self.error or error
        self.chunks.clear()

    def in_order(self) -> list[ChunkCodes]:
        return [self.chunks[i] for i in range(self.submitted)]


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a chunk's codes go."""

    pending: Pending
    index: int
    chunk: Chunk | Piece


class Packer:
    """Packs chunks into batches for one encoder and keeps a bounded number of batches under way."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._queue: deque[Pending] = deque()
        self._buffer: list[Place] = []
        self._under_way: deque[tuple[Any, list[Place]]] = deque()
        self.encode_wait = 0.0
        """seconds spent waiting for the encoder"""

    def begin(self, recording: Recording) -> Pending:
        """Open the next recording; results come back in the order of these calls."""
        pending = Pending(recording)
        self._queue.append(pending)
        return pending

    def add(self, pending: Pending, chunk: Chunk, last: bool = False) -> None:
        """Send one chunk of an open recording on its way; `last` where it is known to be the
        last."""
        self._buffer.append(Place(pending, pending.submitted, chunk))
        pending.submitted += 1
        if len(self._buffer) >= self._encoder.batch_chunks:
            self._submit(len(self._buffer))

    def ready(self) -> Iterator[Pending]:
        """Recordings that are complete or failed, in order, without waiting for more."""
        while self._queue and self._queue[0].done:
            yield self._queue.popleft()

    def drain(self) -> Iterator[Pending]:
        """Send what is buffered, wait for everything, and yield every ended recording."""
        self._submit_rest()
        while self._under_way:
            self._collect()
        yield from self.ready()

    def _submit_rest(self) -> None:
        """The last chunks, shared out: as one batch they would keep one lane busy while the others
        have nothing to do."""
        share = -(-len(self._buffer) // self._encoder.lanes)
        while self._buffer:
            self._submit(share)

    def _submit(self, count: int) -> None:
        # Chunks of a recording that has failed meanwhile still go: what a batch holds must not
        # depend on timing.
        batch, self._buffer = self._buffer[:count], self._buffer[count:]
        self._send(batch)

    def _send(self, batch: list[Place]) -> None:
        while len(self._under_way) >= self._encoder.window:
            self._collect()
        self._under_way.append((self._encoder.submit(items(batch)), batch))

    def _collect(self) -> None:
        ticket, batch = self._under_way.popleft()
        began = time.perf_counter()
        try:
            self._deliver(batch, self._encoder.result(ticket))
        except (RecordingError, EncoderLost):
            self._one_by_one(batch)
        finally:
            self.encode_wait += time.perf_counter() - began

    def _one_by_one(self, batch: list[Place]) -> None:
        """A batch that failed as a whole: find the recordings at fault, keep the others."""
        for pending in dict.fromkeys(place.pending for place in batch):
            places = [place for place in batch if place.pending is pending]
            try:
                self._alone(pending.recording, places)
            except RecordingError as error:
                named = RecordingError(
                    error.kind, f"{pending.recording.uri}: {error.message}", "encode"
                )
                pending.fail(named)

    def _alone(self, recording: Recording, places: list[Place]) -> None:
        """One recording's part of a batch, until it has its codes, or there is evidence that it
        kills encoders."""
        trial = Trial(recording.id)
        while True:
            ticket = self._encoder.submit(items(places))
            try:
                self._deliver(places, self._encoder.result(ticket))
                return
            except EncoderLost as lost:
                verdict = trial.died(lost.death, alone=True)
            if verdict is not None:
                raise RecordingError(
                    FailureKind.QUARANTINED, f"while it was encoded, {verdict}", "encode"
                )
            time.sleep(trial.pause)

    def _deliver(self, places: list[Place], codes: list[Any]) -> None:
        for place, code in zip(places, codes, strict=True):
            if place.pending.error is None:
                place.pending.chunks[place.index] = code


def items(places: list[Place]) -> Any:
    """What an encoder gets of a batch."""
    return [place.chunk for place in places]
