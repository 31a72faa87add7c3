"""Lengths and padding of SEANet's layers, as transformers' modules have them. Every way to run the
networks takes them from here.

`EncodecConv1d` pads so that a signal of `n` samples becomes `ceil(n / stride)` frames:

    │ left │ n samples │ right │ up to the next whole stride │

A causal convolution has all of its padding on the left, another half of it. Padding that reflects
stands for the samples beside it, without the last one itself; a signal that is no longer than its
padding is extended with silence first, which is reflected with it.

A length is an int, or a tensor of integers with one for each row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch

if TYPE_CHECKING:
    from transformers import EncodecConfig

Length = TypeVar("Length", int, torch.Tensor)

LEAST_ROWS = 64
"""of a tile of a signal, when there are several: more than any layer that is run in tiles
reflects"""


@dataclass(frozen=True, slots=True)
class ConvolutionGeometry:
    """Of an `EncodecConv1d`."""

    taps: int
    stride: int
    dilation: int
    causal: bool
    reflects: bool
    """else what lies outside is silence"""

    @classmethod
    def of(cls, module: Any) -> ConvolutionGeometry:
        conv = module.conv
        return cls(
            taps=int(conv.kernel_size[0]),
            stride=int(conv.stride[0]),
            dilation=int(conv.dilation[0]),
            causal=bool(module.causal),
            reflects=module.pad_mode == "reflect",
        )

    @property
    def reach(self) -> int:
        """Samples that one frame is made of."""
        return (self.taps - 1) * self.dilation + 1

    @property
    def padding(self) -> int:
        """Samples that are added on both sides together, where the stride divides the length."""
        return self.reach - self.stride

    @property
    def right(self) -> int:
        return 0 if self.causal else self.padding // 2

    @property
    def left(self) -> int:
        return self.padding - self.right

    def after(self, length: Length) -> Length:
        """Samples that are added behind a signal."""
        return self.right + -length % self.stride

    def frames(self, length: Length) -> Length:
        return -(-length // self.stride)

    def mirrored(self, place: Length, length: Length) -> Length:
        """The sample that stands at a place outside of a signal, before 0 or from `length` on,
        where padding reflects; silence if that is outside too.

        Places beyond the padding give nothing that means anything.
        """
        last = self.fold(length)
        return last - abs(last - abs(place))

    def fold(self, length: Length) -> Length:
        """The place around which the end of a signal is reflected: of its last sample, or of the
        silence that it is extended with."""
        padding = _at_least(self.after(length), self.left)
        return length + _at_least(padding + 1 - length, 0) - 1


@dataclass(frozen=True, slots=True)
class TransposedGeometry:
    """Of an `EncodecConvTranspose1d`: `stride` samples from each frame, and what its taps reach
    further is cut off."""

    taps: int
    stride: int
    causal: bool
    trim_right_ratio: float
    """of what is cut off, the share behind the signal; of a causal one"""

    @classmethod
    def of(cls, module: Any) -> TransposedGeometry:
        conv = module.conv
        return cls(
            taps=int(conv.kernel_size[0]),
            stride=int(conv.stride[0]),
            causal=bool(module.causal),
            trim_right_ratio=float(module.trim_right_ratio),
        )

    @property
    def cut_after(self) -> int:
        """Samples that are cut off behind."""
        cut = self.taps - self.stride
        return math.ceil(cut * self.trim_right_ratio) if self.causal else cut // 2

    @property
    def cut_before(self) -> int:
        return self.taps - self.stride - self.cut_after

    def samples(self, frames: int) -> int:
        return frames * self.stride


def convolutions(config: EncodecConfig) -> list[ConvolutionGeometry]:
    """Of all that an encoder with this configuration has, in their order, but for the shortcuts of
    residual blocks, which reach no neighbour. A decoder's are the same with its own strides."""

    def one(taps: int, stride: int = 1, dilation: int = 1) -> ConvolutionGeometry:
        return ConvolutionGeometry(
            taps, stride, dilation, config.use_causal_conv, config.pad_mode == "reflect"
        )

    found = [one(config.kernel_size)]
    for ratio in reversed(config.upsampling_ratios):
        for number in range(config.num_residual_layers):
            dilation = config.dilation_growth_rate**number
            found += [one(config.residual_kernel_size, dilation=dilation), one(1)]
        found.append(one(2 * ratio, ratio))
    return [*found, one(config.last_kernel_size)]


def widest_padding(config: EncodecConfig) -> int:
    """Samples of the widest padding that any layer needs, without what fills up a stride."""
    return max(geometry.padding for geometry in convolutions(config))


def _at_least(value: Length, least: int) -> Length:
    if isinstance(value, torch.Tensor):
        return value.clamp_min(least)
    return max(value, least)
