"""Reconstruction losses, and the measures made of the same parts. All take `[batch, channels,
samples]` twice.

Défossez et al. 2022, section 3.4: L1 in time; L1 and L2 over 64-bin mel spectrograms with windows
2^5 to 2^11 and a hop of a quarter window, each STFT normalised by its window, the L2 over
logarithms as in the authors' released training code. For the waveform-faithful start: the logarithm
of the relative error, and L1 over complex STFTs.

Where this deviates from that code (audiocraft's `MultiScaleMelSpectrogramLoss`), on purpose: mel
bands begin at 0 Hz, where it sets `f_min` to 64, since music has bass below that; the L2 is a root
mean square per frame, as the norm in the paper's formula, where it takes the mean square;
spectrograms are reflected at their ends, so that an example's edges count; and the windows are the
paper's 2^5 to 2^11, where its configuration begins at 2^6. The shipped codec was trained, and
evaluations are made, so.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

MEL_WINDOWS = tuple(2**i for i in range(5, 12))
STFT_WINDOWS = (512, 2048)
MELS = 64
_FLOOR = 1e-5
"""below this a mel magnitude counts as silence; its logarithm would be about nothing"""


def time_l1(decoded: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of samples."""
    return (decoded - target).abs().mean()


def relative_error(decoded: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean over examples of log10 of the error's energy over the target's: -0.1 times the
    signal-to-noise ratio in dB.

    Its gradient does not depend on how large an example's error is, so tonal examples, which can be
    learnt, are not drowned by noise, which cannot. Errors 60 dB down count as no error.
    """
    error = (decoded - target).pow(2).mean(dim=(1, 2))
    energy = target.pow(2).mean(dim=(1, 2))
    return (error / energy.clamp(min=1e-12) + 1e-6).log10().mean()


def stft(samples: torch.Tensor, window: int, *, centred: bool = True) -> torch.Tensor:
    """Complex spectrogram `[batch × channels, frames, window / 2 + 1]`: Hann, hop a quarter,
    divided by the window's norm.

    Without `centred` the first frame begins with the first sample, and nothing is reflected at the
    ends.
    """
    flat = samples.reshape(-1, 1, samples.shape[-1]).float()
    room = (window // 2, window // 2) if centred else (0, 0)
    padded = torch.nn.functional.pad(flat, room, mode="reflect")[:, 0]
    apply: Any = _Stft.apply
    spectrum: torch.Tensor = apply(padded, _hann(window, samples.device))
    return spectrum


class _Stft(torch.autograd.Function):
    """`torch.stft` without its padding, with a backward pass by the inverse real transform.

    The backward pass of `torch.stft` goes through a full complex transform and several copies of
    it; on a CPU the loss then costs as much as the layers it teaches. Here X = rfft(w x), so the
    gradient at x is w irfft(G), unscaled, with the inner bins of G halved, since the inverse counts
    each of them twice; frames then overlap and add.
    """

    @staticmethod
    def forward(ctx: Any, padded: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(window)
        ctx.length = padded.shape[-1]
        spectrum: torch.Tensor = torch.fft.rfft(
            padded.unfold(-1, len(window), len(window) // 4) * window
        )
        return spectrum

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (window,) = ctx.saved_tensors
        size, hop = len(window), len(window) // 4
        halves = window.new_full((size // 2 + 1,), 0.5)
        halves[0] = halves[-1] = 1.0
        frames = torch.fft.irfft(gradients[0] * halves, size, norm="forward") * window
        count = frames.shape[1]
        parts = frames.view(len(frames), count, 4, hop)
        blocks = frames.new_zeros(len(frames), count + 3, hop)
        for quarter in range(4):
            blocks[:, quarter : quarter + count] += parts[:, :, quarter]
        covered = blocks.view(len(frames), -1)
        return torch.nn.functional.pad(covered, (0, ctx.length - covered.shape[1])), None


def complex_stft(decoded: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L1 of real and imaginary parts, the mean over `STFT_WINDOWS`: sees phase, unlike a mel
    loss."""
    total, error = decoded.new_zeros(()), decoded - target
    for window in STFT_WINDOWS:
        total = total + torch.view_as_real(stft(error, window)).abs().mean()
    return total / len(STFT_WINDOWS)


class MelLoss:
    """Multi-scale mel loss at one sample rate."""

    def __init__(self, sample_rate: int, windows: tuple[int, ...] = MEL_WINDOWS) -> None:
        self._sample_rate, self._windows = sample_rate, windows

    def __call__(self, decoded: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Mean over windows of L1 of magnitudes plus the root mean square difference of their
        logarithms."""
        total = decoded.new_zeros(())
        for window in self._windows:
            ours, theirs = self.spectrogram(decoded, window), self.spectrogram(target, window)
            linear = (ours - theirs).abs().mean()
            logarithms = (ours + _FLOOR).log10() - (theirs + _FLOOR).log10()
            # The root per frame, as the norm of the paper's formula is; the small term keeps its
            # gradient finite at zero.
            total = total + linear + (logarithms.pow(2).mean(dim=-1) + 1e-10).sqrt().mean()
        return total / len(self._windows)

    def spectrogram(self, samples: torch.Tensor, window: int) -> torch.Tensor:
        """Mel magnitudes `[batch × channels, frames, 64]`."""
        spectrum = torch.view_as_real(stft(samples, window))
        # Like abs(), but with a finite gradient at zero.
        magnitude = (spectrum.pow(2).sum(-1) + 1e-12).sqrt()
        return magnitude @ _mel_matrix(self._sample_rate, window, samples.device).T


def mel_filters(sample_rate: int, window: int, mels: int = MELS) -> torch.Tensor:
    """Triangles on O'Shaughnessy's mel scale, 2595 log10(1 + f / 700), from 0 to half the rate;
    float32 `[mels, bins]`.

    At short windows many triangles fall between two bins and are empty, as in the paper's setting.
    """
    top = 2595.0 * torch.log10(torch.tensor(1.0 + sample_rate / 2 / 700.0, dtype=torch.float64))
    corners = 700.0 * (
        10.0 ** (torch.linspace(0.0, 1.0, mels + 2, dtype=torch.float64) * top / 2595.0) - 1.0
    )
    bins = torch.linspace(0.0, sample_rate / 2, window // 2 + 1, dtype=torch.float64)
    low, centre, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
    return torch.minimum(rising, falling).clamp(min=0.0).float()


@lru_cache(32)
def _mel_matrix(sample_rate: int, window: int, device: torch.device) -> torch.Tensor:
    return mel_filters(sample_rate, window).to(device)


@lru_cache(32)
def _hann(window: int, device: torch.device) -> torch.Tensor:
    """Hann, divided by its norm."""
    hann = torch.hann_window(window, device=device)
    scaled: torch.Tensor = hann / hann.pow(2).sum().sqrt()
    return scaled


def si_snr(decoded: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Scale-invariant signal-to-noise ratio in dB of each example, over all channels at once (Le
    Roux et al. 2019)."""
    ours, theirs = decoded.flatten(1).double(), target.flatten(1).double()
    ours, theirs = ours - ours.mean(1, keepdim=True), theirs - theirs.mean(1, keepdim=True)
    scale = (ours * theirs).sum(1, keepdim=True) / theirs.pow(2).sum(1, keepdim=True).clamp(
        min=1e-20
    )
    signal, noise = scale * theirs, ours - scale * theirs
    return (
        10.0
        * (signal.pow(2).sum(1).clamp(min=1e-20) / noise.pow(2).sum(1).clamp(min=1e-20)).log10()
    )
