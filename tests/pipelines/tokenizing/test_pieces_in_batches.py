"""Pieces of recordings in batches: each after the one before, whoever dies meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.system.blame import Death, DeathKind
from pipelines.tokenizing.encoders import EncoderLost
from pipelines.tokenizing.packing import Pending
from pipelines.tokenizing.pieces import PiecePacker
from tokenizer.codecs.pieces import Piece, PieceCodes
from tokenizer.errors import FailureKind, RecordingError
from tokenizer.types import Recording

POISON, LETHAL = -1.0, -2.0


class SumEncoder:
    """The code of a piece is the sum of the recording so far; refuses or dies on marked ones."""

    piece_length = 2

    def __init__(self, batch_chunks: int, window: int, lanes: int = 1, kills: int = 0) -> None:
        self.batch_chunks, self.window, self.lanes = batch_chunks, window, lanes
        self.busy = 0.0
        self.batches: list[int] = []
        self.kills = kills
        self.most_under_way = self._under_way = 0

    def submit(self, batch: Sequence[Piece]) -> list[Piece]:
        self._under_way += 1
        self.most_under_way = max(self.most_under_way, self._under_way)
        self.batches.append(len(batch))
        return list(batch)

    def result(self, ticket: list[Piece]) -> list[PieceCodes]:
        self._under_way -= 1
        if self.kills:
            self.kills -= 1
            raise EncoderLost(Death(DeathKind.KILLED, "SIGKILL"))
        found = []
        for piece in ticket:
            value = float(piece.samples[0, 0])
            if value == LETHAL:
                raise EncoderLost(Death(DeathKind.CRASHED, "SIGSEGV"))
            if value == POISON:
                raise RecordingError(FailureKind.ENCODER, "refused", "encode")
            total = value + (piece.state or 0.0)
            code = np.array([[total]], np.uint16)
            found.append(PieceCodes(code, None if piece.last else total))
        return found


def feed(packer: PiecePacker, corpus: list[list[float]]) -> list[Pending]:
    ended: list[Pending] = []
    for number, values in enumerate(corpus):
        pending = packer.begin(Recording(id=str(number), uri=f"{number}.wav"))
        for at, value in enumerate(values, 1):
            packer.add(pending, np.full((1, 2), value, np.float32), at == len(values))
        pending.ended = True
        ended += packer.ready()
    return ended + list(packer.drain())


def sums(pending: Pending) -> list[int]:
    return [int(one.codes[0, 0]) for one in pending.in_order()]


@settings(deadline=None)
@given(
    corpus=st.lists(st.lists(st.integers(0, 1000).map(float), min_size=1, max_size=9), max_size=12),
    batch=st.integers(1, 5),
    window=st.integers(1, 3),
    lanes=st.integers(1, 4),
    room=st.integers(0, 200),
    kills=st.integers(0, 3),
)
def test_every_piece_follows_the_one_before(
    corpus: list[list[float]], batch: int, window: int, lanes: int, room: int, kills: int
) -> None:
    encoder = SumEncoder(batch, window, lanes, kills)
    packer = PiecePacker(encoder, room)
    ended = feed(packer, corpus)
    assert [pending.recording.id for pending in ended] == [str(i) for i in range(len(corpus))]
    assert [sums(pending) for pending in ended] == [
        np.cumsum(values).astype(int).tolist() for values in corpus
    ]
    assert encoder.most_under_way <= window and max(encoder.batches, default=0) <= batch
    assert packer._held == 0 and not packer._lines


def test_recordings_of_several_pieces_share_batches() -> None:
    encoder = SumEncoder(batch_chunks=4, window=2)
    feed(PiecePacker(encoder), [[1.0] * 10] * 8)
    assert sum(encoder.batches) == 80 and len(encoder.batches) == 20


def test_one_long_recording_waits_in_bounded_room() -> None:
    encoder = SumEncoder(batch_chunks=4, window=2)
    packer = PiecePacker(encoder, waiting_bytes=80)
    pending = packer.begin(Recording(id="a", uri="a.wav"))
    for at in range(1_000):
        packer.add(pending, np.ones((1, 2), np.float32), at == 999)
        assert packer._held <= 80
    pending.ended = True
    assert [sums(one) for one in packer.drain()] == [list(range(1, 1_001))]


def test_a_refused_piece_costs_its_recording_alone() -> None:
    packer = PiecePacker(SumEncoder(4, 2), waiting_bytes=16)
    ended = feed(packer, [[1, 2, 3], [3, POISON, 1, 1], [5], [6, 7]])
    assert [pending.error is not None for pending in ended] == [False, True, False, False]
    error = ended[1].error
    assert error is not None and error.kind is FailureKind.ENCODER and "1.wav" in error.message
    assert sums(ended[3]) == [6, 13] and packer._held == 0


def test_a_recording_that_kills_the_encoder_is_quarantined() -> None:
    ended = feed(PiecePacker(SumEncoder(3, 1)), [[1, 1], [1, LETHAL, 1], [2, 3]])
    error = ended[1].error
    assert error is not None and error.kind is FailureKind.QUARANTINED
    assert sums(ended[0]) == [1, 2] and sums(ended[2]) == [2, 5]


def test_a_recording_that_fails_while_it_is_read_lets_go_of_its_pieces() -> None:
    packer = PiecePacker(SumEncoder(2, 1))
    pending = packer.begin(Recording(id="a", uri="a.wav"))
    for _ in range(3):
        packer.add(pending, np.ones((1, 2), np.float32))
    pending.fail(RecordingError(FailureKind.TRUNCATED, "a.wav ends early"))
    pending.ended = True
    other = packer.begin(Recording(id="b", uri="b.wav"))
    packer.add(other, np.ones((1, 2), np.float32), last=True)
    other.ended = True
    ended = [*packer.ready(), *packer.drain()]
    assert [one.recording.id for one in ended] == ["a", "b"]
    assert ended[0].error is not None and sums(ended[1]) == [1] and packer._held == 0
