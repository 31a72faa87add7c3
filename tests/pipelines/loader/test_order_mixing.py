"""Order, cuts and mixing: permutations at any point, shares in every window."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_data import make_rows, write_output

from pipelines import CodesDataset, Crop, Mixture, mix
from pipelines.loader.sequence.mixing import Halving, Periodic, schedule, tijdeman, whole_parts
from pipelines.loader.sequence.order import BlockShuffle, FullShuffle, draw, key_of, permute
from tokenizer import UsageError
from tokenizer.codecs.mulaw import describe_mulaw

SPEC = describe_mulaw(6.0)


@settings(deadline=None, max_examples=100)
@given(size=st.integers(1, 3000), key=st.integers(0, 2**64 - 1))
def test_a_permutation_hits_every_number_once(size: int, key: int) -> None:
    everything = permute(np.arange(size), size, key)
    assert np.array_equal(np.sort(everything), np.arange(size))
    some = np.random.default_rng(key % 2**32).integers(0, size, 7)
    assert np.array_equal(permute(some, size, key), everything[some])


def test_permutations_are_as_good_as_random_ones() -> None:
    """Where a recording goes, over keys: chi-square below its 1e-6 quantile; one fixed point on
    average."""
    size, keys = 20, 2000
    images = np.array([permute(np.arange(size), size, key_of(1, key)) for key in range(keys)])
    for position in (0, 7, 19):
        counts = np.bincount(images[:, position], minlength=size)
        assert ((counts - keys / size) ** 2 / (keys / size)).sum() < 63
    assert (images == np.arange(size)).sum() / keys == pytest.approx(1.0, abs=0.1)
    neighbours = (np.diff(images, axis=1) == 1).mean()
    assert neighbours == pytest.approx(1 / size, abs=0.006)


@settings(deadline=None, max_examples=50)
@given(
    shards=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    key=st.integers(0, 2**63),
    block=st.integers(1, 5),
)
def test_blocks_hold_every_recording_once_and_few_shards_at_a_time(
    shards: list[int], key: int, block: int
) -> None:
    order, rows = BlockShuffle(shards, key, block), sum(shards)
    numbers = order(np.arange(2 * rows))
    shard_of = np.repeat(np.arange(len(shards)), shards)
    for epoch in (numbers[:rows], numbers[rows:]):
        assert np.array_equal(np.sort(epoch), np.arange(rows))
        seen: list[int] = []
        for shard in shard_of[epoch].tolist():
            if shard not in seen:
                seen.append(shard)
        for i in range(0, len(seen), block):
            here = np.isin(shard_of[epoch], seen[i : i + block])
            assert here.sum() == np.ptp(np.flatnonzero(here)) + 1, (
                "a block's recordings come together"
            )


def test_epochs_and_seeds_differ_and_any_position_is_reached_directly() -> None:
    order = FullShuffle(1000, key_of(7, 0))
    first, second = order(np.arange(1000)), order(np.arange(1000, 2000))
    assert not np.array_equal(first, second) and not np.array_equal(
        first, FullShuffle(1000, key_of(8, 0))(np.arange(1000))
    )
    assert order(np.array([10**12 + 5]))[0] == order(np.arange(10**12, 10**12 + 10))[5]


def test_draws_are_even_and_within_their_limits() -> None:
    limits = np.full(60_000, 6)
    numbers = draw(key_of(3), np.arange(60_000), limits)
    counts = np.bincount(numbers, minlength=6)
    assert len(counts) == 6 and ((counts - 10_000) ** 2 / 10_000).sum() < 40
    assert not draw(key_of(3), np.arange(100), np.ones(100, np.int64)).any()


@settings(deadline=None, max_examples=100)
@given(parts=st.lists(st.integers(1, 60), min_size=1, max_size=7))
def test_every_window_has_its_shares(parts: list[int]) -> None:
    """Tijdeman's bound, 1 - 1 / (2k - 2), on every prefix; hence less than 2 in every window, over
    period borders too."""
    one = schedule(tuple(Fraction(part, sum(parts)) for part in parts))
    length = 3 * sum(parts) + 5
    sources, earlier = one(np.arange(length))
    bound = 1 - Fraction(1, 2 * len(parts) - 2) if len(parts) > 1 else Fraction(0)
    for source, part in enumerate(parts):
        taken = np.cumsum(sources == source)
        # In whole numbers: sum(parts) times the difference between what was taken and what is due.
        off = np.abs(taken * sum(parts) - part * np.arange(1, length + 1))
        assert int(off.max()) <= bound * sum(parts)
        assert np.array_equal(earlier[sources == source], np.arange(taken[-1]))


def test_a_schedule_by_hand() -> None:
    """0.7 and 0.3: who is owed half a turn gets it, first who would be owed too much sooner. At the
    fifth step both are owed half a turn and both by then (3.5 / 0.7 = 1.5 / 0.3 = 5): the first
    goes first."""
    assert tijdeman([7, 3]) == [0, 1, 0, 0, 0, 1, 0, 0, 1, 0]
    assert tijdeman([1, 1]) == [0, 1] and tijdeman([1]) == [0]


@settings(deadline=None, max_examples=60)
@given(
    weights=st.lists(st.integers(1, 10**9), min_size=2, max_size=9), start=st.integers(0, 10**12)
)
def test_shares_that_no_short_period_holds_are_exact_too(weights: list[int], start: int) -> None:
    """Counted by hand from the start, and by what is said to have come before, anywhere: no share
    is rounded."""
    total = sum(weights)
    shares = tuple(Fraction(weight, total) for weight in weights)
    one = Halving(whole_parts(shares))
    bound = 1 + math.ceil(math.log2(len(weights)))
    sources, earlier = one(np.arange(3000))
    for source, share in enumerate(shares):
        taken = np.cumsum(sources == source)
        assert all(abs(int(taken[n]) - (n + 1) * share) < bound for n in range(0, 3000, 37))
        assert np.array_equal(earlier[sources == source], np.arange(taken[-1]))
    positions = np.arange(start, start + 500)
    sources, earlier = one(positions)
    for position, source, count in zip(
        positions.tolist(), sources.tolist(), earlier.tolist(), strict=True
    ):
        assert abs(count - position * shares[source]) < bound


def test_a_small_weight_has_its_own_share_and_no_other() -> None:
    """One in a million and a third: before, such weights became one in 10,000."""
    shares = (Fraction(1, 3 * 10**6), Fraction(1, 10**6), 1 - Fraction(4, 3 * 10**6))
    one = schedule(shares)
    begin, end = 10**10, 10**10 + 3 * 10**6
    drawn: dict[int, list[int]] = {}
    for position in (*range(begin, begin + 20), *range(end, end + 20)):
        (source,), (count,) = one(np.array([position]))
        drawn.setdefault(int(source), []).append(int(count))
    assert drawn[2][-1] - drawn[2][0] == pytest.approx(3 * 10**6 - 4, abs=20)
    assert isinstance(schedule((Fraction(1, 3), Fraction(2, 3))), Periodic)
    rare = Halving(whole_parts(shares))
    seen = [
        position
        for position in (3 * 10**6 - 1, 3 * 10**6 - 2, 0, 5)
        if rare(np.array([position]))[0][0] == 0
    ]
    assert len(seen) == 1


def data_set(folder: Path, first: int = 0) -> CodesDataset:
    return CodesDataset(write_output(folder, make_rows(9, SPEC, 2.0, first), shards=1))


def test_mixes_of_mixes_multiply_and_bad_ones_are_refused(tmp_path: Path) -> None:
    music, speech, effects = (data_set(tmp_path / str(n), 100 * n) for n in range(3))
    rest = mix({speech: 1, effects: 1})
    data = mix({music: 0.32, rest: 0.32})
    assert isinstance(data, Mixture) and data.shares == (
        Fraction(1, 2),
        Fraction(1, 4),
        Fraction(1, 4),
    )
    assert mix({music: 0.7, speech: 0.3}).shares == (Fraction(7, 10), Fraction(3, 10))
    for weights in (
        {},
        {music: 0},
        {music: -1.0},
        {music: float("nan")},
        {music: True},
        {music: 1, mix({music: 1}): 1},
        {"music": 1},
    ):
        with pytest.raises(UsageError, match="mix"):
            mix(weights)  # type: ignore[arg-type]


def test_ten_seconds_are_ten_chunks() -> None:
    assert Crop(seconds=10).units(SPEC) == 10 and Crop(seconds=10).max_frames(SPEC) == 1500
    assert [Crop(seconds=s).units(SPEC) for s in (0.1, 0.98, 0.99, 1.98, 1.97)] == [1, 1, 1, 2, 1]
    for bad in (
        {},
        {"seconds": 1, "chunks": 1},
        {"seconds": -1},
        {"seconds": float("inf")},
        {"chunks": 0},
    ):
        with pytest.raises(UsageError, match="Crop"):
            Crop(**bad)


def test_cuts_start_anywhere_with_the_same_chance_and_fit() -> None:
    lengths = np.full(20_000, 14)
    spans = Crop(chunks=10).spans(10, lengths, 5, np.arange(20_000))
    counts = Counter(span.start for span in spans)
    assert set(counts) == set(range(5)) and all(
        abs(count - 4000) < 300 for count in counts.values()
    )
    assert all(span.stop - span.start == 10 for span in spans)
    short = Crop(chunks=10).spans(10, np.array([1, 9, 10]), 5, np.arange(3))
    assert [(span.start, span.stop) for span in short] == [(0, 1), (0, 9), (0, 10)]
    assert all(
        span.start == 0
        for span in Crop(chunks=3, random=False).spans(3, lengths[:50], 5, np.arange(50))
    )
