"""The steps of `tokenizer.codecs.encodec.cpu.same_sums`: convolutions as products whose sums go in
a given order, on stretches of a signal that stay in a core's cache from one step to the next.

A stretch of what a few layers give is made of a stretch of what goes into them, a little longer; so
of each layer no more is kept than the next one takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from tokenizer.codecs.encodec.cpu.kernels import Floats
from tokenizer.codecs.encodec.cpu.products import ADD, BEGIN, END, Panels
from tokenizer.codecs.encodec.cpu.same_elu import elu_, lay_out, spreads
from tokenizer.codecs.encodec.cpu.vectors import LANES
from tokenizer.codecs.encodec.geometry import ConvolutionGeometry
from tokenizer.codecs.encodec.networks import UnknownLayer

CONVOLUTIONS = ("EncodecConv1d", "MimiConv1d")
RESIDUALS = ("EncodecResnetBlock", "MimiResnetBlock")
"""transformers' classes, which differ in nothing but their names"""
WIDEST = 256
"""channels that MKL sums at a time"""
STRETCH_FLOATS = 1 << 16
"""of the widest signal of a stretch: with all others, about half of a core's second-level cache"""
LEAST_ROWS = 128
"""of a stretch: more than a layer reflects, and so many that weights are worth reading for them"""
ELU_ROWS = 32
"""that fill the vectors of torch's ELU, whatever a row has"""


@dataclass(frozen=True, slots=True)
class Order:
    """Of a convolution's sums."""

    block: int
    """channels whose taps are summed at a time"""
    first: int
    """what the first of these sums does with the bias, and with what is in its place"""
    then: int
    """likewise the others"""
    widest: int
    """channels that are summed at a time where there is one tap"""


class Part(NamedTuple):
    """A stretch of a signal of `length` rows."""

    rows: Floats
    """float32 `[n, channels]`"""
    at: int
    """where they begin"""
    length: int


class Scratch:
    """Memory that is used again and again: fresh one costs more, page by page, than what is
    computed in it.

    Not to be shared between threads.
    """

    def __init__(self) -> None:
        self._there: dict[tuple[int, str], Floats] = {}

    def take(self, owner: object, name: str, rows: int, channels: int) -> Floats:
        """float32 `[rows, channels]`, holding anything, until it is asked for again."""
        key, count = (id(owner), name), rows * channels
        there = self._there.get(key)
        if there is None or len(there) < count:
            there = self._there[key] = np.empty(count, np.float32)
        return there[:count].reshape(rows, channels)


class Step(Protocol):
    """A layer of time-major signals."""

    channels: int
    out: int
    stride: int

    def source(self, start: int, stop: int, length: int) -> tuple[int, int]:
        """The rows, of a signal of `length`, that rows `start` to `stop` are made of; with those
        that are reflected."""

    def write(
        self, part: Part, start: int, stop: int, out: Floats, shared: bool, scratch: Scratch
    ) -> None:
        """Rows `start` to `stop`, float32 `[stop - start, channels]`; with `shared` as several
        threads of torch's would."""


class Band:
    """Steps of which each gives the next one what it needs of a stretch."""

    def __init__(self, steps: Sequence[Step], order: Order) -> None:
        self.order = order
        self._steps, self.channels, self._out = steps, steps[0].channels, steps[-1].out
        rows, self._widest = 1, steps[-1].out
        for step in reversed(steps):
            rows *= step.stride
            self._widest = max(self._widest, rows * step.channels)

    def __call__(self, x: Floats, shared: bool, scratch: Scratch) -> Floats:
        """float32 `[n, channels]` to what is taken from `scratch`."""
        lengths = [len(x)]
        for step in self._steps:
            lengths.append(-(-lengths[-1] // step.stride))
        out = scratch.take(self, "out", lengths[-1], self._out)
        for start, stop in _stretches(lengths[-1], self._widest):
            self._write(Part(x, 0, len(x)), start, stop, lengths, out[start:stop], shared, scratch)
        return out

    def _write(
        self,
        part: Part,
        start: int,
        stop: int,
        lengths: Sequence[int],
        out: Floats,
        shared: bool,
        scratch: Scratch,
    ) -> None:
        ranges = [(start, stop)]
        for step, length in zip(self._steps[:0:-1], lengths[-2:0:-1], strict=True):
            ranges.append(step.source(*ranges[-1], length))
        for step, (begin, end), length in zip(
            self._steps, reversed(ranges), lengths[1:], strict=True
        ):
            last = step is self._steps[-1]
            target = out if last else scratch.take(step, "out", end - begin, step.out)
            step.write(part, begin, end, target, shared, scratch)
            part = Part(target, begin, length)


def bands_of(layers: Sequence[Any], order: Order) -> list[Band]:
    """transformers' layers; a band ends where a signal becomes shorter.

    Raises:
        UnknownLayer: a layer that this cannot run.
    """
    bands: list[list[Step]] = [[]]
    elu = False
    for layer in layers:
        if type(layer).__name__ == "ELU":
            elu = _plain_elu(layer)
            continue
        residual = type(layer).__name__ in RESIDUALS
        step: Step = _Residual(layer, order) if residual else _Convolution(layer, elu, order)
        bands[-1].append(step)
        if step.stride > 1:
            bands.append([])
        elu = False
    if elu:
        raise UnknownLayer("an ELU behind all convolutions")
    return [Band(steps, order) for steps in bands if steps]


class _Convolution:
    """One of `CONVOLUTIONS`, of a signal or of its ELU."""

    def __init__(self, module: Any, elu: bool, order: Order) -> None:
        self._geometry, conv = _convolution(module)
        self.stride, self._reach = self._geometry.stride, self._geometry.reach
        self.channels, self.out = int(conv.in_channels), int(conv.out_channels)
        if conv.groups != 1 or self._geometry.dilation != 1 or conv.bias is None:
            raise UnknownLayer("a convolution with groups, dilation or no bias")
        self._elu, self._order = elu, order
        self._block = order.block if self.channels > 1 else 1
        if self.channels % self._block or self.out % LANES:
            raise UnknownLayer(f"a convolution of {self.channels} channels to {self.out}")
        taps = self._geometry.taps
        blocks = conv.weight.detach().reshape(self.out, -1, self._block, taps)
        matrix = blocks.permute(1, 3, 2, 0).reshape(-1, self.out)
        self._product = Panels(matrix, conv.bias, self._block * taps)

    def source(self, start: int, stop: int, length: int) -> tuple[int, int]:
        reflected = self._reach + self.stride
        begin = start * self.stride - self._geometry.left
        end = (stop - 1) * self.stride - self._geometry.left + self._reach
        begin, end = min(begin, length - reflected), max(end, reflected)
        return max(begin, 0), min(end, length)

    def write(
        self, part: Part, start: int, stop: int, out: Floats, shared: bool, scratch: Scratch
    ) -> None:
        count = (stop - 1 - start) * self.stride + self._reach
        wide = count + count % 2  # so that they fill the vectors of torch's ELU
        values = scratch.take(self, "values", wide, self.channels)
        blocks = values.reshape(-1, wide, self._block)
        at_once = self._elu and spreads(self._block)
        begin = start * self.stride - self._geometry.left
        lay_out(
            *part,
            self._geometry.fold(part.length) if self._geometry.reflects else -1,
            begin,
            count,
            blocks,
            at_once,
        )
        if self._elu and not at_once:
            elu_(blocks)
        self._product.multiply(
            blocks.reshape(-1),
            self.stride * self._block,
            out,
            self._order.first,
            self._order.then,
            wide * self._block,
        )


class _Product:
    """One of `CONVOLUTIONS`, of one tap."""

    def __init__(self, module: Any, order: Order) -> None:
        geometry, conv = _convolution(module)
        if (geometry.taps, geometry.stride, conv.groups) != (1, 1, 1) or conv.bias is None:
            raise UnknownLayer("a convolution of several taps at a residual block's end")
        weight = conv.weight.detach()[:, :, 0].t()
        self._alone = self._shared = Panels(weight, conv.bias, WIDEST)
        if order.widest < WIDEST:
            self._shared = Panels(weight, conv.bias, order.widest)

    def __call__(self, x: Floats, shared: bool, out: Floats, adds: bool) -> None:
        """Of float32 `[n, channels]`, into `out` or added to it."""
        product = self._shared if shared else self._alone
        if adds and not product.is_one_sum:  # all of it has to be known before it is added
            result = np.empty_like(out)
            self(x, shared, result, adds=False)
            out += result
            return
        how = (BEGIN if shared else END) + (ADD if adds else 0)
        product.multiply(x.reshape(-1), x.shape[1], out, how)


class _Residual:
    """One of `RESIDUALS`."""

    stride = 1

    def __init__(self, block: Any, order: Order) -> None:
        if len(block.block) != 4:
            raise UnknownLayer(f"a residual block of {len(block.block)} layers")
        _plain_elu(block.block[2])
        self._first = _Convolution(block.block[1], _plain_elu(block.block[0]), order)
        if self._first.stride != 1:
            raise UnknownLayer("a residual block with a stride")
        self.channels = self.out = self._first.channels
        self._second = _Product(block.block[3], order)
        identity = isinstance(block.shortcut, torch.nn.Identity)
        self._shortcut = None if identity else _Product(block.shortcut, order)

    def source(self, start: int, stop: int, length: int) -> tuple[int, int]:
        begin, end = self._first.source(start, stop, length)
        return min(begin, start), max(end, stop)

    def write(
        self, part: Part, start: int, stop: int, out: Floats, shared: bool, scratch: Scratch
    ) -> None:
        count = stop - start
        hidden = scratch.take(self, "hidden", count + -count % ELU_ROWS, self._first.out)
        hidden[count:] = 0.0
        self._first.write(part, start, stop, hidden[:count], shared, scratch)
        elu_(hidden)
        there = part.rows[start - part.at : stop - part.at]
        if self._shortcut is None:
            out[:] = there
        else:
            self._shortcut(there, shared, out, adds=False)
        self._second(hidden[:count], shared, out, adds=True)


def _convolution(module: Any) -> tuple[ConvolutionGeometry, Any]:
    """Its geometry, and torch's own."""
    norm = getattr(module, "norm_type", "weight_norm")  # Mimi's have none
    if type(module).__name__ not in CONVOLUTIONS or norm != "weight_norm":
        raise UnknownLayer(f"a layer of the kind {type(module).__name__}")
    if module.pad_mode not in ("constant", "reflect"):
        raise UnknownLayer(f"a convolution that pads by {module.pad_mode}")
    return ConvolutionGeometry.of(module), module.conv


def _plain_elu(layer: Any) -> bool:
    if type(layer).__name__ != "ELU" or layer.alpha != 1.0:
        raise UnknownLayer("an activation that is no plain ELU")
    return True


def _stretches(rows: int, numbers: int) -> list[tuple[int, int]]:
    """Half-open ranges of about one size that cover `rows` of so many numbers."""
    most = max(STRETCH_FLOATS // numbers // ELU_ROWS * ELU_ROWS, LEAST_ROWS)
    count = -(-rows // most)
    return list(pairwise(rows * i // count for i in range(count + 1)))
