"""HuBERT and WavLM over rows of different lengths in one shape, each row as if it were alone.

The feature extractor's convolutions pad nothing, so that what is beyond a row's end reaches only
outputs beyond its end. What does look there is set right: the first layer's normalisation takes its
sums over a row's own samples, the convolution that stands for positions finds zeros, as its padding
is, and attention sees a row's own positions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tokenizer.codecs.encodec.gpu.masked import moments
from tokenizer.codecs.encodec.networks import UnknownLayer
from tokenizer.codecs.semantic.gpu.attention import (
    added_mask,
    own_positions,
    require_added_masks,
)

_PLAIN = ("NoLayerNormConvLayer", "LayerNormConvLayer")
Layers = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class RowsHubert:
    """Runs transformers' `HubertModel` or `WavLMModel`, whose modules it takes."""

    def __init__(self, model: Any) -> None:
        """
        Raises:
            UnknownLayer: the model has layers that this cannot run.
        """
        kind = type(model).__name__
        if kind not in ("HubertModel", "WavLMModel") or getattr(model, "adapter", None) is not None:
            raise UnknownLayer(f"a semantic model of the kind {kind}")
        self._wavlm = kind == "WavLMModel"
        if not self._wavlm:
            require_added_masks(model.config)
        self._convolutions = list(model.feature_extractor.conv_layers)
        for layer in self._convolutions:
            _require_known(layer)
        self._projection, encoder = model.feature_projection, model.encoder
        if getattr(encoder.pos_conv_embed, "batch_norm", None) is not None:
            raise UnknownLayer("positions with a batch normalisation")
        self._positions, self._layers = encoder.pos_conv_embed, list(encoder.layers)
        # Elsewhere it comes behind the last layer, and is in no hidden state.
        self._norm = None if model.config.do_stable_layer_norm else encoder.layer_norm

    def lengths(self, samples: Any) -> Any:
        """Positions of so many samples, an integer or a tensor of these."""
        for layer in self._convolutions:
            samples = (samples - layer.conv.kernel_size[0]) // layer.conv.stride[0] + 1
        return samples

    def __call__(
        self, samples: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """float32 `[rows, width]` with int64 `[rows]` lengths, to the mean of all layers' hidden
        states `[rows, positions, dim]`, the positions of each row, and `[rows]` how much
        normalisation has grown what rounding does."""
        features, known, condition = self._features(samples, lengths)
        own = own_positions(features.shape[1], known)
        projected = self._projection(features)
        hidden = projected[0] if self._wavlm else projected
        hidden = hidden.masked_fill(~own[:, :, None], 0.0)
        hidden = hidden + self._positions(hidden)
        if self._norm is not None:
            hidden = self._norm(hidden)
        return self._mean(hidden, own), known, condition

    def _features(
        self, samples: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x, condition = samples[:, None], samples.new_ones(samples.shape[0])
        for layer in self._convolutions:
            lengths = (lengths - layer.conv.kernel_size[0]) // layer.conv.stride[0] + 1
            if isinstance(getattr(layer, "layer_norm", None), torch.nn.GroupNorm):
                x, condition = _normalised(layer.conv(x), lengths, layer.layer_norm)
                x = layer.activation(x)
            else:
                x = layer(x)
        return x.transpose(1, 2), lengths, condition

    def _mean(self, hidden: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        """Of what goes into the first layer and comes out of each."""
        total, bias = hidden, None
        mask = own if self._wavlm else added_mask(own, hidden.dtype)
        for number, layer in enumerate(self._layers):
            if self._wavlm:
                hidden, bias = layer(hidden, attention_mask=mask, position_bias=bias, index=number)
            else:
                hidden = layer(hidden, attention_mask=mask)
            total = total + hidden
        return total / (len(self._layers) + 1)


def _require_known(layer: Any) -> None:
    kind = type(layer).__name__
    grouped = kind.endswith("GroupNormConvLayer")
    if grouped and layer.layer_norm.num_groups == layer.conv.out_channels:
        return
    if grouped or not kind.endswith(_PLAIN):
        raise UnknownLayer(f"a convolution of the kind {kind}")


def _normalised(
    x: torch.Tensor, lengths: torch.Tensor, norm: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """GroupNorm with a group for each channel, float32 `[rows, channels, n]`, each row over its own
    length; and how much that has grown what rounding does, over all channels."""
    rows, channels, count = x.shape
    known = lengths[:, None].expand(-1, channels).reshape(-1)
    mean, variance = moments(x.reshape(rows * channels, 1, count), known)
    mean, variance = mean.view(rows, channels, 1), variance.view(rows, channels, 1)
    scale = (variance + norm.eps).rsqrt() * norm.weight[:, None]
    grown = (variance + mean.square()) / (variance + norm.eps)
    return (x - mean) * scale + norm.bias[:, None], grown.mean((1, 2)).clamp_min(1.0)
