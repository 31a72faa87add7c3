"""How far rounding moves the margins of codes, against the bounds of
`tokenizer.codecs.encodec.certainty`.

For every frame and level, with the codes that transformers gives for all levels before, the margin
of its code is the difference of squared distances to that entry and to the next nearest, over the
distance between these two. A code can differ where our margin and transformers' have different
signs, so what counts is how far the two margins are apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.codecs.encodec.certainty import SCORE_NOISE, noise

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moves:
    """Of all codes of one chunk, `[levels, frames]` each."""

    moved: Floats
    """how far the two margins are apart"""
    bound: Floats
    margin: Floats
    """ours"""
    encoder: Floats
    """how far the encoder's output alone moves the margin, over the encoder's part of the bound"""
    rms: float
    """of the chunk's frames"""
    frames: Floats
    """`[frames]`: how far a frame moved, as a share of its size"""


def measure(
    model: Any, theirs: torch.Tensor, ours: torch.Tensor, condition: float, share: float = 1.0
) -> Moves | None:
    """Of a chunk's frames, float32 `[frames, dim]`, by transformers' encoder and by ours; None
    where they are not finite. `share`: of the encoder's part of the bound."""
    if not bool(torch.isfinite(theirs).all()) or not bool(torch.isfinite(ours).all()):
        return None
    rms = ours.square().mean().sqrt()
    apart_by = ours - theirs
    relative = apart_by.norm(dim=1) / theirs.norm(dim=1).clamp_min(1e-20)
    allowed, levels = share * noise(ours, rms, condition), []
    residuals = [theirs, ours]
    for layer in model.quantizer.layers:
        book = layer.codebook.embed
        code = layer.encode(residuals[0].t()[None])[0]
        distances = [-scores(residual, book) for residual in residuals]
        next_one = distances[0].scatter(1, code[:, None], torch.inf).argmin(1)
        across = book[code] - book[next_one]
        apart = across.norm(dim=1).clamp_min(1e-20)
        margins = [(take(found, next_one) - take(found, code)) / apart for found in distances]
        bound = torch.hypot(allowed, SCORE_NOISE * residuals[1].square().sum(1) / apart)
        encoder = 2.0 * (apart_by * across).sum(1).abs() / apart / allowed.clamp_min(1e-20)
        levels.append([(margins[1] - margins[0]).abs(), bound, margins[1], encoder])
        residuals = [residual - book[code] for residual in residuals]
    moved, bounds, margin, encoders = (
        torch.stack(part).double().cpu().numpy() for part in zip(*levels, strict=True)
    )
    frames = relative.double().cpu().numpy()
    return Moves(moved, bounds, margin, encoders, float(rms), frames)


def scores(residual: torch.Tensor, book: torch.Tensor) -> torch.Tensor:
    """Negative squared distances `[frames, entries]`, as `EncodecEuclideanCodebook.quantize` rounds
    them."""
    entries = book.t()
    return -(
        residual.pow(2).sum(1, keepdim=True)
        - 2 * residual @ entries
        + entries.pow(2).sum(0, keepdim=True)
    )


def take(found: torch.Tensor, entry: torch.Tensor) -> torch.Tensor:
    """Of every row of `[n, entries]` the one at `entry`, `[n]`."""
    return found.gather(1, entry[:, None])[:, 0]
