"""Batches across recordings: what goes in must come out, in order, whatever fails."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.system.blame import Death, DeathKind
from pipelines.tokenizing.encoders import Chunk, EncoderLost
from pipelines.tokenizing.packing import Packer, Pending
from tokenizer.codecs.base import ChunkCodes
from tokenizer.errors import FailureKind, RecordingError
from tokenizer.types import Recording

POISON, LETHAL = -1.0, -2.0


class EchoEncoder:
    """Gives a chunk's first sample back as its only code; refuses or dies on marked chunks."""

    def __init__(self, batch_chunks: int, window: int, lanes: int = 1) -> None:
        self.batch_chunks = batch_chunks
        self.window = window
        self.lanes = lanes
        self.busy = 0.0
        self.batches: list[int] = []
        self.most_under_way = 0
        self._under_way = 0

    def submit(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        self._under_way += 1
        self.most_under_way = max(self.most_under_way, self._under_way)
        self.batches.append(len(chunks))
        return list(chunks)

    def result(self, ticket: list[Chunk]) -> list[ChunkCodes]:
        self._under_way -= 1
        first = [float(chunk[0, 0]) for chunk in ticket]
        if LETHAL in first:
            raise EncoderLost(Death(DeathKind.CRASHED, "SIGSEGV"))
        if POISON in first:
            raise RecordingError(FailureKind.ENCODER, "refused", "encode")
        return [ChunkCodes(np.array([[value]], np.uint16), value) for value in first]


def chunk(value: float) -> Chunk:
    return np.full((1, 2), value, np.float32)


def feed(packer: Packer, corpus: list[list[float]]) -> list[Pending]:
    ended: list[Pending] = []
    for number, values in enumerate(corpus):
        pending = packer.begin(Recording(id=str(number), uri=f"{number}.wav"))
        for value in values:
            packer.add(pending, chunk(value))
        pending.ended = True
        ended += packer.ready()
    return ended + list(packer.drain())


@settings(deadline=None)
@given(
    corpus=st.lists(st.lists(st.integers(0, 1000).map(float), min_size=1, max_size=7), max_size=12),
    batch=st.integers(1, 5),
    window=st.integers(1, 3),
    lanes=st.integers(1, 4),
)
def test_every_chunk_comes_back_to_its_recording_in_order(
    corpus: list[list[float]], batch: int, window: int, lanes: int
) -> None:
    encoder = EchoEncoder(batch, window, lanes)
    ended = feed(Packer(encoder), corpus)
    assert [pending.recording.id for pending in ended] == [str(i) for i in range(len(corpus))]
    assert [[code.scale for code in pending.in_order()] for pending in ended] == corpus
    assert encoder.most_under_way <= window
    full, rest = divmod(sum(map(len, corpus)), batch)
    last = encoder.batches[full:]
    assert encoder.batches[:full] == [batch] * full, "only the last chunks may be short of a batch"
    assert sum(last) == rest and len(last) <= lanes and max(last, default=0) <= -(-rest // lanes), (
        "and they are shared out"
    )


def test_a_refused_chunk_costs_its_recording_alone() -> None:
    ended = feed(Packer(EchoEncoder(4, 2)), [[1, 2], [3, POISON], [5], [6, 7]])
    assert [pending.error is not None for pending in ended] == [False, True, False, False]
    error = ended[1].error
    assert error is not None and error.kind is FailureKind.ENCODER and "1.wav" in error.message
    assert [code.scale for code in ended[3].in_order()] == [6, 7]


def test_a_recording_that_kills_the_encoder_is_quarantined() -> None:
    ended = feed(Packer(EchoEncoder(3, 1)), [[1], [LETHAL], [2]])
    error = ended[1].error
    assert error is not None and error.kind is FailureKind.QUARANTINED
    assert ended[0].error is None and ended[2].error is None


def test_a_recording_that_fails_while_it_is_read_comes_back_as_failed() -> None:
    encoder = EchoEncoder(2, 1)
    packer = Packer(encoder)
    pending = packer.begin(Recording(id="a", uri="a.wav"))
    for value in (1.0, 2.0, 3.0):
        packer.add(pending, chunk(value))
    pending.fail(RecordingError(FailureKind.TRUNCATED, "a.wav ends early"))
    pending.ended = True
    other = packer.begin(Recording(id="b", uri="b.wav"))
    packer.add(other, chunk(9.0))
    other.ended = True
    ended = [*packer.ready(), *packer.drain()]
    assert [p.recording.id for p in ended] == ["a", "b"]
    assert ended[0].error is not None and not ended[0].chunks
    assert encoder.batches == [2, 2], (
        "chunks that were on their way still go: batches must not depend on timing"
    )


class KilledEncoder(EchoEncoder):
    """Its process is killed from outside the first thirty times."""

    kills = 30

    def result(self, ticket: list[Chunk]) -> list[ChunkCodes]:
        if self.kills:
            self.kills -= 1
            raise EncoderLost(Death(DeathKind.KILLED, "SIGKILL"))
        return super().result(ticket)


def test_thirty_kills_of_encoders_cost_no_recording() -> None:
    ended = feed(Packer(KilledEncoder(batch_chunks=3, window=2)), [[1.0, 2.0], [3.0], [4.0, 5.0]])
    assert [pending.error for pending in ended] == [None] * 3
    assert [code.scale for pending in ended for code in pending.in_order()] == [
        1.0,
        2.0,
        3.0,
        4.0,
        5.0,
    ]
