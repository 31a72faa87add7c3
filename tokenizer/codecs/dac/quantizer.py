"""A DAC's residual quantizer, operation by operation as transformers' own, and how certain each
frame's codes are.

Each level projects what is left to 8 numbers, scales these and the entries to length one and takes
the nearest entry. Two ways to add the same float32 numbers differ in the last bits, and
transformers itself has several: for some lengths of a recording its convolutions are blocked
otherwise. A code whose two nearest entries lie as near to each other as that is decided by
rounding. How far rounding moves a projection is in proportion to the frame's size and to the
projection's weights; against a projection of length one, that is divided by its length.

The bound is measured, not proven: at full size, between transformers' encoder on 10 s of music,
blocked in one way, and on stretches of it, blocked in the other, levels moved by 1.6e-6 in the
median, one in a thousand by 1.7e-5, and none by more than 2.5e-5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

NOISE = 5e-5
"""how far rounding moves a frame, as a share of its size"""
QUIET = 0.25
"""share of the size of all frames beside it that a frame has at least, for that"""


class Quantizer:
    """The first `n_q` levels of transformers' `DacResidualVectorQuantizer`."""

    def __init__(self, levels: Sequence[Any]) -> None:
        """`levels` are its `DacVectorQuantize`s."""
        self._levels = list(levels)
        self._gains = [level.in_proj.weight.norm() / level.codebook_dim**0.5 for level in levels]

    def __call__(
        self, frames: torch.Tensor, doubt: bool, sizes: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Quantize frames, float32 `[dim, n]`, of one recording, or of several with their sizes, as
        `sizes_of` gives them, `[n]`.

        Returns:
            Codes, int64 `[n_q, n]`, and with `doubt` the certainty of each frame, float32 `[n]`:
            that of its least certain level, below 1 where rounding could have decided it.
        """
        residual, codes = frames[None], []
        moved = frames[0]
        if doubt:
            moved = (_sizes(frames) if sizes is None else sizes) * NOISE
        certainty = torch.full((frames.shape[1],), torch.inf, device=frames.device)
        for level, gain in zip(self._levels, self._gains, strict=True):
            latents = level.in_proj(residual)
            entries, chosen = level.decode_latents(latents)
            if doubt:
                found = _certainty(level, latents[0].t(), chosen[0], moved * gain)
                torch.minimum(certainty, found, out=certainty)
            codes.append(chosen[0])
            # As transformers adds it up, which rounds.
            residual = residual - level.out_proj(latents + (entries - latents))
        return torch.stack(codes), certainty

    def entries(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes int64 `[levels, n]`, of all levels or fewer, to frames float32 `[dim, n]`."""
        total: Any = 0.0
        for level, chosen in zip(self._levels, codes, strict=False):
            total = total + level.out_proj(level.codebook(chosen[None]).transpose(1, 2))
        frames: torch.Tensor = total[0]
        return frames


def _sizes(frames: torch.Tensor) -> torch.Tensor:
    """RMS of each frame, of dim by n, and a share of all of them."""
    squares = frames.square().mean(0)
    return squares.sqrt() + QUIET * squares.mean().sqrt()


def sizes_of(squares: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """The same of several recordings, float32 `[rows, n]`, from each frame's mean square, with
    zeros beyond a row's frames, and the numbers of these, int64 `[rows]`."""
    whole = squares.sum(1, keepdim=True) / frames[:, None]
    return squares.sqrt() + QUIET * whole.sqrt()


def _certainty(
    level: Any, latents: torch.Tensor, chosen: torch.Tensor, moved: torch.Tensor
) -> torch.Tensor:
    """Of each frame's choice: half of the difference of the squared distances to the entry and to
    the next nearest, over how far rounding may move it along the line between these two."""
    book = functional.normalize(level.codebook.weight)
    length = latents.norm(dim=1).clamp_min(1e-12)
    scores = (latents / length[:, None]) @ book.t()
    best = scores.gather(1, chosen[:, None])[:, 0]
    scores.scatter_(1, chosen[:, None], -torch.inf)
    second, other = scores.max(dim=1)
    apart = (book[chosen] - book[other]).norm(dim=1)
    certainty: torch.Tensor = (best - second) / (moved / length * apart).clamp_min(1e-20)
    return certainty
