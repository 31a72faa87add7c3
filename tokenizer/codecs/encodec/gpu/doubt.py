"""Which rows of a batch have a code that rounding could have decided."""

from __future__ import annotations

import torch

from tokenizer.codecs.encodec.certainty import noise, uncertain
from tokenizer.codecs.encodec.gpu.fused import inside


def flat(embeddings: torch.Tensor) -> torch.Tensor:
    """float32 `[rows, dim, frames]` to `[rows * frames, dim]`."""
    rows, dim, frames = embeddings.shape
    return embeddings.transpose(1, 2).reshape(rows * frames, dim)


def noise_of_rows(
    embeddings: torch.Tensor, own: torch.Tensor | None, condition: torch.Tensor
) -> torch.Tensor:
    """`tokenizer.codecs.encodec.certainty.noise` of all frames, `[rows * frames]`.

    Args:
        embeddings: float32 `[rows, dim, frames]`, with zeros, which have no size, beyond each row's
            `own` frames, int64 `[rows]`; None: all are.
        condition: of each row, float32 `[rows]`.
    """
    rows, dim, frames = embeddings.shape
    count = frames if own is None else own
    sizes = (embeddings.square().sum((1, 2)) / (count * dim)).sqrt()
    by_frame = (value[:, None].expand(rows, frames).reshape(-1) for value in (sizes, condition))
    return noise(flat(embeddings), *by_frame)


def in_doubt(certainty: torch.Tensor, rows: int, own: torch.Tensor | None) -> torch.Tensor:
    """bool `[rows]`, of the certainty `[rows * frames]` of a row's own frames."""
    found = certainty.view(rows, -1)
    if own is not None:
        found = found.masked_fill(~inside(found.shape[1], own)[:, 0], torch.inf)
    return uncertain(found.amin(1))
