"""The convolutions of a SEANet encoder, EnCodec's or Mimi's, on a CPU with transformers' results
bit for bit, in the time of tiles.

A float32 sum depends on its order, so the order is oneDNN's, which torch leaves convolutions to.
With AVX-512 it is

    out = bias + Σ taps × 16 channels, then for every further 16 channels: out += Σ taps × these

and with AVX2 a single sum that begins with the bias, over the taps of 8 channels, then of the next.
Each is what matrix products give in which the taps' channels lie side by side. In memory
`[channels / 16, samples, 16]` they do, from one sample to the next too, so that a product takes
rows that overlap and nothing is copied out. Convolutions of one tap, which torch gives to MKL where
it has one thread, are there sums over 256 channels, of which the bias is added to the first; where
it has several they are oneDNN's, which begins with the bias, and goes as far with AVX-512, and half
as far with AVX2.

Nothing promises these orders. So they are tried out once for each number of threads, and where
none holds something else runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch

from tokenizer.codecs.encodec.arithmetic import exact_float32
from tokenizer.codecs.encodec.cpu.kernels import spread
from tokenizer.codecs.encodec.cpu.products import ADD, BEGIN, END, GO_ON, Panels
from tokenizer.codecs.encodec.cpu.same_elu import elu_, spread_elu, spreads
from tokenizer.codecs.encodec.cpu.threads import PerThreads, Threads
from tokenizer.codecs.encodec.cpu.tiles import Workspace
from tokenizer.codecs.encodec.cpu.vectors import LANES
from tokenizer.codecs.encodec.geometry import ConvolutionGeometry
from tokenizer.codecs.encodec.networks import UnknownLayer

CONVOLUTIONS = ("EncodecConv1d", "MimiConv1d")
RESIDUALS = ("EncodecResnetBlock", "MimiResnetBlock")
"""transformers' classes, which differ in nothing but their names"""
Run = Callable[[Sequence[torch.Tensor]], list[torch.Tensor]]


class Step(Protocol):
    """A layer of time-major signals."""

    channels: int

    def __call__(self, x: torch.Tensor, shared: bool, space: Workspace) -> torch.Tensor:
        """float32 `[n, channels]` to what is taken from `space`; with `shared` as several threads
        of torch's would."""


WIDEST = 256
"""channels that MKL sums at a time"""
TILE_FLOATS = 1 << 17
"""of a tile's input: with what comes of it, about half of a core's second-level cache"""
LEAST_ROWS = 128
"""of a tile"""
TRIED_FRAMES, TRIED_ROWS = 80, 25_000
"""at least; torch gives fewer numbers to MKL"""


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


ORDERS = (Order(16, END, ADD, 256), Order(8, BEGIN, GO_ON, 128))
"""with AVX-512, and with AVX2"""


class SameSums:
    """Runs the layers of transformers' `EncodecEncoder` before or after its LSTM, or of its
    `MimiEncoder`, whose weights it takes. Windows go to torch's threads."""

    def __init__(self, layers: Sequence[Any], hop: int) -> None:
        """`hop` rows become a frame.

        Raises:
            UnknownLayer: a layer that this cannot run.
        """
        self._layers, self._hop, self._threads = layers, hop, Threads()
        self._first = _steps_of(layers, ORDERS[0])
        self._proven = PerThreads(self._find)
        self._spaces: list[Workspace] = []

    def __call__(self, windows: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """float32 `[n, channels]` each to `[frames, out]` each."""
        return self._run_all(windows, self._proven() or self._first)

    def _run_all(
        self, windows: Sequence[torch.Tensor], steps: Sequence[Step]
    ) -> list[torch.Tensor]:
        shared = torch.get_num_threads() > 1
        # Shared by torch's threads, an ELU would take another exponential where they meet.
        return self._threads.map(lambda rows: self._run(rows, shared, steps), windows, alone=True)

    def where_proven(self, otherwise: Run) -> Run:
        """This, or `otherwise` where the order is another one."""
        return lambda windows: (self if self.proven else otherwise)(windows)

    @torch.inference_mode()
    def _run(self, x: torch.Tensor, shared: bool, steps: Sequence[Step]) -> torch.Tensor:
        space = self._spaces.pop() if self._spaces else Workspace()
        for step in steps:
            result = step(x, shared, space)
            space.give_back(x)
            x = result
        result = x.clone()
        space.give_back(x)
        self._spaces.append(space)
        return result

    @property
    def proven(self) -> bool:
        """Whether transformers' modules give the same bits, with as many threads as torch has now:
        of a signal that is tried once, but for its last frame, where torch's threads end in an
        ELU and take another exponential for the few numbers that fill no vector."""
        return self._proven() is not None

    def _find(self) -> Sequence[Step] | None:
        """The layers in the order that is this machine's."""
        generator = torch.Generator().manual_seed(0)
        frames = max(TRIED_FRAMES, TRIED_ROWS // (self._first[0].channels * self._hop))
        count = frames * self._hop + self._hop // 2
        rows = 0.1 * torch.randn(count, self._first[0].channels, generator=generator)
        with torch.inference_mode(), exact_float32():
            x = rows.t()[None].contiguous()
            for layer in self._layers:
                x = layer(x)
            for order in ORDERS:
                steps = self._first if order is ORDERS[0] else _steps_of(self._layers, order)
                (found,) = self._run_all([rows], steps)
                if torch.equal(found[:-1], x[0].t()[:-1]):
                    return steps
        return None


def _steps_of(layers: Sequence[Any], order: Order) -> list[Step]:
    """
    Raises:
        UnknownLayer: a layer that this cannot run.
    """
    steps: list[Step] = []
    elu = False
    for layer in layers:
        if type(layer).__name__ == "ELU":
            elu = _plain_elu(layer)
            continue
        if type(layer).__name__ in RESIDUALS:
            steps.append(_Residual(layer, order))
        else:
            steps.append(_Convolution(layer, elu, order))
        elu = False
    if elu:
        raise UnknownLayer("an ELU behind all convolutions")
    return steps


class _Convolution:
    """One of `CONVOLUTIONS`, of time-major signals or of their ELU."""

    def __init__(self, module: Any, elu: bool, order: Order) -> None:
        geometry, conv = _convolution(module)
        self.channels, self._elu, self.geometry = int(conv.in_channels), elu, geometry
        if conv.groups != 1 or geometry.dilation != 1 or conv.bias is None:
            raise UnknownLayer("a convolution with groups, dilation or no bias")
        weight = conv.weight.detach()
        self.out = int(conv.out_channels)
        self._numbers = max(self.channels * geometry.stride, self.out)
        self._order, self._block = order, order.block if self.channels > 1 else 1
        if self.channels % self._block or self.out % LANES:
            raise UnknownLayer(f"a convolution of {self.channels} channels to {self.out}")
        blocks = weight.reshape(self.out, -1, self._block, geometry.taps).permute(1, 3, 2, 0)
        matrix = blocks.reshape(-1, self.out)
        self._product = Panels(matrix, conv.bias, self._block * geometry.taps)

    def __call__(self, x: torch.Tensor, shared: bool, space: Workspace) -> torch.Tensor:
        frames = self.geometry.frames(x.shape[0])
        out = space.take(frames, self.out)
        for start, stop in _tiles(frames, self._numbers):
            self.tile(x, start, stop, out[start:stop], space)
        return out

    def tile(
        self, x: torch.Tensor, start: int, stop: int, out: torch.Tensor, space: Workspace
    ) -> None:
        """Frames `start` to `stop`."""
        geometry, block = self.geometry, self._block
        rows = (stop - 1 - start) * geometry.stride + geometry.reach
        # Numbers that fill an ELU's vectors: torch takes another exponential for what is left.
        blocks, wide = self.channels // block, rows + rows % 2
        values = space.take(blocks * wide, block).view(blocks, wide, block)
        self._fill(values, x, start * geometry.stride - geometry.left, rows)
        self._product.multiply(
            values.view(-1).numpy(),
            geometry.stride * block,
            out.numpy(),
            self._order.first,
            self._order.then,
            wide * block,
        )
        space.give_back(values)

    def _fill(self, values: torch.Tensor, x: torch.Tensor, start: int, rows: int) -> None:
        """Rows from `start` on, or their ELU: what lies outside of the signal is padding."""
        length, stop = x.shape[0], start + rows
        inner, end = max(start, 0), min(stop, length)
        values[:, rows:] = 0.0
        at_once = self._elu and spreads(self._block)
        take = spread_elu if at_once else spread
        take(x[inner:end].numpy(), values[:, inner - start : end - start].numpy())
        for outside in (range(start, inner), range(end, stop)):
            for place in outside:
                target = values[:, place - start : place - start + 1].zero_()
                source = self._source(place, x.shape[0])
                if source is not None:
                    take(x[source : source + 1].numpy(), target.numpy())
        if self._elu and not at_once:
            elu_(values)

    def _source(self, place: int, length: int) -> int | None:
        """The row that is found outside of a signal; None for zeros."""
        source = self.geometry.mirrored(place, length) if self.geometry.reflects else -1
        return source if 0 <= source < length else None


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

    def __call__(self, x: torch.Tensor, shared: bool, out: torch.Tensor, adds: bool) -> None:
        """Of float32 `[n, channels]`, into `out` or added to it."""
        product = self._shared if shared else self._alone
        if adds and not product.is_one_sum:  # all of it has to be known before it is added
            result = torch.empty_like(out)
            self(x, shared, result, adds=False)
            out += result
            return
        how = (BEGIN if shared else END) + (ADD if adds else 0)
        product.multiply(x.reshape(-1).numpy(), x.shape[1], out.numpy(), how)


class _Residual:
    """One of `RESIDUALS`, tile by tile: nothing of it but its result leaves the
    cache."""

    def __init__(self, block: Any, order: Order) -> None:
        if len(block.block) != 4:
            raise UnknownLayer(f"a residual block of {len(block.block)} layers")
        _plain_elu(block.block[2])
        self._first = _Convolution(block.block[1], _plain_elu(block.block[0]), order)
        if self._first.geometry.stride != 1:
            raise UnknownLayer("a residual block with a stride")
        self.channels = self._first.channels
        self._second = _Product(block.block[3], order)
        identity = isinstance(block.shortcut, torch.nn.Identity)
        self._shortcut = None if identity else _Product(block.shortcut, order)

    def __call__(self, x: torch.Tensor, shared: bool, space: Workspace) -> torch.Tensor:
        out = space.take(len(x), self.channels)
        if self._shortcut is None:
            out.copy_(x)
        for start, stop in _tiles(len(x), self.channels):
            count, target = stop - start, out[start:stop]
            # As many rows as fill an ELU's vectors, whatever a row has.
            hidden = space.take(count + -count % 32, self._first.out)
            hidden[count:] = 0.0
            self._first.tile(x, start, stop, hidden[:count], space)
            elu_(hidden)
            if self._shortcut is not None:
                self._shortcut(x[start:stop], shared, target, adds=False)
            self._second(hidden[:count], shared, target, adds=True)
            space.give_back(hidden)
        return out


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


def _tiles(rows: int, numbers: int) -> list[tuple[int, int]]:
    """Half-open ranges of even size that cover `rows` of so many numbers."""
    count = -(-rows // _tile_rows(numbers))
    return list(pairwise(rows * i // count for i in range(count + 1)))


def _tile_rows(numbers: int) -> int:
    """Most rows of a tile: whole vectors of an ELU."""
    return max(TILE_FLOATS // numbers // 32 * 32, LEAST_ROWS)
