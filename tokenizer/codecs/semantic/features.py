"""What the semantic branches take in: mel features as Kaldi has them, and audio at another rate.

transformers takes both from torchaudio, whose wheels on the package index need CUDA's libraries
even on a machine without a GPU. Both are short, and computed here operation by operation as
torchaudio 2.11 does (`torchaudio.compliance.kaldi.fbank` and `torchaudio.functional.resample`), so
that every bit is the same.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

MEL_BINS = 80
FRAME, SHIFT, FFT = 400, 160, 512
"""samples: 25 ms, every 10 ms, transformed with zeros behind"""
FULL_SCALE = 2**15
"""of 16-bit numbers"""
_LOW, _HIGH, _RATE = 20.0, 8000.0, 16_000
_EMPHASIS = 0.97


def mel_features(samples: torch.Tensor) -> torch.Tensor:
    """Logarithms of mel energies.

    The features of Kaldi's compute-fbank-feats with 80 bins, a Povey window and no dither.

    Args:
        samples: float32 `[n]` at 16 kHz, `n >= 400`, full scale as 16-bit numbers.

    Returns:
        float32 `[1 + (n - 400) // 160, 80]`.
    """
    frames = samples.as_strided((1 + (samples.shape[0] - FRAME) // SHIFT, FRAME), (SHIFT, 1))
    frames = frames - torch.mean(frames, dim=1).unsqueeze(1)
    before = functional.pad(frames.unsqueeze(0), (1, 0), mode="replicate").squeeze(0)
    frames = frames - _EMPHASIS * before[:, :-1]
    window = torch.hann_window(FRAME, periodic=False, device=samples.device).pow(0.85)
    frames = functional.pad((frames * window.unsqueeze(0)).unsqueeze(0), (0, FFT - FRAME)).squeeze(
        0
    )
    power = torch.fft.rfft(frames).abs().pow(2.0)
    energies = torch.mm(power, _mel_bank().to(samples.device).T)
    smallest = torch.tensor(torch.finfo(torch.float).eps, device=samples.device)
    return torch.max(energies, smallest).log()


def standardised(features: torch.Tensor) -> torch.Tensor:
    """float32 `[frames, bins]`, each bin with mean 0 and variance 1."""
    return (features - features.mean(0)) / torch.sqrt(features.var(0, unbiased=True) + 1e-7)


class Extractor:
    """What transformers' `Xcodec2FeatureExtractor` makes of one recording, and of NeuCodec's what
    it makes of whole frames."""

    def __init__(self, hop: int, around: int, fills: bool) -> None:
        """
        Args:
            hop: samples of a frame.
            around: zeros on either side of what mel features are computed of.
            fills: a last frame is filled up before more is added.
        """
        self.hop, self._around, self._fills = hop, around, fills

    def shapes(self, samples: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Of what is made of so many samples."""
        if self._fills:
            samples += -samples % self.hop
        padded = (samples // self.hop + 1) * self.hop
        mel_frames = 1 + (padded + 2 * self._around - FRAME) // SHIFT
        return (1, padded), (mel_frames // 2, 2 * MEL_BINS)

    def __call__(self, samples: NDArray[np.float32]) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 `[1, n]` at 16 kHz, to the same with a zero behind it and zeros up to a whole
        frame, and features `[positions, 160]`, two mel spectra each."""
        (_, count), (positions, bins) = self.shapes(samples.shape[1])
        padded = functional.pad(torch.from_numpy(samples), (0, count - samples.shape[1]))
        heard = functional.pad(padded[0], (self._around, self._around))
        features = standardised(mel_features(heard * FULL_SCALE))
        return padded, features[: 2 * positions].reshape(positions, bins)


def resample(samples: torch.Tensor, from_rate: int, to_rate: int) -> torch.Tensor:
    """float32 `[..., n]` at another rate: `[..., ceil(n * to / from)]`.

    Band-limited interpolation with a sinc of 6 zero crossings under a Hann window (Smith,
    "Digital Audio Resampling").
    """
    if from_rate == to_rate:
        return samples
    return Resampling(from_rate, to_rate, samples.device)(samples)


class Resampling:
    """The same between two rates that differ, with its filters on a device from the beginning."""

    def __init__(self, from_rate: int, to_rate: int, device: torch.device) -> None:
        divisor = math.gcd(from_rate, to_rate)
        self._old, self._new = from_rate // divisor, to_rate // divisor
        kernel, self._width = _sinc_kernel(self._old, self._new)
        self._kernel = kernel.to(device)

    def samples(self, count: Any) -> Any:
        """How many come of so many, an integer or a tensor of these."""
        return -(-count * self._new // self._old)

    def __call__(self, samples: torch.Tensor) -> torch.Tensor:
        """float32 `[..., n]`, to as many as `samples` says."""
        shape = samples.shape
        rows = samples.reshape(-1, shape[-1])
        padded = functional.pad(rows, (self._width, self._width + self._old))
        found = functional.conv1d(padded[:, None], self._kernel, stride=self._old)
        found = found.transpose(1, 2).reshape(rows.shape[0], -1)
        found = found[..., : self.samples(shape[-1])]
        return found.view(shape[:-1] + found.shape[-1:])


@lru_cache(maxsize=1)
def _mel_bank() -> torch.Tensor:
    """float32 `[80, 257]`: triangles on Kaldi's mel scale, 1127 ln(1 + f / 700)."""

    def mel(frequency: torch.Tensor) -> torch.Tensor:
        return 1127.0 * (1.0 + frequency / 700.0).log()

    low, high = (1127.0 * math.log(1.0 + frequency / 700.0) for frequency in (_LOW, _HIGH))
    step = (high - low) / (MEL_BINS + 1)
    number = torch.arange(MEL_BINS).unsqueeze(1)
    left, centre, right = (low + (number + offset) * step for offset in (0, 1.0, 2.0))
    there = mel(_RATE / FFT * torch.arange(FFT / 2)).unsqueeze(0)
    up, down = (there - left) / (centre - left), (right - there) / (right - centre)
    bank = torch.max(torch.zeros(1), torch.min(up, down))
    return functional.pad(bank, (0, 1), mode="constant", value=0)


@lru_cache(maxsize=8)
def _sinc_kernel(old: int, new: int) -> tuple[torch.Tensor, int]:
    """float32 `[new, 1, taps]`, one filter a phase, and the samples that it reaches back."""
    crossings, rolloff = 6, 0.99
    base = min(old, new) * rolloff
    width = math.ceil(crossings * old / base)
    places = torch.arange(-width, width + old, dtype=torch.float32)[None, None] / old
    time = torch.arange(0, -new, -1, dtype=torch.float32)[:, None, None] / new + places
    time *= base
    time = time.clamp_(-crossings, crossings)
    window = torch.cos(time * math.pi / crossings / 2) ** 2
    time *= math.pi
    kernel = torch.where(time == 0, torch.tensor(1.0), time.sin() / time)
    kernel *= window * (base / old)
    return kernel, width
