"""X-Codec2's and NeuCodec's encoders over rows of different lengths in one shape, for a GPU
(`tokenizer.codecs.encodec.gpu.whole`): convolutions beside a Wav2Vec2-BERT, each row masked to its
own length in both.

Mel features are computed on the CPU, each recording's alone, as their mean and variance are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.chunking import frames_of
from tokenizer.codecs.dac.gpu import (
    Activation,
    RowsEncoder,
    Step,
    convolution,
    masked,
    pointwise,
    residual,
)
from tokenizer.codecs.encodec.arithmetic import exact_float32
from tokenizer.codecs.encodec.gpu.fused import inside
from tokenizer.codecs.encodec.gpu.graphs import Layout, Shape
from tokenizer.codecs.encodec.gpu.whole import AloneWork, RowsWork
from tokenizer.codecs.encodec.networks import UnknownLayer
from tokenizer.codecs.semantic.features import Extractor
from tokenizer.codecs.semantic.finite import finite_outputs
from tokenizer.codecs.semantic.gpu.conformer import RowsConformer
from tokenizer.codecs.semantic.gpu.noise import Noise

NOISE = Noise(2e-4, 5e-5)
"""over 30 times what was seen: the same, moved by at most 0.03 of it, as
`tokenizer.codecs.semantic.gpu.xcodec.NOISE`"""
TANH_NOISE = 2e-6
"""how far a scalar quantizer's own operations may move a number that it takes"""
Samples = NDArray[np.float32]


class EncodeAlone(AloneWork):
    """A recording, by transformers' own modules."""

    captured = False

    def __init__(self, model: Any, extractor: Extractor) -> None:
        self._model, self._extractor = model, extractor

    def layout(self, shape: Shape) -> Layout:
        extracted = self._extractor.shapes(shape.width)
        return [((1, *dims), torch.float32) for dims in extracted]

    def fill(self, inputs: Sequence[torch.Tensor], items: Sequence[Samples]) -> None:
        with exact_float32():
            for tensor, found in zip(inputs, self._extractor(items[0]), strict=True):
                tensor[0].copy_(found)

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        samples, features = inputs
        mask = torch.ones(features.shape[:2], dtype=torch.int32, device=features.device)
        with finite_outputs(self._model.fc_encoder) as finite:
            found = self._model.encode(samples, input_features=features, input_features_mask=mask)
        codes = found.audio_codes.transpose(0, 1).to(torch.int32)
        return codes, torch.stack(finite).all()


class EncodeRows(RowsWork):
    """Samples and features to codes, and whether they are beyond doubt."""

    def __init__(self, model: Any, extractor: Extractor) -> None:
        """
        Raises:
            UnknownLayer: the model has layers that this cannot run.
        """
        self.latents, self._extractor = Latents(model), extractor
        self._quantizer = model.quantizer
        self._gains = model.quantizer.project_in.weight.detach().norm(dim=1)

    def layout(self, shape: Shape) -> Layout:
        """Samples, features, and of each row its samples, its positions and its frames."""
        extracted = self._extractor.shapes(shape.width)
        tensors = [((shape.rows, *dims), torch.float32) for dims in extracted]
        return [*tensors, ((shape.rows, 3), torch.int64)]

    def fill(self, inputs: Sequence[torch.Tensor], items: Sequence[Samples]) -> None:
        samples, features, lengths = inputs
        samples.zero_()
        features.zero_()
        positions = features.shape[1]
        lengths.copy_(torch.tensor([samples.shape[2], positions, positions]))
        for row, item in enumerate(items):
            with exact_float32():
                padded, found = self._extractor(item)
            samples[row, :, : padded.shape[1]] = padded
            features[row, : found.shape[0]] = found
            kept = frames_of(item.shape[1], self._extractor.hop)
            lengths[row] = torch.tensor([padded.shape[1], found.shape[0], kept])

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """As `RowsWork`, of samples, features and lengths."""
        samples, features, lengths = inputs
        latents = self.latents(samples, features, lengths)
        finite = torch.isfinite(latents).all(dim=2).all(dim=1)
        projected = self._quantizer.project_in(latents)
        moved = NOISE.moved(latents, lengths[:, 1])[:, :, None] * self._gains + TANH_NOISE
        codes, below, above = (self._codes(projected + one) for one in (0.0, -moved, moved))
        # A code that is not kept decides nothing.
        own = inside(latents.shape[1], lengths[:, 2])[:, 0]
        near = ((below != above) & own).any(dim=1)
        return codes[None], finite, near

    def _codes(self, projected: torch.Tensor) -> torch.Tensor:
        """int32 `[rows, frames]`. Every number rises with what it is rounded from, so that a code
        between two equal ones is the same."""
        bounded = self._quantizer.quantizer.bound(projected)
        codes: torch.Tensor = self._quantizer.quantizer(bounded)[1]
        return codes


class Latents:
    """Samples and features to what is quantized."""

    def __init__(self, model: Any) -> None:
        """
        Raises:
            UnknownLayer: the model has layers that this cannot run.
        """
        self._conformer = RowsConformer(model.semantic_encoder)
        self._adapter = _adapter_steps(model.semantic_adapter)
        self._acoustic = RowsEncoder(model.acoustic_encoder, anti_aliased)
        self._joined = model.fc_encoder

    def __call__(
        self, samples: torch.Tensor, features: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """float32 `[rows, 1, width]` and `[rows, positions, bins]`, zeros beyond each row's end,
        with int64 `[rows, 2 or more]`, how many of both are a row's own, to
        `[rows, positions, dim]` with zeros beyond."""
        count, positions = lengths[:, 0], lengths[:, 1]
        semantic = self._conformer(features, positions).transpose(1, 2)
        for step in self._adapter:
            semantic, _ = step(semantic, positions)
        acoustic, _ = self._acoustic(samples, count)
        both = torch.cat([semantic, acoustic[:, :, : semantic.shape[2]]], dim=1)
        joined = self._joined(both.transpose(1, 2))
        return masked(joined.transpose(1, 2), positions).transpose(1, 2)


def _adapter_steps(adapter: Any) -> list[Step]:
    def rectified(x: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return adapter.act1(x), lengths

    first, second = convolution(adapter.conv2), convolution(adapter.conv3, pointwise(adapter.act2))
    inner = residual(first, second)
    return [convolution(adapter.conv1), rectified, inner, convolution(adapter.conv4)]


def anti_aliased(module: Any) -> Activation:
    """transformers' `Xcodec2AntiAliasedActivation1d`, which repeats a signal's last number behind
    it, at both rates.

    Raises:
        UnknownLayer: another activation.
    """
    kind = type(module).__name__
    if not kind.endswith("AntiAliasedActivation1d"):
        raise UnknownLayer(f"an activation of the kind {kind}")
    ratio = module.upsample.ratio

    def activation(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        wide = module.act(module.upsample(held(x, lengths)))
        y: torch.Tensor = module.downsample(held(wide, lengths * ratio))
        return y

    return activation


def held(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """float32 `[rows, channels, n]` with each row's last number beyond its end."""
    # At a capture there are rows without samples.
    last = (lengths - 1).clamp_min(0)[:, None, None].expand(-1, x.shape[1], 1)
    return x.where(inside(x.shape[2], lengths), x.gather(2, last))
