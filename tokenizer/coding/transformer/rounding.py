"""Weights in 8 bits."""

from __future__ import annotations

import torch

LARGEST = 127


def steps_of(weight: torch.Tensor, *, of_all: bool = False) -> torch.Tensor:
    """What one step of a weight's integers is worth: `[rows, 1]`, a step for each row, or for all
    of a table (`of_all`), which is a power of two so that tables can be added."""
    if of_all:
        most = weight.detach().abs().amax().clamp_min(1e-8)
        return torch.exp2(torch.ceil(torch.log2(most / LARGEST)))
    return weight.detach().abs().amax(dim=-1, keepdim=True).clamp_min(1e-8) / LARGEST


def rounded(weight: torch.Tensor, *, of_all: bool = False) -> torch.Tensor:
    """A weight as its integers will have it; gradients pass through unchanged."""
    step = steps_of(weight, of_all=of_all)
    return weight + (torch.round(weight.detach() / step) * step - weight.detach())
