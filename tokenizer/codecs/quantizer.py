"""Residual vector quantization, and how near each frame came to other codes.

Each level takes the codebook entry nearest to what the levels before it have left (EnCodec, section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

TILE_ROWS = 256
"""frames that are compared with a codebook at a time: their scores stay in a core's cache"""


def quantize(frames: torch.Tensor, codebooks: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantize frames with every codebook in turn.

    Args:
        frames: float32 `[frames, dim]`.
        codebooks: float32 `[entries, dim]` each.

    Returns:
        Codes, int64 `[codebooks, frames]`, and margins, float32 `[frames]`: by how much the nearest entry was nearer than the
        second, in the least certain level; the difference of the squared distances, over the distance to the nearest. Times
        an error of the frames, this is what the error would have to be to change a code.
    """
    codes = torch.empty(len(codebooks), frames.shape[0], dtype=torch.int64)
    margins = torch.full((frames.shape[0],), torch.inf)
    transposed = [codebook.t() for codebook in codebooks]
    squares = [entries.pow(2).sum(0, keepdim=True) for entries in transposed]
    for start in range(0, frames.shape[0], TILE_ROWS):
        part = slice(start, start + TILE_ROWS)
        residual = frames[part]
        for level, codebook in enumerate(codebooks):
            scores = _scores(residual, transposed[level], squares[level])
            best, chosen = scores.max(dim=1)
            scores.scatter_(1, chosen[:, None], -torch.inf)
            second = scores.max(dim=1).values
            distance = best.neg().clamp_min(1e-20).sqrt()
            torch.minimum(margins[part], (best - second) / distance, out=margins[part])
            codes[level, part] = chosen
            residual = residual - codebook[chosen]
    return codes, margins


def _scores(frames: torch.Tensor, entries: torch.Tensor, squares: torch.Tensor) -> torch.Tensor:
    """Negative squared distances `[frames, entries]`, rounded step by step as `EncodecEuclideanCodebook.quantize` does."""
    own = frames.pow(2).sum(1, keepdim=True)
    products = (2 * frames) @ entries
    return products.neg_().add_(own).add_(squares).neg_()
