"""Adversarial losses over discriminators that each give logits and a list of features (Défossez et
al. 2022, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn.functional import relu


class Judgement(NamedTuple):
    """What one discriminator says about a batch."""

    logits: torch.Tensor
    features: list[torch.Tensor]


def discriminator_hinge(real: Sequence[Judgement], fake: Sequence[Judgement]) -> torch.Tensor:
    """Mean over discriminators of relu(1 - D(x)) + relu(1 + D(decoded)): nothing more to gain
    beyond margins of 1."""
    losses = [
        relu(1 - r.logits).mean() + relu(1 + f.logits).mean()
        for r, f in zip(real, fake, strict=True)
    ]
    return torch.stack(losses).mean()


def generator_hinge(fake: Sequence[Judgement]) -> torch.Tensor:
    """Mean over discriminators of relu(1 - D(decoded))."""
    return torch.stack([relu(1 - judgement.logits).mean() for judgement in fake]).mean()


def feature_matching(real: Sequence[Judgement], fake: Sequence[Judgement]) -> torch.Tensor:
    """Mean over discriminators and layers of the L1 distance between features, relative to the real
    features' mean size."""
    distances = [
        (ours - theirs).abs().mean() / theirs.abs().mean().clamp(min=1e-8)
        for r, f in zip(real, fake, strict=True)
        for theirs, ours in zip(
            (feature.detach() for feature in r.features), f.features, strict=True
        )
    ]
    return torch.stack(distances).mean()
