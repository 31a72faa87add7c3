"""Pieces of many recordings, packed into batches: the next piece of a recording goes only when the
state has come that the one before has left.

        recording 1   1 2 3 4        batch 1   1 1
        recording 2   1              batch 2   2 1
        recording 3   1 2 3          batch 3   3 2
                                     batch 4   4 3

So that recordings can share batches, pieces wait here, up to a bound in bytes: beyond it, batches
go with what there is. What a state holds travels with the piece, so that any encoder can take it,
and take it again when another has died with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipelines.tokenizing.encoders import Chunk, Encoder
from pipelines.tokenizing.packing import Packer, Pending, Place
from tokenizer.codecs.base import ChunkCodes
from tokenizer.codecs.pieces import Piece, State

WAITING_BYTES = 96 << 20
"""of samples that wait for their turn: some 20 minutes of one channel at 24 kHz"""


@dataclass(slots=True, eq=False)
class _Line:
    """Where one recording is."""

    pending: Pending
    waiting: deque[tuple[int, Chunk, bool]] = field(default_factory=deque)
    """index, samples, whether it is the last"""
    state: State = None
    """as the piece before has left it"""
    under_way: bool = False


class PiecePacker(Packer):
    """Packs pieces of recordings that go one after the other."""

    def __init__(self, encoder: Encoder, waiting_bytes: int = WAITING_BYTES) -> None:
        super().__init__(encoder)
        self._lines: dict[Pending, _Line] = {}
        self._most, self._held = waiting_bytes, 0

    def add(self, pending: Pending, chunk: Chunk, last: bool = False) -> None:
        """Have one piece of an open recording wait for its turn; of one that has failed nothing is
        to be encoded any more."""
        if pending.error is not None:
            return
        line = self._lines.setdefault(pending, _Line(pending))
        line.waiting.append((pending.submitted, chunk, last))
        pending.submitted += 1
        self._held += chunk.nbytes
        full = self._encoder.batch_chunks
        while len(free := self._free()) >= full:
            self._go(free[:full])
        while self._held > self._most:
            self._go_on(free_most=full)

    def drain(self) -> Iterator[Pending]:
        """Wait for everything, and yield every ended recording."""
        while self._free() or self._under_way:
            share = -(-len(self._lines) // self._encoder.lanes)
            self._go_on(free_most=max(1, min(share, self._encoder.batch_chunks)))
        yield from self.ready()

    def _go_on(self, free_most: int) -> None:
        """Send what can go, or wait for what is under way."""
        free = self._free()
        if free:
            self._go(free[:free_most])
        else:
            self._collect()

    def _free(self) -> list[_Line]:
        """Recordings whose next piece can go, in their order."""
        for line in [line for line in self._lines.values() if line.pending.error is not None]:
            self._held -= sum(samples.nbytes for _, samples, _ in line.waiting)
            del self._lines[line.pending]
        return [line for line in self._lines.values() if line.waiting and not line.under_way]

    def _go(self, lines: list[_Line]) -> None:
        batch = []
        for line in lines:
            index, samples, last = line.waiting.popleft()
            self._held -= samples.nbytes
            line.under_way = True
            batch.append(Place(line.pending, index, Piece(samples, line.state, last)))
        self._send(batch)

    def _deliver(self, places: list[Place], codes: list[Any]) -> None:
        for place, found in zip(places, codes, strict=True):
            line = self._lines.get(place.pending)
            if line is None or place.pending.error is not None:
                continue
            place.pending.chunks[place.index] = ChunkCodes(found.codes, None)
            line.state, line.under_way = found.state, False
            if isinstance(place.chunk, Piece) and place.chunk.last:
                del self._lines[place.pending]
