"""How far a batch may move what is quantized, against transformers on the recording alone.

The bounds are those of Mimi, whose transformer is of the same kind; they are not yet measured here.
"""

from __future__ import annotations

import torch

FRAME_NOISE, ROW_NOISE = 2e-5, 5e-6
"""of the RMS of a frame, and of that of its recording"""


def moved_by_rounding(
    latents: torch.Tensor, frames: torch.Tensor, condition: torch.Tensor | None = None
) -> torch.Tensor:
    """float32 `[rows, count]`: how far each frame may be moved.

    Args:
        latents: float32 `[rows, count, dim]`, zeros beyond a row's frames.
        frames: of each row, int64 `[rows]`.
        condition: float32 `[rows]`, how much normalisations have grown what rounding does.
    """
    squares = latents.square().mean(2)
    whole = (squares.sum(1, keepdim=True) / frames[:, None]).sqrt()
    moved = FRAME_NOISE * squares.sqrt() + ROW_NOISE * whole
    return moved if condition is None else moved * condition[:, None]
