"""Weights that are a transform coder before any training."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from tokenizer import UsageError
from tokenizer.training.losses import si_snr
from tokenizer.training.networks.model import new_model, to_model_level
from tokenizer.training.networks.transform import start_as_transform
from tokenizer.training.presets import Preset, find_preset


def preset(**architecture: Any) -> Preset:
    tiny = find_preset("tiny")
    changed = {
        **tiny.architecture,
        "hidden_size": 56,
        "norm_type": "weight_norm",
        "num_filters": 12,
        "upsampling_ratios": [2, 4, 5, 8],
    }
    return dataclasses.replace(tiny, architecture={**changed, **architecture})


def audio(model: Any, seed: int, count: int = 16) -> torch.Tensor:
    """Tones of 60 to 1,500 Hz, each at a place of its own between the channels."""
    rng = np.random.default_rng(seed)
    time = np.arange(48_000) / 48_000
    examples = np.zeros((count, 2, 48_000), np.float32)
    for example in examples:
        for hertz in rng.uniform(60, 1_500, 6):
            tone = np.sin(2 * np.pi * hertz * time + rng.uniform(0, 6))
            angle = rng.uniform(0, np.pi / 2)
            example += 0.1 * np.stack([np.cos(angle) * tone, np.sin(angle) * tone]).astype(
                np.float32
            )
    return to_model_level(model, torch.from_numpy(examples))


@torch.no_grad()
def reconstruction(model: Any, target: torch.Tensor) -> float:
    return float(si_snr(model.decoder(model.encoder(target)), target).median())


def test_it_passes_on_tones_that_it_has_not_seen() -> None:
    model = new_model(preset(), 0).eval()
    unseen = audio(model, 2)
    before = reconstruction(model, unseen)
    start_as_transform(model, [audio(model, 1)], 0)
    assert before < 0.0 and reconstruction(model, unseen) > 7.0


def test_level_and_channels_come_through() -> None:
    model = new_model(preset(), 0).eval()
    start_as_transform(model, [audio(model, 1)], 0)
    left = 0.5 * audio(model, 3, 1) * torch.tensor([1.0, 0.0])[None, :, None]
    with torch.no_grad():
        embeddings = model.encoder(left)
        decoded = model.decoder(embeddings)
        assert not model.decoder(model.encoder(torch.zeros(1, 2, 48_000))).any()
    energy = decoded.pow(2).mean(dim=(0, 2))
    assert energy[1] < 0.2 * energy[0]
    assert 0.6 < float(energy[0] / left[0, 0].pow(2).mean()) < 1.1
    assert 0.2 < float(embeddings.pow(2).mean().sqrt()) < 2.0


def test_it_is_a_function_of_audio_and_seed() -> None:
    weights = []
    for seed in (0, 0, 1):
        model = new_model(preset(), 0)
        start_as_transform(model, [audio(model, 1)], seed)
        weights.append(model.encoder.layers[2].conv.weight.detach().clone())
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("change", [{"norm_type": "time_group_norm"}, {"num_residual_layers": 1}])
def test_other_architectures_are_refused(change: dict[str, Any]) -> None:
    model = new_model(preset(**change), 0)
    with pytest.raises(UsageError, match="weight_norm"):
        start_as_transform(model, [audio(model, 1)], 0)
