"""Lengths: how far a position of a layer reaches into its input, and how much of its output what
has come so far decides. Integers only.

A convolution of the network pads with zeros at a recording's true ends, at every layer. So nothing
but its own reach decides a position: output `o` takes the inputs from `o * stride - padding` on, as
many as it reaches, those outside of the signal as zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution's numbers."""

    taps: int
    stride: int
    dilation: int
    padding: int

    @classmethod
    def of(cls, module: Any) -> Convolution:
        """Of a `torch.nn.Conv1d`."""
        return cls(module.kernel_size[0], module.stride[0], module.dilation[0], module.padding[0])

    @property
    def reach(self) -> int:
        """Inputs that one output spans."""
        return (self.taps - 1) * self.dilation + 1

    def decided(self, come: int) -> int:
        """Outputs that the first `come` inputs decide."""
        return max(0, (come + self.padding - self.reach) // self.stride + 1)

    def field(self, first: int, last: int) -> tuple[int, int]:
        """First and last input of a range of outputs."""
        start = first * self.stride - self.padding
        return start, last * self.stride - self.padding + self.reach - 1


@dataclass(frozen=True, slots=True)
class Transposed:
    """A transposed convolution's numbers: input `i` adds to the outputs from `i * stride -
    padding` on, `taps` of them."""

    taps: int
    stride: int
    padding: int

    @classmethod
    def of(cls, module: Any) -> Transposed:
        """Of a `torch.nn.ConvTranspose1d`."""
        return cls(module.kernel_size[0], module.stride[0], module.padding[0])

    def decided(self, come: int) -> int:
        """Outputs that the first `come` inputs decide."""
        return max(0, come * self.stride - self.padding)

    def field(self, first: int, last: int) -> tuple[int, int]:
        """First and last input of a range of outputs."""
        start = -((self.taps - 1 - first - self.padding) // self.stride)
        return start, (last + self.padding) // self.stride


@dataclass(frozen=True, slots=True)
class Field:
    """The whole network's numbers, from those of its layers."""

    layers: Sequence[Convolution | Transposed]

    @property
    def lost(self) -> int:
        """Outputs that a whole signal has fewer than its positions times all transposed
        strides."""
        total = 0
        for layer in self.layers:
            total *= layer.stride
            if isinstance(layer, Transposed):
                total += 2 * layer.padding + layer.stride - layer.taps
        return total

    def decided(self, come: int) -> int:
        """Positions of the output that the first `come` of the input decide."""
        for layer in self.layers:
            come = layer.decided(come)
        return come

    def inputs(self, first: int, last: int) -> tuple[int, int]:
        """First and last position of the input that a range of the output depends on; may lie
        outside of the signal."""
        for layer in reversed(self.layers):
            first, last = layer.field(first, last)
        return first, last
