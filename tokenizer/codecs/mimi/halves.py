"""The parts of transformers' `MimiModel`, wherever they lie.

Up to 5.20 `model.encoder` and `model.decoder` are the SEANets, and all else lies beside them on the
model; from 5.21 on they are models themselves, which have all of their half. Both load the same
checkpoints, and both write what the other reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True, eq=False)
class EncoderHalf:
    """From samples to latents."""

    seanet: Any
    """a `MimiEncoder`"""
    transformer: Any
    """a `MimiTransformerModel`"""
    downsample: Any
    """a `MimiConv1d`"""

    @classmethod
    def of(cls, model: Any) -> EncoderHalf:
        """That of a `MimiModel`."""
        half = model.encoder
        if hasattr(half, "encoder_seanet"):
            return cls(half.encoder_seanet, half.encoder_transformer, half.downsample)
        return cls(half, model.encoder_transformer, model.downsample)

    def __call__(self, samples: torch.Tensor) -> torch.Tensor:
        """float32 `[rows, channels, n]` to `[rows, dim, frames]`, as `MimiModel.encode` has it."""
        positions = self.seanet(samples).transpose(1, 2)
        hidden = self.transformer(positions).last_hidden_state
        latents: torch.Tensor = self.downsample(hidden.transpose(1, 2))
        return latents


@dataclass(frozen=True, slots=True, eq=False)
class DecoderHalf:
    """From latents to samples."""

    upsample: Any
    """a `MimiConvTranspose1d`"""
    transformer: Any
    """a `MimiTransformerModel`"""
    seanet: Any
    """a `MimiDecoder`"""

    @classmethod
    def of(cls, model: Any) -> DecoderHalf:
        """That of a `MimiModel`."""
        half = model.decoder
        if hasattr(half, "decoder_seanet"):
            return cls(half.upsample, half.decoder_transformer, half.decoder_seanet)
        return cls(model.upsample, model.decoder_transformer, half)
