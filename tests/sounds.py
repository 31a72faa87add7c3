"""Synthetic audio that tests share."""

from __future__ import annotations

import numpy as np

from tokenizer.types import Waveform


def sound(
    num_samples: int, channels: int = 2, sample_rate: int = 48_000, seed: int = 0
) -> Waveform:
    """Noise over a few tones, with a level that moves."""
    rng = np.random.default_rng(seed)
    time = np.arange(num_samples) / sample_rate
    tones = sum(np.sin(2 * np.pi * f * time + rng.uniform(0, 6)) for f in rng.uniform(60, 4000, 4))
    noise = rng.standard_normal((channels, num_samples))
    level = 0.02 + 0.1 * np.abs(np.sin(3 * time + seed))
    return Waveform((level * (tones + 0.5 * noise)).astype(np.float32), sample_rate)


def structured(num_samples: int, seed: int) -> dict[str, Waveform]:
    """Stereo at 48 kHz whose rounding errors all point one way: what no noise hides."""
    rng, at = np.random.default_rng(seed), np.arange(num_samples)
    noise = 0.1 * rng.standard_normal((2, num_samples))
    level, place, pitch = (
        rng.uniform(0.01, 0.9) * rng.choice([-1, 1]),
        rng.integers(num_samples),
        rng.integers(50, 1000),
    )
    mono = {
        "silence": np.zeros(num_samples),
        "constant": np.full(num_samples, level),
        "impulse": rng.uniform(0.1, 1) * (at == place),
        "square": 0.5 * np.sign(np.sin(2 * np.pi * pitch * at / 48_000)),
    }
    stereo = {
        "one channel silent": noise * [[1], [0]],
        "level of 1e-6": 1e-5 * noise,
        "clipped": np.clip(30 * noise, -1, 1),
        "noise on a constant": 0.5 + 1e-3 * noise,
    }
    both = {name: np.stack([samples, samples]) for name, samples in mono.items()} | stereo
    return {name: Waveform(samples.astype(np.float32), 48_000) for name, samples in both.items()}
