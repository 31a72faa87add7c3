"""The arithmetic coder against the original's bytes, and by itself."""

from __future__ import annotations

import numpy as np
import pytest
from ecdc_golden import CERTAIN, FOLDER, probabilities
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.ecdc.arithmetic import WHOLE, Decoder, Encoder, Exhausted, OutOfStep, upper_ends

Distribution = tuple[int, int, int]
"""symbols, seed, sharpness"""
DISTRIBUTIONS = st.tuples(st.integers(2, 1024), st.integers(0, 99), st.integers(0, 40))


def ends_of(distribution: Distribution) -> np.ndarray:
    symbols, seed, sharpness = distribution
    logits = np.random.default_rng(seed).standard_normal(symbols) * sharpness
    weights = np.exp(logits - logits.max())
    return upper_ends((weights / weights.sum()).astype(np.float32))


def test_bytes_are_the_originals() -> None:
    golden, at = (FOLDER / "arithmetic.bin").read_bytes(), 0
    certain = np.tile(CERTAIN, (100, 1)), np.random.default_rng(4).integers(0, 3, 100)
    for rows, chosen in (probabilities(1024, 200), probabilities(3, 2000), certain):
        encoder, shares = Encoder(), upper_ends(rows)
        for symbol, ends in zip(chosen.tolist(), shares, strict=True):
            encoder.push(symbol, ends)
        held = encoder.finish()
        assert golden[at : at + len(held)] == held
        decoder = Decoder(golden, at)
        assert [decoder.pull(ends) for ends in shares] == chosen.tolist()
        at += len(held)
        assert decoder.finish() == at
    assert at == len(golden)


@settings(deadline=None, max_examples=80)
@given(st.lists(DISTRIBUTIONS, max_size=60), st.integers(0, 9))
def test_any_symbols_come_back_and_the_end_is_known(
    distributions: list[Distribution], seed: int
) -> None:
    draw = np.random.default_rng(seed)
    shares = [ends_of(one) for one in distributions]
    symbols = [int(draw.integers(len(ends) - 1)) for ends in shares]
    encoder = Encoder()
    for symbol, ends in zip(symbols, shares, strict=True):
        encoder.push(symbol, ends)
    held = encoder.finish()
    decoder = Decoder(b"before" + held + b"behind", 6)
    assert [decoder.pull(ends) for ends in shares] == symbols
    assert decoder.finish() == 6 + len(held)
    cut = Decoder(held[:-1], 0)
    with pytest.raises(OutOfStep):
        for ends in shares:
            cut.pull(ends)
        cut.finish()
        assert not held, "nothing is missing of no symbols"
        raise OutOfStep


@settings(deadline=None, max_examples=80)
@given(st.binary(min_size=8, max_size=40))
def test_any_bytes_end_in_symbols_or_an_error(held: bytes) -> None:
    decoder, ends = Decoder(held, 0), ends_of((1024, 0, 3))
    with pytest.raises(OutOfStep):
        for _ in range(10_000):
            decoder.pull(ends)


def test_an_interval_across_the_middle_may_stay_undecided_for_ever() -> None:
    """The original fails an assertion after 61 bits that it cannot write yet."""
    half = WHOLE // 2
    ends = np.array([half - 1, half + 1, WHOLE])
    encoder = Encoder()
    for _ in range(50):
        encoder.push(1, ends)
    encoder.push(0, ends)
    held = encoder.finish()
    decoder = Decoder(held, 0)
    assert [decoder.pull(ends) for _ in range(51)] == [1] * 50 + [0]
    assert decoder.finish() == len(held) > 100


def test_a_symbol_without_a_share_is_not_written() -> None:
    """The original fails an assertion there."""
    encoder = Encoder()
    with pytest.raises(OutOfStep):
        for _ in range(100):
            encoder.push(3, upper_ends(CERTAIN))


def test_shares_of_extreme_probabilities() -> None:
    one = np.zeros((1, 1024), np.float32)
    one[0, 7] = 1
    widths = np.diff(upper_ends(one)[0], prepend=0)
    assert widths.sum() == WHOLE and widths[7] == WHOLE - 2 * 1023 and set(widths) == {2, widths[7]}
    assert upper_ends(CERTAIN)[-1] == WHOLE + 1
    for bad in (np.nan, np.inf, 2.0):
        with pytest.raises(ValueError, match="probabilities that"):
            upper_ends(np.full((1, 4), bad, np.float32))


def test_bits_that_have_ended() -> None:
    with pytest.raises(Exhausted):
        Decoder(b"\0\0", 0).pull(ends_of((4, 0, 0)))
