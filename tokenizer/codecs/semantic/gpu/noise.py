"""How far a batch may move what is quantized, against transformers on the recording alone.

Both round, in other orders. How far that moves a frame is in proportion to its own size and to that
of its recording, which attention and normalisations spread over it; a normalisation whose input
varies little about a large mean (a constant) grows it. Measured, not proven:
`benchmarks/semantic.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Noise:
    """Bounds, of one kind of model."""

    frame: float
    """of the RMS of a frame"""
    row: float
    """of the RMS of its recording"""

    def moved(
        self, latents: torch.Tensor, frames: torch.Tensor, condition: torch.Tensor | None = None
    ) -> torch.Tensor:
        """float32 `[rows, count]`: how far each frame may be moved.

        Args:
            latents: float32 `[rows, count, dim]`, zeros beyond a row's frames.
            frames: of each row, int64 `[rows]`.
            condition: float32 `[rows]`, how much normalisations have grown what rounding does.
        """
        squares = latents.square().mean(2)
        whole = (squares.sum(1, keepdim=True) / frames[:, None]).sqrt()
        moved = self.frame * squares.sqrt() + self.row * whole
        return moved if condition is None else moved * condition[:, None]
