"""Mel features and resampling against torchaudio: its own figures, every bit where it is
installed, and against what Kaldi's documentation defines, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tokenizer.codecs.semantic.features import mel_features, resample

FIRST = [7.161384105682373, 14.786674499511719, 12.02643871307373, 5.183721542358398]
LAST = [8.98078441619873, 14.794157981872559, 11.975902557373047, 4.704494476318359]
TOTAL = 17179.638462571427
RESAMPLED = [2441.4775390625, -1618.9586181640625, -2520.5439453125, 1618.4061279296875]
"""of `signal`, by torchaudio 2.11.0"""


def signal() -> torch.Tensor:
    time = np.arange(4000) / 16_000
    samples = 8000 * np.sin(2 * np.pi * 440 * time) + 3000 * np.sin(2 * np.pi * 2500 * time + 1)
    samples += 100 * np.cos(2 * np.pi * 6100 * time * (1 + time))
    return torch.from_numpy(samples.astype(np.float32))


def torchaudio() -> Any:
    try:
        import torchaudio as found
    except Exception as error:  # a build for CUDA lacks libraries here, and says so in its own way
        pytest.skip(f"torchaudio does not load: {type(error).__name__}")
    return found


def test_features_are_torchaudios() -> None:
    features = mel_features(signal())
    assert features.shape == (23, 80)
    torch.testing.assert_close(features[0, :40:10], torch.tensor(FIRST), atol=2e-4, rtol=0)
    torch.testing.assert_close(features[-1, :40:10], torch.tensor(LAST), atol=2e-4, rtol=0)
    assert float(features.double().sum()) == pytest.approx(TOTAL, abs=0.05)


def test_audio_at_another_rate_is_torchaudios() -> None:
    found = resample(signal(), 24_000, 16_000)
    assert found.shape == (2667,)
    torch.testing.assert_close(found[:1600:400], torch.tensor(RESAMPLED), atol=1e-2, rtol=0)
    assert torch.equal(resample(signal(), 16_000, 16_000), signal())


@pytest.mark.parametrize("samples", [400, 559, 560, 16_000, 48_123])
def test_every_bit_is_torchaudios(samples: int) -> None:
    audio = torchaudio()
    generator = torch.Generator().manual_seed(samples)
    for scale in (0.0, 1e-4, 0.3):
        x = scale * 2**15 * torch.randn(samples, generator=generator)
        expected = audio.compliance.kaldi.fbank(
            x[None],
            num_mel_bins=80,
            sample_frequency=16_000,
            remove_dc_offset=True,
            low_freq=20,
            high_freq=8000,
        )
        assert torch.equal(mel_features(x), expected)
        for rates in ((24_000, 16_000), (16_000, 24_000), (44_100, 16_000)):
            expected = audio.functional.resample(x[None, None], *rates)
            assert torch.equal(resample(x[None, None], *rates), expected)


def test_features_are_kaldis() -> None:
    """From the definitions: no DC, pre-emphasis, a Hann window to the power 0.85, energies under
    triangles on the mel scale."""
    x = signal().double().numpy()
    edges = 1127 * np.log(1 + np.array([20.0, 8000.0]) / 700)
    points = np.linspace(*edges, 82)
    mel = 1127 * np.log(1 + np.arange(257) * 16_000 / 512 / 700)
    for frame in (0, 11, 22):
        window = x[160 * frame : 160 * frame + 400]
        window = window - window.mean()
        window = window - 0.97 * np.concatenate([window[:1], window[:-1]])
        window = window * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85
        power = np.abs(np.fft.rfft(window, 512)) ** 2
        # The highest bin, half the rate, belongs to no triangle.
        energies = [
            np.interp(mel[:256], points[i : i + 3], [0, 1, 0], left=0, right=0) @ power[:256]
            for i in range(80)
        ]
        np.testing.assert_allclose(mel_features(signal())[frame], np.log(energies), atol=0.02)
