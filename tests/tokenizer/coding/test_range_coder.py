"""The arithmetic coder against an exact one in Python's integers, and at its borders."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tokenizer.coding.arithmetic import decode, encode, to_bytes
from tokenizer.coding.base import TOTAL, Decoding, Predictor
from tokenizer.coding.registry import load_predictor
from tokenizer.coding.static import StaticPredictor, widths_of
from tokenizer.errors import ShapeError


class Changing(Predictor):
    """Other widths at every frame, extreme ones among them, that depend on the code before."""

    kind = "changing"

    def __init__(self, sizes: Sequence[int], seed: int) -> None:
        self.sizes, self.seed, self.segment_frames = tuple(sizes), seed, 64

    def dumps(self) -> bytes:
        return repr((self.sizes, self.seed)).encode()

    @classmethod
    def loads(cls, data: bytes) -> Changing:
        raise NotImplementedError

    def at(self, n_q: int) -> Changing:
        return Changing(self.sizes[:n_q], self.seed)

    def row(self, level: int, frame: int, before: int) -> NDArray[np.uint32]:
        size = self.sizes[level]
        kind = (frame + level + before + self.seed) % 4
        counts = np.zeros(size, np.int64)
        if kind == 0:  # all but one as narrow as can be
            counts[(7 * frame + before) % size] = 1
        elif kind == 1:
            counts[:] = 1
        elif kind == 2:
            counts[:] = (np.arange(size) * (frame + 3) + before) % 17
        else:
            counts[-1] = counts[0] = 1
        return widths_of(counts)

    def intervals(self, segments: Sequence[NDArray[np.uint16]]) -> list[NDArray[np.uint32]]:
        found = []
        for segment in segments:
            out = np.zeros((2, *segment.shape), np.uint32)
            before = 0
            for frame in range(segment.shape[1]):
                for level, code in enumerate(segment[:, frame].tolist()):
                    row = self.row(level, frame, before)
                    out[:, level, frame] = row[:code].sum(), row[code]
                    before = code
            found.append(out)
        return found

    def begin(self, frames: Sequence[int]) -> Decoding:
        return _Changing(self, frames)


class _Changing(Decoding):
    def __init__(self, predictor: Changing, frames: Sequence[int]) -> None:
        self.predictor, self.frames, self.frame = predictor, np.array(frames), 0
        self.before = np.zeros(len(frames), int)

    def widths(self, level: int) -> NDArray[np.uint32]:
        running = np.flatnonzero(self.frames > self.frame)
        return np.stack([self.predictor.row(level, self.frame, self.before[i]) for i in running])

    def push(self, level: int, codes: NDArray[np.uint16]) -> None:
        self.before[np.flatnonzero(self.frames > self.frame)] = codes
        self.frame += level == len(self.predictor.sizes) - 1


def exact_interval(intervals: NDArray[np.uint32]) -> tuple[Fraction, Fraction]:
    """Where a sequence lies in [0, 1), and how wide it is, without any rounding."""
    low, span = Fraction(0), Fraction(1)
    for place in np.ndindex(intervals.shape[:0:-1]):
        at, width = (int(one.T[place]) for one in intervals)
        low, span = low + span * at / TOTAL, span * width / TOTAL
    return low, span


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_what_is_read_is_what_was_written(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=4))
    predictor = Changing(sizes, data.draw(st.integers(0, 3)))
    lengths = data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=5))
    segments = [
        np.array(
            [
                data.draw(st.lists(st.integers(0, size - 1), min_size=n, max_size=n))
                for size in sizes
            ],
            np.uint16,
        )
        for n in lengths
    ]
    streams = encode(predictor, segments)
    for segment, found in zip(segments, decode(predictor, streams, lengths), strict=True):
        assert found is not None and np.array_equal(segment, found)
    for stream, one in zip(streams, predictor.intervals(segments), strict=True):
        _, span = exact_interval(one)
        bits = span.denominator.bit_length() - span.numerator.bit_length()
        assert len(stream) * 8 <= bits + 16


@given(st.binary(max_size=40), st.lists(st.integers(1, 20), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_any_bytes_end(noise: bytes, lengths: list[int]) -> None:
    """Codes of their codebooks, or no codes; never an error of the machine, never a hang."""
    predictor = Changing([3, 17], 1)
    for found, count in zip(
        decode(predictor, [noise] * len(lengths), lengths), lengths, strict=True
    ):
        if found is not None:
            assert found.shape == (2, count) and (found.max(axis=1) < predictor.sizes).all()


def some(frames: int, sizes: Sequence[int], seed: int = 0) -> NDArray[np.uint16]:
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(size, size=frames) for size in sizes]).astype(np.uint16)


def test_fixed_widths_are_read_in_one_go_and_step_by_step_alike() -> None:
    counts = np.random.default_rng(0).integers(0, 9, (3, 300)) ** 4
    coder = StaticPredictor.of_counts(counts, (300, 1, 77))
    segments = [some(count, coder.sizes, count) for count in (1, 60, 1024)]
    streams = [*encode(coder, segments), b"\xff" * 30, b""]
    quick = decode(coder, streams, [1, 60, 1024, 40, 40])
    coder.fixed = None
    slow = decode(coder, streams, [1, 60, 1024, 40, 40])
    for one, other, wanted in zip(quick, slow, [*segments, None, None], strict=True):
        assert (one is None) == (other is None)
        assert one is None or other is None or np.array_equal(one, other)
        assert wanted is None or (one is not None and np.array_equal(one, wanted))


def test_a_stream_that_is_cut_or_too_long_is_told_and_harms_no_other() -> None:
    coder = StaticPredictor.uniform([1024, 1024])
    segments = [some(50, coder.sizes, seed) for seed in range(3)]
    streams = encode(coder, segments)
    streams[1] = streams[1][:-9]
    streams[2] += bytes(9)
    first, second, third = decode(coder, streams, [50, 50, 50])
    assert first is not None and np.array_equal(first, segments[0])
    assert second is None and third is None


def test_the_fewest_bytes() -> None:
    """10 bits a code, and one byte for the end at most; what is certain takes nothing."""
    coder = StaticPredictor.uniform([1024] * 4)
    sizes = [len(one) for one in encode(coder, [some(150, coder.sizes, s) for s in range(50)])]
    assert max(sizes) <= 751
    certain = StaticPredictor.uniform([1])
    assert encode(certain, [np.zeros((1, 1000), np.uint16)]) == [b""]
    assert np.array_equal(decode(certain, [b""], [1000])[0], np.zeros((1, 1000)))


def test_a_carry_goes_through_many_bytes() -> None:
    """The interval lies around the middle, 0.0111… to 0.1000…, until the last code decides. Powers
    of two are not rounded, so that the stream is a number within the exact interval."""
    for upper in (0, TOTAL // 2):
        intervals = np.empty((2, 1, 41), np.uint32)
        intervals[0], intervals[1] = TOTAL // 2 - 1, 2
        intervals[:, 0, -1] = upper, TOTAL // 2
        stream = to_bytes(intervals)
        low, span = exact_interval(intervals)
        value = Fraction(int.from_bytes(stream, "big"), 256 ** len(stream))
        assert low <= value < low + span
        assert stream[:90] == (b"\x80" + bytes(89) if upper else b"\x7f" + b"\xff" * 89)


def test_codes_never_seen_can_be_coded() -> None:
    counts = np.zeros((2, 65_536), np.int64)
    counts[:, 5] = 10**15
    coder = StaticPredictor.of_counts(counts, (65_536, 100))
    segment = np.array([[5, 65_535, 0, 5], [99, 5, 5, 0]], np.uint16)
    streams = encode(coder, [segment])
    found = decode(coder, streams, [4])[0]
    assert found is not None and np.array_equal(found, segment)
    assert len(encode(coder, [np.full((2, 1000), 5, np.uint16)])[0]) < 30


@given(st.lists(st.integers(0, 2**50), min_size=1, max_size=300))
def test_widths_are_a_distribution(counts: list[int]) -> None:
    widths = widths_of(np.array(counts))
    assert widths.min() >= 1 and int(widths.sum()) == TOTAL


def test_a_static_coder_is_found_again() -> None:
    coder = StaticPredictor.of_counts(np.arange(300).reshape(3, 100), (100, 50, 1))
    again = load_predictor("static", coder.dumps())
    assert again.fingerprint == coder.fingerprint == pickle.loads(pickle.dumps(coder)).fingerprint
    assert again.at(2).sizes == (100, 50) and coder.at(3) is coder
    for wrong in (b"", coder.dumps()[:-1], coder.dumps() + b"\0", b"\1\0" + bytes(4), b"\xff" * 9):
        with pytest.raises(ValueError):
            load_predictor("static", wrong)


@pytest.mark.parametrize(
    ("segment", "said"),
    [
        (np.zeros((1, 5), np.uint16), r"\[2, frames\]"),
        (np.zeros((2, 5), np.int64), "uint16"),
        (np.zeros((2, 0), np.uint16), "0 frames"),
        (np.full((2, 5), 10, np.uint16), "code 10 of level 0 is outside its codebook of 10"),
    ],
)
def test_what_cannot_be_coded_is_refused(segment: NDArray[np.uint16], said: str) -> None:
    with pytest.raises(ShapeError, match=said):
        encode(StaticPredictor.uniform([10, 10]), [segment])
