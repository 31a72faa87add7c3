"""Scales of rows in a batch: of each as if it were the only one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sounds import sound, structured

from tokenizer.codecs.encodec.scales import SILENCE, row_scales

LENGTHS = (1, 2, 127, 128, 129, 700, 16_384, 16_385, 47_999, 48_000)


def batch(lengths: tuple[int, ...], width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Different sounds, with zeros behind each."""
    rows = torch.zeros(len(lengths), 2, width)
    for row, n in enumerate(lengths):
        rows[row, :, :n] = torch.from_numpy(sound(n, seed=row).samples)
    return rows, torch.tensor(lengths)


def test_a_scale_depends_on_its_row_alone() -> None:
    """Whatever shares the batch, in whatever order, and however wide it is."""
    rows, lengths = batch(LENGTHS, 48_000)
    found = row_scales(rows, lengths)
    for row, n in enumerate(LENGTHS):
        own = rows[row : row + 1, :, :n]
        for width in (n, n + 1, 48_000, 50_001):
            wider = torch.nn.functional.pad(own, (0, width - n)) if width >= n else own
            alone = row_scales(wider, lengths[row : row + 1])
            assert torch.equal(alone, found[row : row + 1]), (n, width)
        assert torch.equal(row_scales(own, None), found[row : row + 1]), n
    order = torch.randperm(len(LENGTHS), generator=torch.Generator().manual_seed(0))
    assert torch.equal(row_scales(rows[order], lengths[order]), found[order])


@pytest.mark.parametrize("kind", ["silence", "constant", "impulse", "square", "level of 1e-6"])
def test_a_scale_is_the_root_mean_square_of_the_mono_mix(kind: str) -> None:
    samples = structured(48_000, 1)[kind].samples
    expected = np.sqrt((samples.astype(np.float64).mean(0) ** 2).mean()) + SILENCE
    found = row_scales(torch.from_numpy(samples)[None], None)
    assert float(found[0]) == pytest.approx(expected, rel=1e-6)
