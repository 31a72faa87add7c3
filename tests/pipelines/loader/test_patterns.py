"""Patterns against worked examples of the papers, and their inverses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import CoarseFirst, Delay, Flatten, Parallel, Pattern
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
