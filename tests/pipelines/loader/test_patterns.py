"""Patterns against worked examples of the papers, and their inverses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import CoarseFirst, Delay, EachChannel, Flatten, Interleaved, Parallel, Pattern
from tokenizer import ShapeError, UsageError

CODES = np.array([[1, 2, 3], [11, 12, 13], [21, 22, 23], [31, 32, 33]], np.uint16)
"""four codebooks, three frames"""
P = 1024
PATTERNS: list[Pattern] = [
    Parallel(),
    Delay(),
    Delay(begin=True),
    Delay(delays=(0, 3, 1, 0)),
    CoarseFirst(),
    Flatten(),
    Flatten(order="codebooks"),
    Flatten(offsets=False, pad=P),
]


def test_delay_is_musicgens() -> None:
    """Figure 1 of Copet et al. 2023: codebook k is k steps late. audiocraft's
    DelayedPatternProvider for 3 timesteps and 4 codebooks lays out the same after its first column,
    which holds only special tokens."""
    expected = [
        [1, 2, 3, P, P, P],
        [P, 11, 12, 13, P, P],
        [P, P, 21, 22, 23, P],
        [P, P, P, 31, 32, 33],
    ]
    assert Delay(pad=P)(CODES).tolist() == expected
    assert Delay(pad=P, begin=True)(CODES).tolist() == [[P, *row] for row in expected]


def test_delays_of_ones_choice() -> None:
    assert Delay(pad=P, delays=(0, 1, 1, 1))(CODES).tolist() == [
        [1, 2, 3, P],
        [P, 11, 12, 13],
        [P, 21, 22, 23],
        [P, 31, 32, 33],
    ]


def test_flattening_is_frame_by_frame() -> None:
    """Copet et al. 2023, section 2.1: all codebooks of a frame, then the next frame's."""
    assert Flatten(offsets=False, pad=P)(CODES).tolist() == [
        1,
        11,
        21,
        31,
        2,
        12,
        22,
        32,
        3,
        13,
        23,
        33,
    ]
    assert Flatten()(CODES).tolist() == [
        1,
        1035,
        2069,
        3103,
        2,
        1036,
        2070,
        3104,
        3,
        1037,
        2071,
        3105,
    ]
    assert Flatten(order="codebooks")(CODES[:2]).tolist() == [1, 2, 3, 1035, 1036, 1037]


def test_coarse_first_is_vall_es() -> None:
    """Wang et al. 2023: the first codebook for all time, then the others given it, in parallel."""
    assert CoarseFirst(pad=P)(CODES).tolist() == [
        [1, 2, 3, P, P, P],
        [P, P, P, 11, 12, 13],
        [P, P, P, 21, 22, 23],
        [P, P, P, 31, 32, 33],
    ]
    assert CoarseFirst(pad=P)(CODES[:1]).tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
@given(frames=st.integers(0, 40), seed=st.integers(0, 1000), room=st.integers(0, 5))
def test_patterns_invert_and_mask_what_they_wrote(
    pattern: Pattern, frames: int, seed: int, room: int
) -> None:
    codes = np.random.default_rng(seed).integers(0, 1024, (4, frames), np.uint16)
    pattern.check(4, 1024)
    tokens = pattern(codes)
    back = pattern.invert(tokens, 4)
    assert back.dtype == np.uint16 and np.array_equal(back, codes)
    steps = pattern.steps(4, frames)
    shape = (steps + room,) if pattern.flat else (4, steps + room)
    row, mask = np.full(shape, pattern.pad, np.int64), np.zeros(shape, bool)
    pattern.write(codes, row, mask)
    assert mask.sum() == codes.size
    assert (
        np.array_equal(row[..., :steps], tokens)
        and np.all(row[~mask] == pattern.pad)
        and np.all(row[mask] != pattern.pad)
    )


@pytest.mark.parametrize("pattern", [Parallel(), Delay(), CoarseFirst(), Flatten()], ids=repr)
def test_special_tokens_among_codes_are_refused(pattern: Pattern) -> None:
    tokens = pattern(CODES)
    tokens.reshape(-1)[np.flatnonzero(tokens.reshape(-1) != pattern.pad)[2]] = (
        5000 if pattern.flat else P
    )
    with pytest.raises(ShapeError):
        pattern.invert(tokens, 4)


def test_generation_may_stop_anywhere_within_a_frame() -> None:
    assert Flatten().invert(Flatten()(CODES)[:7], 4).tolist() == CODES[:, :1].tolist()
    assert Delay().invert(Delay()(CODES)[:, :2]).shape == (4, 0)


def test_patterns_that_do_not_fit_are_refused() -> None:
    for pattern in (
        Delay(pad=1023),
        Parallel(pad=0),
        Delay(delays=(0, 1)),
        Delay(delays=(0, 1, 2, -1)),
        Flatten(codebook_size=512),
        Flatten(pad=4095),
    ):
        with pytest.raises(UsageError):
            pattern.check(4, 1024)
    Flatten(pad=4096).check(4, 1024)
    with pytest.raises(UsageError, match="frames or codebooks"):
        Flatten(order="bars")


SNAC = np.array([[0], [10], [11], [20], [21], [22], [23]]) + np.array([[0, 100]])
"""two frames of levels at rates 1:2:4, rows in the order of levels"""


def test_interleaving_is_how_orpheus_flattens_snac() -> None:
    """Its decoder takes seven tokens apart so: the first level is place 0, the second places 1 and
    4, the third 2, 3, 5 and 6, each less 4,096 times its place (redistribute_codes of
    canopyai/Orpheus-TTS)."""
    tokens = Interleaved()(SNAC)
    levels: list[list[int]] = [[], [], []]
    for frame in tokens.reshape(-1, 7):
        levels[0] += [frame[0]]
        levels[1] += [frame[1] - 4096, frame[4] - 4 * 4096]
        levels[2] += [frame[2] - 2 * 4096, frame[3] - 3 * 4096]
        levels[2] += [frame[5] - 5 * 4096, frame[6] - 6 * 4096]
    assert levels == [
        [0, 100],
        [10, 11, 110, 111],
        [20, 21, 22, 23, 120, 121, 122, 123],
    ]
    assert Interleaved(offsets="none")(SNAC)[:7].tolist() == [0, 10, 20, 21, 11, 22, 23]
    assert Interleaved(offsets="levels")(SNAC)[:3].tolist() == [0, 4106, 8212]


@given(
    rates=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    frames=st.integers(0, 9),
    more=st.integers(0, 5),
    offsets=st.sampled_from(["places", "levels", "none"]),
    seed=st.integers(0, 1000),
)
def test_any_levels_are_interleaved_and_back(
    rates: list[int], frames: int, more: int, offsets: str, seed: int
) -> None:
    repeats = tuple(int(one) for one in np.cumprod(rates))
    pattern = Interleaved(repeats, 50, offsets)
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 50, (sum(repeats), frames), np.uint16)
    pattern.check(len(codes), 50)
    tokens = pattern(codes)
    assert len(tokens) == codes.size and np.array_equal(pattern.invert(tokens), codes)
    # A code comes after the coarser code of its time, which an independent clock says.
    if frames and offsets == "none":
        marked = np.empty_like(codes, np.int64)
        row = 0
        for level, count in enumerate(repeats):
            for number in range(count):
                marked[row] = 1000 * (np.arange(frames) + number / count) + level
                row += 1
        assert np.all(np.diff(Interleaved(repeats, 1 << 40, "none")(marked)) > 0)
    part = rng.integers(0, len(codes))
    short = pattern.invert(np.concatenate([tokens, tokens[:part]]))
    assert np.array_equal(short, codes)


def test_interleaving_that_does_not_fit_is_refused() -> None:
    for make in (
        lambda: Interleaved((2, 3)),
        lambda: Interleaved(()),
        lambda: Interleaved((0, 1)),
        lambda: Interleaved(offsets="bars"),
        lambda: Interleaved(channels=0),
        lambda: Interleaved().check(3, 4096),
        lambda: Interleaved().check(7, 4097),
        lambda: Interleaved(pad=7 * 4096 - 1).check(7, 4096),
        lambda: Interleaved().invert(np.zeros(7, np.int64), 4),
    ):
        with pytest.raises(UsageError):
            make()
    Interleaved(pad=7 * 4096).check(7, 4096)
    with pytest.raises(ShapeError):  # the second place has tokens of its own
        Interleaved().invert(np.zeros(7, np.int64))


@given(
    sizes=st.lists(st.integers(1, 65_536), min_size=1, max_size=5),
    frames=st.integers(0, 9),
    order=st.sampled_from(["frames", "codebooks"]),
    seed=st.integers(0, 1000),
)
def test_codebooks_of_different_sizes_keep_apart(
    sizes: list[int], frames: int, order: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    codes = np.stack([rng.integers(0, size, frames) for size in sizes]).astype(np.uint16)
    pattern = Flatten(tuple(sizes), order)
    pattern.check_sizes(sizes)
    tokens = pattern(codes)
    assert np.array_equal(pattern.invert(tokens, len(sizes)), codes)
    assert not tokens.size or (tokens.min() >= 0 and tokens.max() < sum(sizes))
    grid = (
        tokens.reshape(frames, len(sizes)).T
        if order == "frames"
        else tokens.reshape(len(sizes), frames)
    )
    begin = 0
    for row, size in zip(grid, sizes, strict=True):
        assert np.all((row >= begin) & (row < begin + size))
        begin += size
    with pytest.raises(UsageError, match="that is a code"):
        Flatten(tuple(sizes), order, sum(sizes) - 1).check_sizes(sizes)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="codebook 1 has 16 codes"):
        Flatten((16, 8)).check_sizes((8, 16))
    with pytest.raises(UsageError, match="give 2 sizes"):
        Flatten((16, 8, 8)).check_sizes((8, 8))
    for wrong in ((), 0, (4, 0)):
        with pytest.raises(UsageError, match="give a size"):
            Flatten(wrong)
    with pytest.raises(UsageError, match="that is a code"):
        EachChannel(Delay(pad=1500), 2).check_sizes((1024, 2048) * 2)
    with pytest.raises(ShapeError):
        Flatten((4, 2)).invert(np.array([0, 6]), 2)
