"""What presets say, and what they make of steps and devices."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tokenizer.training.presets import PAPER, PRESETS, TrainConfig, differences, find_preset


def test_presets_are_what_they_say_and_survive_json() -> None:
    for preset in PRESETS.values():
        config = TrainConfig(preset, init="x", seed=3)
        again = TrainConfig.from_dict(json.loads(json.dumps(config.to_dict())))
        assert differences(again, config) == [] and again.preset.steps == preset.steps
    assert (PAPER.steps, PAPER.batch, PAPER.betas, PAPER.discriminator_probability) == (
        300 * 2000,
        64,
        (0.5, 0.9),
        0.5,
    )
    assert PAPER.phases[0].learning_rate == 1.5e-4
    assert PAPER.phases[0].weights == {"time": 0.1, "mel": 1.0, "adversarial": 4.0, "features": 4.0}
    small = find_preset("small")
    assert (
        small.scaled(1000).steps == 1000
        and small.extended(small.steps + 7).phases[-1].steps == small.phases[-1].steps + 7
    )
    starts = [
        small.phase_at(step)[0].name
        for step in (0, small.phases[0].steps - 1, small.phases[0].steps, small.steps)
    ]
    assert starts == ["waveform", "waveform", "mel", "adversarial"]


def test_easing_and_learning_rates_by_hand() -> None:
    preset = dataclasses.replace(find_preset("tiny").scaled(100), warmup=10, cooldown=0.1)
    phase = dataclasses.replace(preset.phases[0], steps=100, ease=(0.5, 0.7))
    assert [phase.quantised_share(step) for step in (0, 50, 60, 70, 99)] == pytest.approx(
        [0, 0, 0.5, 1, 1]
    )
    assert dataclasses.replace(phase, ease=(0.0, 0.0)).quantised_share(0) == 1.0
    assert dataclasses.replace(phase, ease=(1.0, 1.0)).quantised_share(99) == 0.0
    rates = [preset.learning_rate(step) for step in (0, 9, 30, 95)]
    assert rates == pytest.approx([5e-4, 5e-3, 5e-3, 1.5e-4])
