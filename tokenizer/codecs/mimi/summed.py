"""Mimi's SEANet encoder on a CPU as matrix products in the order in which oneDNN adds up
(`tokenizer.codecs.encodec.cpu.same_sums`): transformers' results bit for bit, and nothing is
laid out otherwise or copied for a padding.

It takes the segments of `tokenizer.codecs.mimi.segments`, but for recordings that are short: of few
numbers oneDNN and products may both add in an order of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tokenizer.codecs.encodec.cpu.same_sums import SameSums
from tokenizer.codecs.encodec.networks import UnknownLayer
from tokenizer.codecs.mimi.segments import Known, SegmentedSeaNet


class SummedSeaNet(SegmentedSeaNet):
    """Runs transformers' `MimiEncoder`, whose weights it takes."""

    def __init__(self, module: Any, hop: int) -> None:
        """
        Raises:
            UnknownLayer: a layer that this cannot run.
        """
        super().__init__(module, hop)
        self._sums = SameSums([_named(layer) for layer in module.layers], hop)
        self._before = -(-self._reach // hop)

    def __call__(self, known: Sequence[Known]) -> list[torch.Tensor]:
        cut = [
            (samples, start, stop)
            for samples, skipped in known
            for start, stop in self._cut(samples, skipped)
        ]
        found = iter(self._sums([self._window(*one) for one in cut]))
        parts = iter(next(found)[min(start, self._before) :].t() for _, start, _ in cut)
        return [
            torch.cat([next(parts) for _ in self._cut(samples, skipped)], dim=1)
            for samples, skipped in known
        ]

    def _window(self, samples: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """float32 `[n, channels]`: a segment, and before it what its outputs are made of. What is
        padded there, where the recording does not begin, reaches no output of the segment."""
        begin = max(start - self._before, 0)
        return samples[:, begin * self._hop : stop * self._hop].t().contiguous()


class EncodecConv1d:
    """A `MimiConv1d` as one of EnCodec's, from which it differs in nothing but its name when its
    weights are as they are used."""

    norm_type = "weight_norm"

    def __init__(self, module: Any) -> None:
        _require(module, "MimiConv1d")
        self._module, self.conv = module, module.conv
        self.causal, self.pad_mode = bool(module.causal), module.pad_mode
        if self.pad_mode != "constant":
            raise UnknownLayer(f"a convolution that pads by {self.pad_mode}")

    def __call__(self, x: torch.Tensor) -> Any:
        return self._module(x)


class EncodecResnetBlock:
    """Likewise, of a `MimiResnetBlock`."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self.block = [_named(layer) for layer in module.block]
        shortcut = module.shortcut
        identity = isinstance(shortcut, torch.nn.Identity)
        self.shortcut = shortcut if identity else _named(shortcut)

    def __call__(self, x: torch.Tensor) -> Any:
        return self._module(x)


def _named(layer: Any) -> Any:
    if isinstance(layer, torch.nn.ELU):
        return layer
    if type(layer).__name__ == "MimiResnetBlock":
        return EncodecResnetBlock(layer)
    return EncodecConv1d(layer)


def _require(layer: Any, kind: str) -> None:
    if type(layer).__name__ != kind:
        raise UnknownLayer(f"a layer of the kind {type(layer).__name__}")
