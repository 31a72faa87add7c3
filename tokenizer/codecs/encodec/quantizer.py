"""Residual vector quantization: each level takes the codebook entry nearest to what the levels
before it have left (EnCodec, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tokenizer.codecs.encodec.certainty import SCORE_NOISE


def quantize(
    frames: torch.Tensor,
    codebooks: Sequence[torch.Tensor],
    halves: Sequence[torch.Tensor],
    moved: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantize frames with every codebook in turn.

    Args:
        frames: float32 `[frames, dim]`.
        codebooks: float32 `[entries, dim]` each, on the same device.
        halves: `half_squares` of each.
        moved: what `tokenizer.codecs.encodec.certainty.noise` gives for the frames.

    Returns:
        Codes, int64 `[codebooks, frames]`, and certainty, float32 `[frames]`, that of the least
        certain level: the difference of the squared distances to the nearest entry and the second,
        over the root of the sum of the squares of `moved` times the distance between these two and
        of `SCORE_NOISE` times the residual's squared size.
    """
    codes = torch.empty(len(codebooks), frames.shape[0], dtype=torch.int64, device=frames.device)
    certainty = torch.full((frames.shape[0],), torch.inf, device=frames.device)
    residual = frames
    for level, (codebook, half) in enumerate(zip(codebooks, halves, strict=True)):
        chosen, sure = nearest(residual, codebook, half, moved)
        torch.minimum(certainty, sure, out=certainty)
        codes[level].copy_(chosen)
        residual = residual - codebook[chosen]
    return codes, certainty


def nearest(
    vectors: torch.Tensor, codebook: torch.Tensor, half: torch.Tensor, moved: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One level of `quantize`: the nearest entry of each vector `[n, dim]`, int64 `[n]`, and how
    certain that is, float32 `[n]`."""
    scores = torch.addmm(half, vectors, codebook.t())
    best, chosen = scores.max(dim=1)
    scores.scatter_(1, chosen[:, None], -torch.inf)
    second, other = scores.max(dim=1)
    apart = (codebook[chosen] - codebook[other]).norm(dim=1)
    bound = torch.hypot(moved * apart, SCORE_NOISE * vectors.square().sum(1)).clamp_min(1e-20)
    return chosen, 2.0 * (best - second) / bound


def quantize_quickly(
    frames: torch.Tensor, codebooks: Sequence[torch.Tensor], halves: Sequence[torch.Tensor]
) -> torch.Tensor:
    """The same codes but for near ties, without their certainty: one product, one maximum and one
    look-up a level.

    Args:
        frames: float32 `[frames, dim]`.
        codebooks: float32 `[entries, dim]` each.
        halves: `half_squares` of each.
    """
    residual, levels = frames, []
    for codebook, half in zip(codebooks, halves, strict=True):
        chosen = torch.addmm(half, residual, codebook.t()).argmax(dim=1)
        residual = residual - codebook[chosen]
        levels.append(chosen)
    return torch.stack(levels)


def half_squares(codebook: torch.Tensor) -> torch.Tensor:
    """Minus half of each entry's squared size, `[entries]`: with the product it ranks entries as
    their distances do."""
    return codebook.square().sum(1).mul(-0.5)
