"""The multi-scale STFT discriminator (Défossez et al. 2022, section 3.4, figure 2).

One network per window looks at the complex STFT as an image of time by frequency, whose channels
are real and imaginary parts. Left and right are judged one by one, as the paper does ("we process
separately the left and right channels"), and no frame reaches beyond the ends, as in the released
code (`center=False`). At 48 kHz the windows are twice those at 24 kHz. There are five, as in the
paper; the released code's default is three of them.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import leaky_relu
from torch.nn.utils.parametrizations import weight_norm

from tokenizer.training.losses import stft
from tokenizer.training.networks.adversarial import Judgement

_SLOPE = 0.2
_DILATIONS = (1, 2, 4)


def windows_at(sample_rate: int) -> tuple[int, ...]:
    """Five windows, in samples."""
    largest = 4096 if sample_rate > 32_000 else 2048
    return tuple(largest >> i for i in range(5))


class StftDiscriminator(nn.Module):
    """One scale."""

    def __init__(self, window: int, filters: int) -> None:
        super().__init__()
        self._window = window
        self.layers = nn.ModuleList([_conv(2, filters, (3, 9))])
        for dilation in _DILATIONS:
            self.layers.append(
                _conv(filters, filters, (3, 9), stride=(1, 2), dilation=(dilation, 1))
            )
        self.layers.append(_conv(filters, filters, (3, 3)))
        self.last = _conv(filters, 1, (3, 3))

    def forward(self, samples: torch.Tensor) -> Judgement:
        """Judge `[batch, channels, samples]`, at least a window long: logits and features `[batch ×
        channels, …]`."""
        image = torch.view_as_real(stft(samples, self._window, centred=False)).permute(0, 3, 1, 2)
        features = []
        for layer in self.layers:
            image = leaky_relu(layer(image), _SLOPE)
            features.append(image)
        return Judgement(self.last(image), features)


class MultiScaleDiscriminator(nn.Module):
    """All scales."""

    def __init__(self, sample_rate: int, filters: int = 32) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            [StftDiscriminator(window, filters) for window in windows_at(sample_rate)]
        )

    def forward(self, samples: torch.Tensor) -> list[Judgement]:
        """Judge `[batch, channels, samples]` at every scale."""
        return [scale(samples) for scale in self.scales]


def _conv(
    inputs: int,
    outputs: int,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
) -> nn.Module:
    padding = ((kernel[0] - 1) * dilation[0] // 2, (kernel[1] - 1) // 2)
    normalised: nn.Module = weight_norm(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation)
    )
    return normalised
