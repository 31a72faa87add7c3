"""Which positions of a row attention sees."""

from __future__ import annotations

from typing import Any

import torch

from tokenizer.codecs.encodec.gpu.fused import inside
from tokenizer.codecs.encodec.networks import UnknownLayer

_WITH_ADDED_MASKS = ("eager", "sdpa")


def require_added_masks(config: Any) -> None:
    """
    Raises:
        UnknownLayer: this model's attention is computed by what takes no mask that is added.
    """
    if config._attn_implementation not in _WITH_ADDED_MASKS:
        raise UnknownLayer(f"attention by {config._attn_implementation}")


def own_positions(width: int, lengths: torch.Tensor) -> torch.Tensor:
    """bool `[rows, width]`."""
    return inside(width, lengths)[:, 0]


def added_mask(own: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What is added to scores of this type: `[rows, 1, 1, width]`, nothing for a row's own
    positions. Not minus infinity, of which a row without positions would become NaN."""
    least = torch.finfo(dtype).min
    zeros = torch.zeros(own.shape, dtype=dtype, device=own.device)
    return zeros.masked_fill(~own, least)[:, None, None]
