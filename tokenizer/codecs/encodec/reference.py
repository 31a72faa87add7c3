"""The truth: transformers' own modules, and what `EncodecModel.encode` does with them.

On a GPU `EncodecConv1d` would stop at every look at its stride and padding, which it keeps in
tensors: each waits for all that was launched before. A static network has the same operations on
the same modules with integers, bit for bit the same, so that a run is only launches, and can be
captured as a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional

from tokenizer.codecs.encodec.geometry import ConvolutionGeometry
from tokenizer.codecs.encodec.networks import ChunkNetwork, check_finite
from tokenizer.errors import FailureKind, RecordingError


class ReferenceModules:
    """An `EncodecModel`'s encoder, decoder and quantizer."""

    def __init__(self, model: Any, static: bool = False) -> None:
        """With `static`, encoder and decoder are `StaticNetwork`s."""
        wrap: Callable[[Any], Any] = StaticNetwork if static else lambda module: module
        self.encoder, self.decoder = wrap(model.encoder), wrap(model.decoder)
        self._quantizer = model.quantizer

    def embed(self, samples: torch.Tensor) -> torch.Tensor:
        """Normalised samples float32 `[rows, channels, n]` to `[rows, dim, frames]`.

        Raises:
            RecordingError: the checkpoint has layers that do not take so short a chunk (ENCODER).
        """
        with _refused(f"a chunk of {samples.shape[2]} samples"):
            embeddings: torch.Tensor = self.encoder(samples)
        return embeddings

    def quantize(self, embeddings: torch.Tensor, n_q: int) -> torch.Tensor:
        """float32 `[rows, dim, frames]` to int64 `[n_q, rows, frames]`.

        As `EncodecResidualVectorQuantizer.encode` does, which takes a bandwidth where this takes
        its number of codebooks.
        """
        residual, levels = embeddings, []
        for layer in self._quantizer.layers[:n_q]:
            indices = layer.encode(residual)
            residual = residual - layer.decode(indices)
            levels.append(indices)
        return torch.stack(levels)

    def dequantize(self, codes: torch.Tensor) -> torch.Tensor:
        """int64 `[n_q, rows, frames]` to float32 `[rows, dim, frames]`."""
        embeddings: torch.Tensor = self._quantizer.decode(codes)
        return embeddings


class ReferenceNetwork(ChunkNetwork):
    """Those modules on a chunk at a time, on any device."""

    def __init__(
        self, model: Any, modules: ReferenceModules, n_q: int, precision: str = "exact"
    ) -> None:
        """`modules` are the model's."""
        super().__init__(model, n_q, precision)
        self._modules = modules

    def to_codes(self, chunks: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        results, finite = [], []
        for chunk in chunks:
            embeddings = self._modules.embed(chunk[None])
            finite.append(torch.isfinite(embeddings).all())
            results.append(self._modules.quantize(embeddings, self.n_q)[:, 0])
        if finite:
            check_finite(bool(torch.stack(finite).all()))
        return results

    def to_samples(self, codes: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return [self._decoded(one) for one in codes]

    def _decoded(self, codes: torch.Tensor) -> torch.Tensor:
        with _refused(f"a chunk of {codes.shape[1]} frames"):
            samples: torch.Tensor = self._modules.decoder(self._modules.dequantize(codes[:, None]))
        return samples[0]


_TOO_SHORT = ("padding", "more than 1 value per channel")
"""what torch says of a signal that is too short: padding would circle more than once, or there is
a single number to normalise"""


@contextmanager
def _refused(what: str) -> Iterator[None]:
    """
    Raises:
        RecordingError: torch refuses a signal that is too short for a layer (ENCODER).
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if not any(words in str(error).lower() for words in _TOO_SHORT):
            raise
        message = f"the codec's layers do not take {what}: {' '.join(str(error).split())}"
        raise RecordingError(FailureKind.ENCODER, message, "encode") from error


Step = Callable[[torch.Tensor], torch.Tensor]


class StaticNetwork:
    """Runs transformers' `EncodecEncoder` or `EncodecDecoder`, whose modules it takes, without a
    look at the device."""

    def __init__(self, module: Any) -> None:
        self._steps = [static_step(layer) for layer in module.layers]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """float32 `[rows, channels, n]`, all rows of one length, to float32 `[rows, out, m]`."""
        for step in self._steps:
            x = step(x)
        return x


def static_step(layer: Any) -> Step:
    """One layer as a `StaticNetwork` runs it."""
    kind = type(layer).__name__
    if kind == "EncodecConv1d":
        return StaticConvolution(layer)
    if kind == "EncodecResnetBlock":
        return _Residual(layer)
    step: Step = layer  # what looks at nothing but its input
    return step


class StaticConvolution:
    """transformers' `EncodecConv1d`."""

    def __init__(self, module: Any) -> None:
        self._module, conv = module, module.conv
        # With weight norm, `weight` is computed from its two factors here, once.
        self._weight, self._bias = conv.weight.detach(), conv.bias.detach()
        self._geometry = ConvolutionGeometry.of(module)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.normalised(self.convolved(x))

    def convolved(self, x: torch.Tensor) -> torch.Tensor:
        """Padded, in memory of its own, and convolved."""
        geometry = self._geometry
        padding = (geometry.left, geometry.after(x.shape[2]))
        padded = self._module._pad1d(x, padding, mode=self._module.pad_mode)
        return functional.conv1d(
            padded, self._weight, self._bias, geometry.stride, dilation=geometry.dilation
        )

    def normalised(self, y: torch.Tensor) -> torch.Tensor:
        """What was convolved, through the layer's norm if it has one."""
        if self._module.norm_type != "time_group_norm":
            return y
        normalised: torch.Tensor = self._module.norm(y)
        return normalised


class _Residual:
    """transformers' `EncodecResnetBlock`."""

    def __init__(self, module: Any) -> None:
        self._block, self._shortcut = (
            [static_step(layer) for layer in module.block],
            static_step(module.shortcut),
        )

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        branch = x
        for step in self._block:
            branch = step(branch)
        return self._shortcut(x) + branch
