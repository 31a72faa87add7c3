"""Synthetic audio that tests share."""

from __future__ import annotations

import numpy as np

from tokenizer.types import Waveform


def sound(num_samples: int, channels: int = 2, sample_rate: int = 48_000, seed: int = 0) -> Waveform:
    """Noise over a few tones, with a level that moves."""
    rng = np.random.default_rng(seed)
    time = np.arange(num_samples) / sample_rate
    tones = sum(np.sin(2 * np.pi * f * time + rng.uniform(0, 6)) for f in rng.uniform(60, 4000, 4))
    noise = rng.standard_normal((channels, num_samples))
    level = 0.02 + 0.1 * np.abs(np.sin(3 * time + seed))
    return Waveform((level * (tones + 0.5 * noise)).astype(np.float32), sample_rate)
