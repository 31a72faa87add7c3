"""A DAC's convolutions on a signal that comes in steps.

Each layer keeps the last inputs that its next outputs reach back to (its tail), so that nothing is
computed twice, and the outputs are those of the whole signal. Before the first step the tail is the
zeros that transformers pads with, and after the last step these follow. A layer's tail is a value,
handed out and in; None before the first step.

    tail ─┐
    x ────┴▶ Snake ─▶ convolution ─▶ what is decided;  new tail

torch leaves convolutions of many numbers to oneDNN, and computes others itself, where sums are in
another order: those of few numbers, and with one thread those of one tap. Over a step there may be
few where the whole recording has many; so each is computed as the whole would be (`Whole`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.nn import functional

from tokenizer.codecs.dac.geometry import Convolution, Field, Transposed

Tail = Any
"""a tensor `[channels, n]`, or a tuple of tails, or None"""


FEW = 20_480
"""numbers up to which torch computes a convolution itself"""
ODD = 512
"""oneDNN adds up a convolution of one tap in another order where it has a multiple of so many"""
_ONEDNN = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Whole:
    """What transformers' own layer is given where a step of it is computed here."""

    length: int
    """inputs; of a recording that has not ended, those that it has at least"""
    threads: int
    """of torch"""

    def after(self, layer: Layer) -> Whole:
        """Of the next layer."""
        length = self.length
        for one in layer.numbers:
            if isinstance(one, Convolution):
                length = (length + 2 * one.padding - one.reach) // one.stride + 1
        return Whole(length, self.threads)


class Layer(Protocol):
    """A part of the network, in order."""

    numbers: list[Convolution | Transposed]

    def __call__(
        self, x: torch.Tensor, tail: Tail, last: bool, whole: Whole | None = None
    ) -> tuple[torch.Tensor, Tail]:
        """The next float32 `[channels, n]`, and whether they are the last, to the outputs that are
        decided, and the new tail; with `whole`, in the order in which that is computed."""


class Snake:
    """transformers' `Snake1d`."""

    def __init__(self, module: Any, fused: bool) -> None:
        alpha = module.alpha.detach()
        self._alpha, self._over = alpha[0], (alpha + 1e-9).reciprocal()[0]
        self._flat = (self._alpha[:, 0].contiguous(), self._over[:, 0].contiguous())
        self._fused = fused

    def into(self, x: torch.Tensor, out: torch.Tensor, offset: int) -> None:
        """Write it into columns of `out` from `offset` on."""
        if self._fused:
            # Its kernels need numba, which takes a second to load, and a GPU does without.
            from tokenizer.codecs.dac.kernels import snake

            snake(x.contiguous(), *self._flat, out, offset)
            return
        out[:, offset : offset + x.shape[1]] = x + self._over * torch.sin(self._alpha * x).pow(2)


class Convolved:
    """A Snake, or nothing, and a convolution."""

    def __init__(self, snake: Snake | None, conv: Any) -> None:
        self._snake, self._conv = snake, conv
        self._geometry = Convolution.of(conv)
        self.numbers: list[Convolution | Transposed] = [self._geometry]

    def __call__(
        self, x: torch.Tensor, tail: Tail, last: bool, whole: Whole | None = None
    ) -> tuple[torch.Tensor, Tail]:
        numbers = self._geometry
        if tail is None:
            tail = x.new_zeros(x.shape[0], numbers.padding)
        before, count = tail.shape[1], x.shape[1]
        held = x.new_empty(x.shape[0], before + count + (numbers.padding if last else 0))
        held[:, :before] = tail
        held[:, before + count :] = 0.0
        if self._snake is None:
            held[:, before : before + count] = x
        else:
            self._snake.into(x, held, before)
        out = max(0, (held.shape[1] - numbers.reach) // numbers.stride + 1)
        if not out:
            return x.new_empty(self._conv.out_channels, 0), held
        read = held[None, :, : (out - 1) * numbers.stride + numbers.reach]
        y = self._convolved(read, whole)
        return y[0, :, :out], held[:, out * numbers.stride :].clone()

    def _convolved(self, x: torch.Tensor, whole: Whole | None) -> torch.Tensor:
        numbers, conv = self._geometry, self._conv
        if whole is None or not _ONEDNN or not self._many(x.shape[1] * whole.length, whole.threads):
            return functional.conv1d(
                x, conv.weight, conv.bias, numbers.stride, dilation=numbers.dilation
            )
        if self._plain and x.shape[2] % ODD == 0:
            x = functional.pad(x, (0, 1))
        stride, dilation = [1, numbers.stride], [1, numbers.dilation]
        weight = conv.weight[:, :, None]
        y = torch.mkldnn_convolution(
            x[:, :, None], weight, conv.bias, [0, 0], stride, dilation, conv.groups
        )
        return y[:, :, 0]

    @property
    def _plain(self) -> bool:
        return self._geometry.taps == self._geometry.stride == 1

    def _many(self, numbers: int, threads: int) -> bool:
        """Whether torch leaves it to oneDNN."""
        return numbers > FEW and not (self._plain and threads == 1)


class Upsampled:
    """A Snake and a transposed convolution whose kernel is two strides long."""

    def __init__(self, snake: Snake, conv: Any) -> None:
        self._snake, self._conv = snake, conv
        self._geometry = Transposed.of(conv)
        self.numbers: list[Convolution | Transposed] = [self._geometry]

    def __call__(
        self, x: torch.Tensor, tail: Tail, last: bool, whole: Whole | None = None
    ) -> tuple[torch.Tensor, Tail]:
        numbers, conv = self._geometry, self._conv
        before = 0 if tail is None else tail.shape[1]
        held = x.new_empty(x.shape[0], before + x.shape[1])
        if before:
            held[:, :before] = tail
        self._snake.into(x, held, before)
        y = functional.conv_transpose1d(held[None], conv.weight, conv.bias, numbers.stride)[0]
        start = numbers.padding if tail is None else numbers.stride
        stop = y.shape[1] - (numbers.padding if last else numbers.stride)
        return y[:, start:stop], held[:, -1:].clone()


class Residual:
    """transformers' `DacResidualUnit`: what it adds to waits until its convolution has seen as
    far."""

    def __init__(self, unit: Any, fused: bool) -> None:
        self._wide = Convolved(Snake(unit.snake1, fused), unit.conv1)
        self._narrow = Convolved(Snake(unit.snake2, fused), unit.conv2)
        self.numbers: list[Convolution | Transposed] = self._wide.numbers

    def __call__(
        self, x: torch.Tensor, tail: Tail, last: bool, whole: Whole | None = None
    ) -> tuple[torch.Tensor, Tail]:
        reached, waiting = (None, x[:, :0]) if tail is None else tail
        branch, reached = self._wide(x, reached, last, whole)
        branch, _ = self._narrow(branch, None, last, whole)
        old = waiting.shape[1]
        count = branch.shape[1]
        branch[:, :old] += waiting[:, :count]
        branch[:, old:] += x[:, : max(count - old, 0)]
        if count < old:
            left = torch.cat([waiting[:, count:], x], dim=1)
        else:
            left = x[:, count - old :].clone()
        return branch, (reached, left)


class Chain:
    """Layers one after the other."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers
        self.field = Field([one for layer in layers for one in layer.numbers])

    def __call__(
        self,
        x: torch.Tensor,
        tails: Sequence[Tail] | None,
        last: bool,
        whole: Whole | None = None,
    ) -> tuple[torch.Tensor, list[Tail]]:
        """As a layer's, with a tail of each."""
        left = []
        for layer, tail in zip(self._layers, tails or [None] * len(self._layers), strict=True):
            x, new = layer(x, tail, last, whole)
            left.append(new)
            whole = whole and whole.after(layer)
        return x, left


def encoder_chain(encoder: Any, fused: bool) -> Chain:
    """Of transformers' `DacEncoder`: float32 `[1, samples]` to `[dim, frames]`."""
    layers: list[Layer] = [Convolved(None, encoder.conv1)]
    for block in encoder.block:
        layers += [Residual(unit, fused) for unit in _units(block)]
        layers.append(Convolved(Snake(block.snake1, fused), block.conv1))
    return Chain([*layers, Convolved(Snake(encoder.snake1, fused), encoder.conv2)])


def decoder_chain(decoder: Any, fused: bool) -> Chain:
    """Of transformers' `DacDecoder` before its tanh: float32 `[dim, frames]` to `[1, samples]`."""
    layers: list[Layer] = [Convolved(None, decoder.conv1)]
    for block in decoder.block:
        layers.append(Upsampled(Snake(block.snake1, fused), block.conv_t1))
        layers += [Residual(unit, fused) for unit in _units(block)]
    return Chain([*layers, Convolved(Snake(decoder.snake1, fused), decoder.conv2)])


def _units(block: Any) -> list[Any]:
    return [block.res_unit1, block.res_unit2, block.res_unit3]
