"""What a Mimi remembers of a recording between two blocks of it. Values: picklable, never changed.

Convolutions of the SEANets look back over a few thousand samples: what they need is computed again
from the samples themselves. Attention looks back over a window in each of its layers, so over far
more of the recording than there is reason to compute again: of each layer keys and values are kept,
of the encoder's as many as a block has, of the decoder's a window, 16 and 8 MB for the published
checkpoint, however long the recording is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Attended:
    """What a transformer's layers have seen."""

    keys: Floats
    """float32 `[layers, heads, positions, head_dim]`, rotated; of the last positions, as
    many as the window sees back, or more"""
    values: Floats
    """likewise"""
    position: int
    """of what follows, counted from the recording's beginning"""


@dataclass(frozen=True, slots=True, eq=False)
class Passed:
    """What the encoder's networks have of all blocks so far."""

    context: Floats
    """float32 `[channels, n]`: the samples before the next block, as far as convolutions look back
    or the recording goes"""
    attended: Attended
    tail: Floats
    """float32 `[dim, n]`: what the downsampling convolution has before the next block"""


@dataclass(frozen=True, slots=True, eq=False)
class EncoderState:
    """Of a recording that is being encoded."""

    waiting: Floats
    """float32 `[channels, n]`: samples of a block that is not complete"""
    passed: Passed | None
    """None before the first block"""


@dataclass(frozen=True, slots=True, eq=False)
class DecoderState:
    """Of a recording that is being decoded."""

    latent: Floats
    """float32 `[dim, 1]`: the last frame"""
    attended: Attended
    context: Floats
    """float32 `[dim, positions]`: what the SEANet had before, as far as it looks back"""


def to_array(tensor: torch.Tensor) -> Floats:
    """In memory of its own."""
    array: Floats = tensor.cpu().numpy().copy()
    return array


def to_tensor(array: Floats, device: torch.device) -> torch.Tensor:
    """In memory of its own: an array may be read-only, where it came from another process."""
    return torch.tensor(array, device=device)
