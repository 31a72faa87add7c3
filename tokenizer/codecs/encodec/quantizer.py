"""Residual vector quantization, and whether rounding could have decided a code.

Each level takes the codebook entry nearest to what the levels before it have left (EnCodec, section
3.2).

Two ways to add the same float32 numbers differ in the last bits, and so do the codes of a frame
that lies between two entries as near as that. How far rounding moves a frame against the plane
halfway between its two nearest entries has three parts: the encoder's output differs by a share of
the frame's size, and by a smaller share of its chunk's; and the distances themselves, which
upstream computes as differences of large numbers, by a share of the residual's squared size. The
certainty of a code is how wide the gap between the two entries is against these bounds; the
encoder's and the distances' are added as independent errors are.

The bounds are measured, not proven: a proof that adds up the worst of every operation would leave
no code certain. They hold an error whose direction is random, as that of noise, speech and music
is. Of a constant input every frame has the same error, in one direction, and a normalisation whose
input varies little about a large mean (silence, DC) takes the mean off and leaves its rounding: it
grows errors by its condition, the input's RMS over the root of its variance plus epsilon. So the
encoder's parts are multiplied by the product of the conditions of all normalisations on a chunk's
way: 1.0 to 1.2 for recordings, hundreds for silence. `benchmarks/rounding.py` measures what is left
beyond the bounds on recordings, `benchmarks/structured.py` on structured signals.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.codecs.encodec.cpu.kernels import Floats, take_nearest
from tokenizer.codecs.encodec.cpu.threads import Threads

TILE_ROWS = 256
"""frames that are compared with a codebook at a time on a CPU: their scores stay in a core's
cache"""
FRAME_NOISE, CHUNK_NOISE, SCORE_NOISE = 7e-6, 2e-6, 1e-6
"""bounds of the three parts: of the frame's RMS, of its chunk's RMS, of the residual's squared size
over the entries' distance"""
CERTAIN = 1.0
"""certainty from which on a code is beyond doubt"""


def noise(
    frames: torch.Tensor, chunk_rms: torch.Tensor | float, condition: torch.Tensor | float = 1.0
) -> torch.Tensor:
    """How far rounding may move frames, float32 `[frames]`.

    Args:
        frames: float32 `[frames, dim]`.
        chunk_rms: of all frames of the chunk that a frame belongs to, `[frames]` or the same for
            all.
        condition: of that chunk's way through the encoder, likewise.
    """
    return condition * (FRAME_NOISE * frames.square().mean(1).sqrt() + CHUNK_NOISE * chunk_rms)


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
        moved: what `noise` gives for the frames.

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
        scores = torch.addmm(half, residual, codebook.t())
        best, chosen = scores.max(dim=1)
        scores.scatter_(1, chosen[:, None], -torch.inf)
        second, other = scores.max(dim=1)
        apart = (codebook[chosen] - codebook[other]).norm(dim=1)
        bound = torch.hypot(moved * apart, SCORE_NOISE * residual.square().sum(1)).clamp_min(1e-20)
        torch.minimum(certainty, 2.0 * (best - second) / bound, out=certainty)
        codes[level].copy_(chosen)
        residual = residual - codebook[chosen]
    return codes, certainty


class TiledQuantizer:
    """The same on a CPU, in tiles, with one pass over the scores of each. With several of torch's
    threads, each takes tiles."""

    def __init__(self, codebooks: Sequence[torch.Tensor]) -> None:
        """`codebooks` float32 `[entries, dim]` each."""
        self._levels = [
            (book.t(), (-half_squares(book)).numpy(), book.contiguous().numpy())
            for book in codebooks
        ]
        self._entries = max((book.shape[0] for book in codebooks), default=0)
        self._threads = Threads()

    def __call__(
        self, frames: torch.Tensor, n_q: int, moved: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`quantize` with the first `n_q` codebooks."""
        residual, count = frames.clone(), frames.shape[0]
        codes, certainty = (
            torch.empty(n_q, count, dtype=torch.int64),
            torch.full((count,), torch.inf),
        )

        @torch.inference_mode()
        def take(start: int) -> None:
            rows = slice(start, start + TILE_ROWS)
            self._tile(
                residual[rows], codes[:, rows].numpy(), moved[rows].numpy(), certainty[rows].numpy()
            )

        self._threads.map(take, range(0, count, TILE_ROWS))
        return codes, certainty

    def _tile(
        self, residual: torch.Tensor, codes: NDArray[np.int64], moved: Floats, certainty: Floats
    ) -> None:
        """Quantize some frames: `codes` `[n_q, frames]` and `certainty` `[frames]` are written,
        `residual` is used up."""
        buffer = torch.empty(residual.shape[0] * self._entries)
        for (transposed, half, book), level in zip(self._levels, codes, strict=False):
            scores = buffer[: residual.shape[0] * half.size].view(residual.shape[0], half.size)
            torch.mm(residual, transposed, out=scores)
            take_nearest(
                scores.numpy(), half, book, residual.numpy(), moved, level, certainty, SCORE_NOISE
            )


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
