"""The model that is trained: transformers' `EncodecModel`, new or from a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tokenizer.codecs.encodec.checkpoint import load_encodec
from tokenizer.codecs.encodec.scales import normalise
from tokenizer.errors import UsageError
from tokenizer.training.presets import Preset


def new_model(preset: Preset, seed: int) -> Any:
    """An `EncodecModel` with seeded random weights and codebooks of zeros, which `quantizer` fills
    by k-means."""
    from transformers import EncodecConfig, EncodecModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EncodecModel(EncodecConfig(**preset.architecture)).train()


def initial_model(name: str) -> Any:
    """The `EncodecModel` of a checkpoint, in float32, every part of it trainable.

    Raises:
        CodecLoadError: there is no such checkpoint, it is no EnCodec, or it lacks weights.
    """
    return load_encodec(name, torch.device("cpu")).train().requires_grad_(True)


def require_fit(model: Any, sample_rate: int, channels: int, folder: str | Path) -> None:
    """Refuse a pack that was not made for the model.

    Raises:
        UsageError: another rate or number of channels.
    """
    config = model.config
    if (config.sampling_rate, config.audio_channels) != (sample_rate, channels):
        raise UsageError(
            f"pack {folder} has {channels} channels at {sample_rate} Hz, the model "
            f"{config.audio_channels} at {config.sampling_rate} Hz: make a pack for it"
        )


def trained_parameters(model: Any) -> Iterator[torch.nn.Parameter]:
    """What the optimiser moves: encoder and decoder. Codebooks are buffers."""
    yield from model.encoder.parameters()
    yield from model.decoder.parameters()


def to_model_level(model: Any, samples: torch.Tensor) -> torch.Tensor:
    """`[batch, channels, samples]` as the encoder sees it: divided by its scale where the
    checkpoint normalises.

    Losses are taken at this level too, so that quiet examples teach as much as loud ones.
    """
    return normalise(samples)[0] if model.config.normalize else samples
