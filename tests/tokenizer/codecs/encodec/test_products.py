"""Products whose sums go from the first number to the last, against sums done one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tokenizer.codecs.encodec.cpu import products
from tokenizer.codecs.encodec.cpu.products import ADD, BEGIN, END, GO_ON, Panels
from tokenizer.codecs.encodec.networks import UnknownLayer

Floats = NDArray[np.float32]
RNG = np.random.default_rng(0)


def floats(*shape: int) -> Floats:
    return RNG.standard_normal(shape).astype(np.float32)


def one_by_one(left: Floats, right: Floats, begin: Floats) -> Floats:
    """A product of two float32 is exact in float64, where the sum is rounded once more: hardly ever
    otherwise than in one step."""
    total = np.broadcast_to(begin, (len(left), right.shape[1])).astype(np.float32)
    for term in range(right.shape[0]):
        exact = left[:, term, None].astype(np.float64) * right[term].astype(np.float64)
        total = (exact + total).astype(np.float32)
    return total


@pytest.mark.parametrize("columns", [16, 32, 48, 64, 192])
@pytest.mark.parametrize(("rows", "step", "count"), [(1, 1, 1), (7, 16, 48), (29, 5, 13)])
def test_sums_go_from_the_first_to_the_last(columns: int, rows: int, step: int, count: int) -> None:
    numbers, right, bias = (
        floats((rows - 1) * step + count),
        floats(count, columns),
        floats(columns),
    )
    left = np.lib.stride_tricks.as_strided(numbers, (rows, count), (4 * step, 4))
    panels, there = Panels(torch.from_numpy(right), torch.from_numpy(bias)), floats(rows, columns)
    none = np.zeros(columns, np.float32)
    for how, expected in {
        0: one_by_one(left, right, none),
        END: bias + one_by_one(left, right, none),
        BEGIN: one_by_one(left, right, bias),
        ADD: there + one_by_one(left, right, none),
        ADD + END: there + (bias + one_by_one(left, right, none)),
        ADD + BEGIN: there + one_by_one(left, right, bias),
    }.items():
        out = there.copy()
        panels.multiply(numbers, step, out, how)
        assert (out == expected).mean() > 0.999, how


@pytest.mark.parametrize("widths", [(64, 32, 16), (16,)])
def test_panels_of_any_width_give_the_same(
    widths: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right = floats(20, 30), torch.from_numpy(floats(30, 128))
    expected, found = np.empty((20, 128), np.float32), np.empty((20, 128), np.float32)
    Panels(right).multiply(left.reshape(-1), 30, expected)
    monkeypatch.setattr(products, "WIDTHS", widths)
    Panels(right).multiply(left.reshape(-1), 30, found)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(("how", "then"), [(END, ADD), (BEGIN, GO_ON), (ADD, ADD)])
def test_a_sum_in_parts(how: int, then: int) -> None:
    """The last shorter, and apart from each other as a signal's channels are."""
    right, bias, lefts = floats(50, 64), floats(64), [floats(11, n) for n in (20, 20, 10)]
    numbers, there = np.zeros(3 * 400, np.float32), floats(11, 64)
    for part, left in enumerate(lefts):
        for row, one in enumerate(left):
            numbers[400 * part + 30 * row :][: len(one)] = one
    none, expected, start = np.zeros(64, np.float32), there, 0
    for left in lefts:
        weights, start = right[start : start + left.shape[1]], start + left.shape[1]
        if how == BEGIN:
            expected = one_by_one(left, weights, bias if start == 20 else expected)
        else:
            total = one_by_one(left, weights, none)
            expected = bias + total if how == END and start == 20 else expected + total
    out = there.copy()
    panels = Panels(torch.from_numpy(right), torch.from_numpy(bias), part=20)
    panels.multiply(numbers, 30, out, how, then, apart=400)
    assert (out == expected).mean() > 0.999 and not panels.is_one_sum


def test_what_is_not_a_number_comes_through() -> None:
    left, out = np.ones(3, np.float32), np.full((1, 16), np.nan, np.float32)
    panels = Panels(torch.ones(3, 16))
    panels.multiply(left, 3, out)
    assert (out == 3.0).all()  # nothing is taken from what was there
    left[1] = np.inf
    panels.multiply(left, 3, out, ADD)
    assert np.isinf(out).all()


def test_no_rows_and_rows_that_are_not_there() -> None:
    panels = Panels(torch.ones(3, 16))
    panels.multiply(np.ones(0, np.float32), 3, np.empty((0, 16), np.float32))
    with pytest.raises(ValueError, match="5 numbers are not 2 rows"):
        panels.multiply(np.ones(5, np.float32), 3, np.empty((2, 16), np.float32))
    with pytest.raises(UnknownLayer):
        Panels(torch.ones(3, 20))


def test_the_last_columns_first() -> None:
    left, panels = floats(7 * 20), Panels(torch.from_numpy(floats(20, 192)))
    expected, found = np.empty((7, 192), np.float32), np.empty((7, 192), np.float32)
    panels.multiply(left, 20, expected)
    panels.multiply(left, 20, found, backwards=True)
    assert np.array_equal(found, expected)
