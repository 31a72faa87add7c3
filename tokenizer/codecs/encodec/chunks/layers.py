"""Layers of a SEANet encoder with norms, each over a whole chunk, with the bits of transformers'.

A layer's output is kept as it leaves the products. Its norm, the sum of a residual block's two
branches and the ELU are computed as the next layer reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from tokenizer.codecs.encodec.chunks.layout import How, Product, Terms, convolve, lay_out_terms
from tokenizer.codecs.encodec.chunks.moments import (
    WIDTH,
    Parts,
    count_chunks,
    factors,
    gather_between,
    gather_in_order,
    goes_by_stretches,
    joined_float32,
    shares_of,
)
from tokenizer.codecs.encodec.cpu.kernels import Floats
from tokenizer.codecs.encodec.cpu.products import ADD, BEGIN, END, Panels
from tokenizer.codecs.encodec.cpu.same_steps import WIDEST, Order
from tokenizer.codecs.encodec.cpu.tiles import Workspace, flat
from tokenizer.codecs.encodec.cpu.vectors import LANES
from tokenizer.codecs.encodec.geometry import ConvolutionGeometry
from tokenizer.codecs.encodec.networks import UnknownLayer

STRETCH_FLOATS = 1 << 16
"""of a stretch, on the wider side: with all that is made of it, about half of a core's second-level
cache"""
LEAST_ROWS = 64


class Term(NamedTuple):
    """A layer's output, `raw * scale + shift`."""

    raw: Any
    """a tensor float32 `[rows, channels]`"""
    scale: Floats | None
    """float32 `[channels]`; None: `raw` is what is meant"""
    shift: Floats | None


Signal = tuple[Term, ...]
"""one, or two whose sum is meant"""


class Layer(Protocol):
    """Of a signal `[rows, channels]`."""

    def __call__(self, signal: Signal, shared: bool, space: Workspace) -> Signal:
        """Into memory of `space`; `shared` as several threads of torch's would."""


def layers_of(layers: Sequence[Any], order: Order) -> list[Layer]:
    """transformers' layers.

    Raises:
        UnknownLayer: a layer that this cannot run.
    """
    found: list[Layer] = []
    elu = False
    for layer in layers:
        kind = type(layer).__name__
        if kind == "EncodecConv1d":
            found.append(Convolution(layer, order, elu))
        elif kind == "EncodecResnetBlock" and not elu:
            found.append(Residual(layer, order))
        elif kind != "ELU" or elu or layer.alpha != 1.0:
            raise UnknownLayer(f"a layer of the kind {kind} there")
        elu = kind == "ELU"
    if elu:
        raise UnknownLayer("an ELU behind all convolutions")
    return found


class Convolution:
    """transformers' `EncodecConv1d` with its norm, of a signal or of its ELU."""

    def __init__(self, module: Any, order: Order, elu: bool) -> None:
        """
        Raises:
            UnknownLayer: it has no such norm, or of numbers that do not fill vectors.
        """
        conv = module.conv
        self._geometry, self._elu = ConvolutionGeometry.of(module), elu
        self._in, self.out = int(conv.in_channels), int(conv.out_channels)
        if module.norm_type != "time_group_norm" or module.pad_mode not in ("constant", "reflect"):
            raise UnknownLayer(f"a convolution with {module.norm_type} and {module.pad_mode}")
        if conv.groups != 1 or self._geometry.dilation != 1 or conv.bias is None:
            raise UnknownLayer("a convolution with groups, dilation or no bias")
        narrow = self._in < LANES
        if self.out % LANES or (self._in % LANES and not narrow) or (narrow and elu):
            raise UnknownLayer(f"a convolution of {self._in} channels to {self.out}")
        norm = module.norm
        self._gain, self._offset = norm.weight.detach().numpy(), norm.bias.detach().numpy()
        self._epsilon, self._shares = float(norm.eps), dict[int, Floats]()
        self._alone, self._shared = self._products(conv, order)

    def _products(self, conv: Any, order: Order) -> tuple[Product, Product]:
        """As one thread of torch's computes it, and several."""
        weight, taps = conv.weight.detach(), self._geometry.taps
        if taps == 1 and self._in >= LANES:
            self._block = self._in
            matrix = weight[:, :, 0].t()
            return (
                _product(Panels(matrix, conv.bias, WIDEST), END, ADD),
                _product(Panels(matrix, conv.bias, order.widest), BEGIN, ADD),
            )
        self._block = order.block if self._in >= LANES else self._in
        blocks = weight.reshape(self.out, -1, self._block, taps)
        matrix = blocks.permute(1, 3, 2, 0).reshape(-1, self.out)
        panels = Panels(matrix, conv.bias, self._block * taps)
        product = _product(panels, order.first, order.then)
        return product, product

    def __call__(self, signal: Signal, shared: bool, space: Workspace) -> Signal:
        rows = self._geometry.frames(len(signal[0].raw))
        stretches = goes_by_stretches(rows)
        raw, chunks = space.take(rows, self.out), count_chunks(rows * self.out)
        done = space.take(chunks, 2 * WIDTH)
        parts = self._parts(rows, done.numpy() if stretches else done.numpy()[:0])
        self._convolve(signal, shared, raw.numpy(), parts, space)
        if stretches:
            gather_between(raw.numpy(), parts.done)
        else:
            turned = space.take(self.out, rows)
            turned.copy_(raw.t())
            gather_in_order(flat(turned), done.numpy())
            space.give_back(turned)
        moments = joined_float32(done.numpy(), rows * self.out)
        space.give_back(done)
        return (Term(raw, *factors(*moments, self._gain, self._offset, self._epsilon)),)

    def _convolve(
        self, signal: Signal, shared: bool, out: Floats, parts: Parts, space: Workspace
    ) -> None:
        length, (rows, _) = len(signal[0].raw), out.shape
        how = How(
            is_plain=signal[0].scale is None,
            is_sum=len(signal) > 1,
            activates=self._elu,
            fold=self._geometry.fold(length) if self._geometry.reflects else -1,
            left=self._geometry.left,
            reach=self._geometry.reach,
            stride=self._geometry.stride,
            block=self._block,
        )
        most = self._most(rows) if len(parts.done) else rows
        wide = (most - 1) * how.stride + how.reach
        blocks = space.take(wide, self._in)
        product = self._shared if shared else self._alone
        convolve(_terms(signal), how, product, most, flat(blocks), out, parts)
        space.give_back(blocks)

    def _most(self, rows: int) -> int:
        wider = max(self._in * self._geometry.stride, self.out)
        return min(max(STRETCH_FLOATS // wider // WIDTH * WIDTH, LEAST_ROWS), rows)

    def _parts(self, rows: int, done: Floats) -> Parts:
        if rows not in self._shares:
            self._shares[rows] = shares_of(rows, self.out)
        under_way = np.zeros((self.out // LANES, 2, WIDTH, LANES), np.float32)
        return Parts(under_way, self._shares[rows], done)


class Residual:
    """transformers' `EncodecResnetBlock`."""

    def __init__(self, module: Any, order: Order) -> None:
        """
        Raises:
            UnknownLayer: it has other layers.
        """
        kinds = [type(layer).__name__ for layer in module.block]
        if kinds != ["ELU", "EncodecConv1d", "ELU", "EncodecConv1d"]:
            raise UnknownLayer(f"a residual block of {kinds}")
        if any(layer.alpha != 1.0 for layer in module.block[::2]):
            raise UnknownLayer("an activation that is no plain ELU")
        if type(module.shortcut).__name__ != "EncodecConv1d":
            raise UnknownLayer("a residual block without a convolution beside it")
        self._branch = [Convolution(module.block[place], order, elu=True) for place in (1, 3)]
        self._shortcut = Convolution(module.shortcut, order, elu=False)

    def __call__(self, signal: Signal, shared: bool, space: Workspace) -> Signal:
        hidden = self._branch[0](signal, shared, space)
        branch = self._branch[1](hidden, shared, space)
        space.give_back(*(term.raw for term in hidden))
        return self._shortcut(signal, shared, space) + branch


def whole(signal: Signal) -> Floats:
    """float32 `[rows, channels]`, of normalised terms, in memory of its own."""
    terms = _terms(signal)
    rows, channels = terms.first.shape
    how = How(False, len(signal) > 1, False, -1, 0, 1, 1, channels)
    out: Floats = np.empty(rows * channels, np.float32)
    lay_out_terms(terms, how, 0, rows, out, rows)
    return out.reshape(rows, channels)


def _product(panels: Panels, how: int, then: int) -> Product:
    return Product(*panels.laid, how, then)


def _terms(signal: Signal) -> Terms:
    numbers: list[Floats] = []
    for term in (signal[0], signal[-1]):
        raw: Floats = term.raw.numpy()
        unused = np.zeros(0, np.float32)
        numbers += (
            raw,
            unused if term.scale is None else term.scale,
            unused if term.shift is None else term.shift,
        )
    return Terms(*numbers)
