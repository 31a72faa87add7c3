"""Residual vector quantization, and how near each frame came to other codes.

Each level takes the codebook entry nearest to what the levels before it have left (EnCodec, section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

TILE_ROWS = 256
"""frames that are compared with a codebook at a time: their scores stay in a core's cache"""


def quantize(
    frames: torch.Tensor, codebooks: Sequence[torch.Tensor], tile_rows: int = TILE_ROWS
) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantize frames with every codebook in turn.

    Args:
        frames: float32 `[frames, dim]`.
        codebooks: float32 `[entries, dim]` each, on the same device.
        tile_rows: frames at a time; a GPU takes all at once.

    Returns:
        Codes, int64 `[codebooks, frames]`, and margins, float32 `[frames]`: how far the frame is from being nearer to another
        entry, in the least certain level: the difference of the squared distances to the nearest and the second, over the
        distance between these two. It is twice the distance to the plane that lies halfway between them.
    """
    codes = torch.empty(len(codebooks), frames.shape[0], dtype=torch.int64, device=frames.device)
    margins = torch.full((frames.shape[0],), torch.inf, device=frames.device)
    transposed = [codebook.t() for codebook in codebooks]
    squares = [entries.pow(2).sum(0, keepdim=True) for entries in transposed]
    for start in range(0, frames.shape[0], tile_rows):
        part = slice(start, start + tile_rows)
        residual = frames[part]
        for level, codebook in enumerate(codebooks):
            scores = _scores(residual, transposed[level], squares[level])
            best, chosen = scores.max(dim=1)
            scores.scatter_(1, chosen[:, None], -torch.inf)
            second, other = scores.max(dim=1)
            apart = (codebook[chosen] - codebook[other]).norm(dim=1).clamp_min(1e-20)
            torch.minimum(margins[part], (best - second) / apart, out=margins[part])
            codes[level, part] = chosen
            residual = residual - codebook[chosen]
    return codes, margins


def quantize_quickly(frames: torch.Tensor, codebooks: Sequence[torch.Tensor], halves: Sequence[torch.Tensor]) -> torch.Tensor:
    """The same codes but for near ties, without margins: one product, one maximum and one look-up a level.

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
    """Minus half of each entry's squared size, `[entries]`: with the product it ranks entries as their distances do."""
    return codebook.square().sum(1).mul(-0.5)


def _scores(frames: torch.Tensor, entries: torch.Tensor, squares: torch.Tensor) -> torch.Tensor:
    """Negative squared distances `[frames, entries]`, rounded step by step as `EncodecEuclideanCodebook.quantize` does."""
    own = frames.pow(2).sum(1, keepdim=True)
    products = (2 * frames) @ entries
    return products.neg_().add_(own).add_(squares).neg_()
