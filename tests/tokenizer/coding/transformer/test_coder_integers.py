"""Widths are the same integers whatever computes them: the plain implementation is the truth."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from decimal import Decimal, getcontext
from math import isqrt

import numpy as np
import pytest
import torch
from made_coder import SEGMENT, made_segments, made_shape, made_weights, torch_set_otherwise
from numpy.typing import NDArray

from tokenizer.coding.arithmetic import decode, encode
from tokenizer.coding.base import TOTAL, Decoding, Predictor
from tokenizer.coding.transformer import kernels
from tokenizer.coding.transformer.predictor import TransformerPredictor
from tokenizer.coding.transformer.reference import (
    Reference,
    normed,
    reference_intervals,
    widths_of,
)
from tokenizer.coding.transformer.tables import powers
from tokenizer.coding.transformer.weights import STREAM_LIMIT, Weights
from tokenizer.errors import ShapeError, UsageError

LENGTHS = (1, SEGMENT, 7, 3, SEGMENT, 2)
GOLDEN = "97136be59761df5c0de90ebd5639415ccf87ccd4d76f8f7c3ad1e06c27600529"
"""of the intervals of `made_weights`: changes only with the arithmetic, and then `VERSION` must"""


def stepwise(
    predictor: Predictor, segments: Sequence[NDArray[np.uint16]]
) -> list[NDArray[np.uint32]]:
    """Intervals as a decoder comes by them."""
    found = [np.zeros((2, *one.shape), np.uint32) for one in segments]
    decoding = predictor.begin([one.shape[1] for one in segments])
    for frame in range(max(one.shape[1] for one in segments)):
        running = [n for n, one in enumerate(segments) if one.shape[1] > frame]
        for level in range(len(predictor.sizes)):
            widths = decoding.widths(level)
            assert widths.shape == (len(running), predictor.sizes[level])
            assert (widths.sum(axis=1, dtype=np.uint64) == TOTAL).all() and widths.min() >= 1
            codes = np.array([segments[n][level, frame] for n in running], np.uint16)
            for row, n in zip(widths, running, strict=True):
                code = segments[n][level, frame]
                found[n][:, level, frame] = row[:code].sum(), row[code]
            decoding.push(level, codes)
    return found


def digest(found: Sequence[NDArray[np.uint32]]) -> str:
    return hashlib.sha256(b"".join(one.astype("<u4").tobytes() for one in found)).hexdigest()


@pytest.fixture(scope="module")
def weights() -> Weights:
    return made_weights()


@pytest.fixture(scope="module")
def segments(weights: Weights) -> list[NDArray[np.uint16]]:
    return made_segments(weights, LENGTHS)


def test_both_implementations_give_the_committed_integers(
    weights: Weights, segments: list[NDArray[np.uint16]]
) -> None:
    truth = reference_intervals(weights, segments)
    assert digest(truth) == GOLDEN
    predictor = TransformerPredictor(weights)
    assert digest(predictor.intervals(segments)) == GOLDEN
    assert digest(stepwise(predictor, segments)) == GOLDEN


@pytest.mark.parametrize("conditioned", [True, False])
@pytest.mark.parametrize("n_q", [1, 2, 3])
def test_fewer_levels_and_levels_in_parallel(conditioned: bool, n_q: int) -> None:
    weights = made_weights(made_shape(conditioned, past=4), f"parallel {conditioned}")
    segments = [one[:n_q] for one in made_segments(weights, (9, 4))]
    truth = reference_intervals(weights, segments)
    predictor = TransformerPredictor(weights).at(n_q)
    again = TransformerPredictor.loads(predictor.dumps())
    for found in (predictor.intervals(segments), stepwise(again, segments)):
        assert digest(found) == digest(truth)


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize(
    ("precision", "dtype"), [("medium", torch.float64), ("high", torch.bfloat16)]
)
def test_threads_batches_and_settings_change_nothing(
    weights: Weights,
    segments: list[NDArray[np.uint16]],
    threads: int,
    precision: str,
    dtype: torch.dtype,
) -> None:
    with torch_set_otherwise(threads, precision, dtype):
        predictor = TransformerPredictor(weights)
        alone = [predictor.intervals([one])[0] for one in segments]
        assert digest(alone) == GOLDEN
        many = predictor.intervals([*reversed(segments), *segments * 20])
        assert digest(many[len(segments) : 2 * len(segments)]) == GOLDEN
        assert digest(many[: len(segments)][::-1]) == GOLDEN
        assert digest([stepwise(predictor, [one])[0] for one in segments]) == GOLDEN


def test_a_wide_product_comes_out_exactly_at_its_bounds() -> None:
    """The largest sums that `Weights.check` lets through, in float64, against whole numbers."""
    inputs = np.full((3, 1024), 32_767.0)
    inputs[1] *= -1
    inputs[2, ::2] *= -1
    rows = np.full((4, 1024), 127.0)
    rows[1] *= -1
    exact = inputs.astype(np.int64) @ rows.astype(np.int64).T
    assert (torch.from_numpy(inputs) @ torch.from_numpy(rows).t()).numpy().astype(
        np.int64
    ).tolist() == (exact.tolist())
    assert np.abs(exact).max() < 2**53


def test_layer_norm_of_extreme_streams() -> None:
    rng = np.random.default_rng(0)
    streams = [
        np.zeros(16, np.int64),
        np.full(16, STREAM_LIMIT),
        np.where(np.arange(16) % 2, STREAM_LIMIT, -STREAM_LIMIT),
        np.eye(1, 16, dtype=np.int64)[0] * -STREAM_LIMIT,
        *rng.integers(-STREAM_LIMIT, STREAM_LIMIT + 1, (50, 16)),
        *rng.integers(-3, 4, (50, 16)),
    ]
    out = np.empty((len(streams), 16))
    kernels.norm(np.stack(streams).astype(np.int64), out)
    assert out.tolist() == [normed(one).tolist() for one in streams]


@pytest.mark.parametrize("size", [2, 3, 1024, 4096])
def test_widths_of_extreme_scores(size: int) -> None:
    """Flat, one far above all others, ties for the first place: each code has a width, and they add
    up; as exact fractions say, but for what is rounded down."""
    rng = np.random.default_rng(size)
    rows = [
        np.zeros(size, np.int64),
        np.arange(size) * 1024,
        np.where(np.arange(size) == size - 1, 1 << 30, -(1 << 30)),
        np.where(np.arange(size) < 2, 5000, rng.integers(-9000, 5000, size)),
        rng.integers(-20_000, 20_000, size),
    ]
    for scores in rows:
        widths = widths_of(scores.astype(np.int64))
        assert widths.min() >= 1 and widths.sum() == TOTAL
        shares = np.exp2((scores - scores.max()) / 1024)
        wanted = shares / shares.sum() * (TOTAL - size) + 1
        others = np.arange(size) != np.argmax(scores)
        assert (np.abs(widths - wanted)[others] <= 1 + 2e-3 * wanted[others]).all()
    sums = np.stack(rows).astype(np.float64)
    out = np.empty(sums.shape, np.uint32)
    kernels.spread(sums, np.full(size, 1 << 28), np.zeros(size, np.int64), powers(), out)
    assert out.tolist() == [widths_of(one.astype(np.int64)).tolist() for one in rows]


def test_integer_square_roots() -> None:
    for value in (0, 1, 2, 3, 2**52 - 1, 2**53 + 1, 2**62 - 1, (2**31 - 1) ** 2 - 1, (2**30) ** 2):
        assert kernels._root(np.int64(value)) == isqrt(value)


def test_powers_of_two_are_those_of_another_arithmetic() -> None:
    getcontext().prec = 40
    table = powers()
    assert len(table) == 1024 and not table.flags.writeable
    for entry in (0, 1, 511, 512, 777, 1023):
        assert table[entry] == int(Decimal(2) ** (30 + Decimal(entry) / 1024))


def test_what_cannot_be_coded_is_said(weights: Weights) -> None:
    predictor = TransformerPredictor(weights)
    with pytest.raises(UsageError, match="3 levels, the codes have 4"):
        predictor.at(4)
    good = made_segments(weights, (5,))[0]
    high = good.copy()
    high[1, 2] = 9
    for wrong in (good[:2], high, good[:, :0], np.zeros((3, SEGMENT + 1), np.uint16)):
        with pytest.raises(ShapeError):
            predictor.intervals([wrong])
    assert Reference(weights).widths(0).sum() == TOTAL


STREAMS = "ebdede7ded3afb4534004cfb97083782af29f6dd6931e8be2b70bcd146c44be4af077bfde185cf"
"""what `made_segments` of 1, 12 and 7 frames was coded to, one after the other"""


def test_committed_streams_are_read_by_both_implementations(
    weights: Weights, segments: list[NDArray[np.uint16]]
) -> None:
    predictor, some = TransformerPredictor(weights), segments[:3]
    streams = encode(predictor, some)
    assert b"".join(streams).hex() == STREAMS
    for threads in (1, 4):
        with torch_set_otherwise(threads, "medium", torch.float64):
            together = decode(predictor, streams, LENGTHS[:3])
            alone = [
                decode(predictor, [stream], [frames])[0]
                for stream, frames in zip(streams, LENGTHS, strict=False)
            ]
        for found in (together, alone, decode(Plain(weights), streams, LENGTHS[:3])):
            for one, other in zip(found, some, strict=True):
                assert one is not None and np.array_equal(one, other)


class Plain(TransformerPredictor):
    """By the plain implementation alone, a segment after the other."""

    def begin(self, frames: Sequence[int]) -> Decoding:
        return PlainDecoding(self.weights, frames)


class PlainDecoding(Decoding):
    def __init__(self, weights: Weights, frames: Sequence[int]) -> None:
        self._left = list(frames)
        self._all = [Reference(weights) for _ in frames]
        self._last = weights.shape.levels - 1

    def _running(self) -> list[Reference]:
        return [one for one, left in zip(self._all, self._left, strict=True) if left > 0]

    def widths(self, level: int) -> NDArray[np.uint32]:
        return np.stack([one.widths(level) for one in self._running()]).astype(np.uint32)

    def push(self, level: int, codes: NDArray[np.uint16]) -> None:
        for one, code in zip(self._running(), codes, strict=True):
            one.push(level, int(code))
        if level == self._last:
            self._left = [left - 1 for left in self._left]
