"""ELU against torch's, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from tokenizer.codecs.encodec.cpu import same_elu

Floats = NDArray[np.float32]
FILLS = 32
"""numbers that torch takes at once"""
BORDERS = [0.0, -0.0, 1.0, -1.0, -16.635532, -16.635534, -17.0, -88.0, -104.0, 1e-45, -1e-45, -3e38]


def torch_s(x: Floats) -> Floats:
    padded = np.zeros(len(x) + -len(x) % FILLS, np.float32)
    padded[: len(x)] = x
    parts = np.split(padded, range(1 << 14, len(padded), 1 << 14))  # no part is shared by threads
    return np.concatenate([functional.elu(torch.from_numpy(part)).numpy() for part in parts])[
        : len(x)
    ]


def ours(x: Floats) -> Floats:
    found = np.resize(x, len(x) + -len(x) % same_elu.LANES)
    same_elu.elu_(found)
    return found[: len(x)]


def same_bits(found: Floats, expected: Floats) -> bool:
    return np.array_equal(found.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("power", range(-30, 6))
def test_negative_numbers_of_every_size(power: int) -> None:
    """Where SLEEF is off by more than half of a last place too: of the smallest of these."""
    begin = np.float32(-(2.0**power)).view(np.uint32)
    x = np.arange(begin, begin + (1 << 23), 419, dtype=np.uint32).view(np.float32)
    assert same_bits(ours(x), torch_s(x))


def test_numbers_at_borders_and_what_is_no_number() -> None:
    near = [np.nextafter(np.float32(x), np.float32(to)) for x in BORDERS for to in (-1e9, 1e9)]
    x = np.array([*BORDERS, *near, np.inf, -np.inf], np.float32)
    assert same_bits(ours(x), torch_s(x))
    assert np.isnan(ours(np.array([np.nan, 1.0, -1.0], np.float32))).tolist() == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("activates", [True, False])
@pytest.mark.parametrize(("channels", "block"), [(16, 16), (64, 16), (96, 32)])
def test_rows_into_blocks(channels: int, block: int, activates: bool) -> None:
    rows = 3.0 * np.random.default_rng(0).standard_normal((11, channels)).astype(np.float32)
    blocks = np.full((channels // block, 9, block), np.nan, np.float32)
    same_elu.lay_out(rows, 20, 100, -1, 22, 7, blocks, activates)
    expected = torch_s(rows.reshape(-1)).reshape(rows.shape) if activates else rows
    expected = expected[2:9].reshape(7, -1, block).transpose(1, 0, 2)
    assert same_bits(np.ascontiguousarray(blocks[:, :7]), np.ascontiguousarray(expected))
    assert not blocks[:, 7:].any()


@pytest.mark.parametrize(
    ("fold", "expected"),
    [(4, [3, 2, 1, 0, 1, 2, 3, 4, 3, 2]), (-1, [-1, -1, -1, 0, 1, 2, 3, 4, -1, -1])],
)
def test_what_is_outside_of_a_signal(fold: int, expected: list[int]) -> None:
    """-1 is silence."""
    rows = np.repeat(np.arange(1, 6, dtype=np.float32)[:, None], 16, axis=1)
    blocks = np.empty((1, 10, 16), np.float32)
    same_elu.lay_out(rows, 0, 5, fold, -3, 10, blocks, False)
    assert (blocks[0, :, 0] - 1.0).tolist() == expected


def test_torch_s_own_runs_where_it_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not tried out here, where torch is what these tests compare with."""
    x = np.linspace(-3.0, 3.0, 64, dtype=np.float32)
    expected = torch_s(x)
    monkeypatch.setattr(same_elu, "is_torch_s", lambda: False)
    monkeypatch.setattr(same_elu, "_in_place", None)
    assert not same_elu.spreads(same_elu.LANES)
    same_elu.elu_(x)
    assert same_bits(x, expected)


def test_another_function_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as an exponential that rounds to the nearest."""

    def nearest(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x < 0, torch.expm1(x.double()).float(), x)

    assert same_elu.is_torch_s() == same_elu.FUSES
    monkeypatch.setattr(same_elu, "functional", type("_", (), {"elu": staticmethod(nearest)}))
    assert not same_elu.is_torch_s.__wrapped__()
