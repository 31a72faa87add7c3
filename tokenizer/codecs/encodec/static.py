"""transformers' encoder and decoder without a look at the device: its operations on its own
modules, bit for bit.

`EncodecConv1d` keeps its stride and padding in tensors, and reads them for every input: on a GPU
each read waits for all that was launched before. Here they are integers, so that a run is only
launches, and can be captured as a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from tokenizer.codecs.encodec.geometry import ConvolutionGeometry

Step = Callable[[torch.Tensor], torch.Tensor]


class StaticNetwork:
    """Runs transformers' `EncodecEncoder` or `EncodecDecoder`, whose modules it takes."""

    def __init__(self, module: Any) -> None:
        self._steps = [_step(layer) for layer in module.layers]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """float32 `[rows, channels, n]`, all rows of one length, to float32 `[rows, out, m]`."""
        for step in self._steps:
            x = step(x)
        return x


def _step(layer: Any) -> Step:
    kind = type(layer).__name__
    if kind == "EncodecConv1d":
        return _Convolution(layer)
    if kind == "EncodecResnetBlock":
        return _Residual(layer)
    step: Step = layer  # what looks at nothing but its input
    return step


class _Convolution:
    """transformers' `EncodecConv1d`."""

    def __init__(self, module: Any) -> None:
        self._module, conv = module, module.conv
        # With weight norm, `weight` is computed from its two factors here, once.
        self._weight, self._bias = conv.weight.detach(), conv.bias.detach()
        self._geometry = ConvolutionGeometry.of(module)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        geometry = self._geometry
        padding = (geometry.left, geometry.after(x.shape[2]))
        padded = self._module._pad1d(x, padding, mode=self._module.pad_mode)
        y = functional.conv1d(
            padded, self._weight, self._bias, geometry.stride, dilation=geometry.dilation
        )
        return self._module.norm(y) if self._module.norm_type == "time_group_norm" else y


class _Residual:
    """transformers' `EncodecResnetBlock`."""

    def __init__(self, module: Any) -> None:
        self._block, self._shortcut = (
            [_step(layer) for layer in module.block],
            _step(module.shortcut),
        )

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        branch = x
        for step in self._block:
            branch = step(branch)
        return self._shortcut(x) + branch
