"""`tokenizer.codecs.encodec.quantizer.quantize` on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.codecs.encodec.certainty import SCORE_NOISE
from tokenizer.codecs.encodec.cpu.kernels import Floats, take_nearest
from tokenizer.codecs.encodec.cpu.threads import Threads
from tokenizer.codecs.encodec.quantizer import half_squares

TILE_ROWS = 256
"""frames that are compared with a codebook at a time on a CPU: their scores stay in a core's
cache"""


class TiledQuantizer:
    """Goes in tiles, with one pass over the scores of each. With several of torch's threads, each
    takes tiles."""

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
