"""Convolutions of a SEANet on a CPU: tile by tile, so that what lies between two convolutions never
leaves the core's cache.

Everything is time-major, `[samples, channels]`: a convolution is then a few matrix products over
shifted views, without copying windows out. A layer's output is kept as it leaves the products; its
bias, its normalisation (GroupNorm with one group needs sums over the whole chunk before it can be
applied), the sum of a residual block's two branches and the ELU are all done in one pass when the
next layer reads a tile of it.

    Signal ──read a tile──▶ ELU(shift + Σ term · scale) ──▶ reflect ends
           ──▶ products ──▶ raw output, sums ──▶ Signal
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.codecs.encodec.cpu.kernels import moments, read_one, read_two
from tokenizer.codecs.encodec.geometry import (
    LEAST_ROWS,
    ConvolutionGeometry,
    TransposedGeometry,
)
from tokenizer.codecs.encodec.networks import UnknownLayer

TILE_FLOATS = 1 << 17
"""of a tile's input: with what comes of it, about half of a core's second-level cache"""
WIDE = 2048
"""numbers that an elementwise loop takes at a time"""
GATHER_BELOW = 16
"""channels below which a convolution's taps are gathered into one product"""


class Workspace:
    """Buffers that are used again and again: fresh memory costs more, page by page, than what is
    computed in it.

    Not to be shared between threads.
    """

    def __init__(self) -> None:
        self._free: list[torch.Tensor] = []
        self._used: dict[int, torch.Tensor] = {}

    def take(self, rows: int, channels: int) -> torch.Tensor:
        """float32 `[rows, channels]`, holding anything."""
        need = rows * channels
        self._free.sort(key=torch.numel)
        fitting = next((i for i, buffer in enumerate(self._free) if buffer.numel() >= need), None)
        if fitting is not None:
            buffer = self._free.pop(fitting)
        else:
            if self._free:  # one that has become too small makes room, or they would pile up
                self._free.pop()
            buffer = torch.empty(need)
        self._used[_place(buffer)] = buffer
        return buffer[:need].view(rows, channels)

    def give_back(self, *taken: torch.Tensor) -> None:
        """End the use of tensors that `take` returned; others are ignored."""
        for tensor in taken:
            buffer = self._used.pop(_place(tensor), None)
            if buffer is not None:
                self._free.append(buffer)


def _place(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


@dataclass(frozen=True, slots=True)
class Signal:
    """A layer's output, in parts: `shift + sum(term * scale)`, of one term or two."""

    terms: tuple[torch.Tensor, ...]
    """each float32 `[samples, channels]`, without gaps"""
    scales: tuple[torch.Tensor, ...]
    """each float32 `[repeats * channels]`, see `repeated`"""
    shift: torch.Tensor
    """likewise"""
    condition: float = 1.0
    """how much the normalisations up to here have grown what rounding does to it, see
    `tokenizer.codecs.encodec.certainty`"""

    @property
    def length(self) -> int:
        return self.terms[0].shape[0]

    @property
    def channels(self) -> int:
        return self.terms[0].shape[1]

    def read(self, start: int, stop: int, out: torch.Tensor, elu: bool = False) -> None:
        """Write samples `start` to `stop`, or their ELU, into `out`."""
        channels, target, shift = self.channels, flat(out), self.shift.numpy()
        terms = [flat(term)[start * channels : stop * channels] for term in self.terms]
        scales = [scale.numpy() for scale in self.scales]
        if len(terms) == 1:
            read_one(terms[0], scales[0], shift, target, elu)
        else:
            read_two(terms[0], scales[0], terms[1], scales[1], shift, target, elu)

    def whole(self) -> torch.Tensor:
        """float32 `[samples, channels]`, in memory of its own."""
        out = torch.empty_like(self.terms[0])
        self.read(0, self.length, out)
        return out

    def part(self, start: int, stop: int) -> Signal:
        """Samples `start` to `stop`, in the same memory."""
        return Signal(
            tuple(term[start:stop] for term in self.terms), self.scales, self.shift, self.condition
        )

    def __add__(self, other: Signal) -> Signal:
        """Of two signals of one term each."""
        condition = self.condition * other.condition
        return Signal(
            self.terms + other.terms,
            self.scales + other.scales,
            self.shift + other.shift,
            condition,
        )


def flat(samples: torch.Tensor) -> NDArray[np.float32]:
    """The same memory as a row of numbers; of a tensor without gaps."""
    row: NDArray[np.float32] = samples.view(-1).numpy()
    return row


def repeated(values: torch.Tensor) -> torch.Tensor:
    """A factor per channel, repeated for several samples: loops over few numbers at a time are
    slow."""
    return values.repeat(max(WIDE // values.numel(), 1))


def plain(samples: torch.Tensor) -> Signal:
    """float32 `[samples, channels]` as a signal."""
    ones = repeated(torch.ones(samples.shape[1]))
    return Signal((samples,), (ones,), torch.zeros_like(ones))


def tile_rows(channels: int) -> int:
    """Most rows of a tile."""
    return max(TILE_FLOATS // channels, 2 * LEAST_ROWS)


def tiles(rows: int, channels: int) -> Iterator[tuple[int, int]]:
    """Half-open ranges of even size that cover `rows`."""
    count = -(-rows // tile_rows(channels))
    edges = [rows * i // count for i in range(count + 1)]
    return pairwise(edges)


Moments = tuple[int, float, float]
"""count, mean, and the sum of squared differences from it, of some of a layer's outputs"""


class Norm:
    """GroupNorm with one group over a whole chunk (`time_group_norm`), from moments gathered tile
    by tile."""

    def __init__(self, norm: Any, bias: torch.Tensor) -> None:
        self._gain, self._offset, self._eps = (
            norm.weight.detach(),
            norm.bias.detach(),
            float(norm.eps),
        )
        self._bias = bias

    def signal(self, raw: torch.Tensor, parts: Sequence[Moments]) -> Signal:
        """A raw output `[samples, channels]` without its bias, to a signal; `parts` are of the
        output with its bias."""
        count, mean, squares = joined(parts)
        deviation = (squares / count + self._eps) ** 0.5
        scale = self._gain.double() / deviation
        shift = self._offset.double() + (self._bias.double() - mean) * scale
        # What rounding leaves in the output is in proportion to its size, and grows with it where
        # that is taken off.
        condition = max(((squares / count + mean * mean) ** 0.5) / deviation, 1.0)
        return Signal((raw,), (repeated(scale.float()),), repeated(shift.float()), condition)


def joined(parts: Sequence[Moments]) -> Moments:
    """The moments of all parts together, of which none is the difference of large numbers (Chan et
    al. 1983)."""
    count = sum(part[0] for part in parts)
    mean = math.fsum(part[0] * part[1] for part in parts) / count
    return count, mean, math.fsum(part[2] + part[0] * (part[1] - mean) ** 2 for part in parts)


class Layer(ABC):
    """A convolution as products over shifted views of its input. Subclasses say which products, and
    what lies outside."""

    def __init__(self, bias: torch.Tensor, norm: Any, channels: int, stride: int) -> None:
        """Raw outputs have one row for each `stride` of the input's; `norm` is a GroupNorm or
        None."""
        self._in, self._stride = channels, stride
        self._bias = repeated(bias)
        self._ones = torch.ones_like(self._bias)
        self._norm = None if norm is None else Norm(norm, bias)
        self._out = bias.numel()

    def __call__(self, signal: Signal, elu: bool, space: Workspace) -> Signal:
        """Convolve a signal, or its ELU; the result lies in `space`."""
        left, right = self._padding(signal.length)
        rows = (left + signal.length + right - self._reach) // self._stride + 1
        raw = space.take(rows, self._width)
        parts: list[Moments] = []
        for start, stop in tiles(rows, max(self._in * self._stride, self._width)):
            window = space.take((stop - 1 - start) * self._stride + self._reach, self._in)
            self._fill(window, signal, start * self._stride - left, elu)
            out = raw[start:stop]
            self._multiply(window, out)
            space.give_back(window)
            if self._norm is not None:
                mean, squares = moments(flat(out), self._bias.numpy(), self._out)
                parts.append((out.numel(), mean, squares))
        raw = raw.view(-1, self._out)
        if self._norm is not None:
            normalised = self._norm.signal(raw, parts)
            return replace(normalised, condition=normalised.condition * signal.condition)
        return Signal((raw,), (self._ones,), self._bias, signal.condition)

    _reach: int
    """input samples that one output needs"""
    _width: int
    """numbers in a raw row"""

    @abstractmethod
    def _padding(self, length: int) -> tuple[int, int]:
        """Samples to add before and after."""

    @abstractmethod
    def _multiply(self, values: torch.Tensor, out: torch.Tensor) -> None:
        """Products of a padded window into raw rows."""

    def _fill(self, values: torch.Tensor, signal: Signal, start: int, elu: bool) -> None:
        """Samples from `start` on, or their ELU, which may lie before the signal, and end after
        it."""
        stop = start + values.shape[0]
        inner, end = max(start, 0), min(stop, signal.length)
        signal.read(inner, end, values[inner - start : end - start], elu)
        for outside in (range(start, inner), range(end, stop)):
            for i in outside:
                source = self._mirrored(i, signal.length)
                values[i - start] = 0.0 if source is None else values[source - start]

    def _mirrored(self, i: int, length: int) -> int | None:
        """The sample that stands at place `i` outside of the signal; None for silence."""
        return None


class Convolution(Layer):
    """transformers' `EncodecConv1d`."""

    def __init__(self, module: Any) -> None:
        conv = module.conv
        norm = module.norm if module.norm_type == "time_group_norm" else None
        super().__init__(conv.bias.detach(), norm, conv.in_channels, conv.stride[0])
        self._geometry = ConvolutionGeometry.of(module)
        taps, self._dilation = self._geometry.taps, self._geometry.dilation
        self._reach, self._width = self._geometry.reach, self._out
        self._group = self._grouped(taps)
        # With weight norm, `weight` is computed from its two factors here, once.
        by_tap = conv.weight.detach().permute(2, 1, 0)
        self._products = list(
            by_tap.reshape(taps // self._group, self._group * self._in, self._out).contiguous()
        )

    def _grouped(self, taps: int) -> int:
        """Taps that one product takes: neighbours, which lie side by side from one output to the
        next too."""
        if self._dilation > 1:
            return 1
        if self._in < GATHER_BELOW:
            return taps
        return self._stride if taps % self._stride == 0 else 1

    def _padding(self, length: int) -> tuple[int, int]:
        return self._geometry.left, self._geometry.after(length)

    def _mirrored(self, i: int, length: int) -> int | None:
        source = self._geometry.mirrored(i, length)
        return source if self._geometry.reflects and source < length else None

    def _multiply(self, values: torch.Tensor, out: torch.Tensor) -> None:
        size, steps = (out.shape[0], self._group * self._in), (self._stride * self._in, 1)
        for number, weight in enumerate(self._products):
            offset = values.storage_offset() + number * self._group * self._dilation * self._in
            taps = values.as_strided(size, steps, offset)
            if number == 0:
                torch.mm(taps, weight, out=out)
            else:
                out.addmm_(taps, weight)


class TransposedConvolution(Layer):
    """transformers' `EncodecConvTranspose1d`: each input row gives a block of `stride` outputs, and
    adds to the next blocks."""

    def __init__(self, module: Any) -> None:
        conv = module.conv
        super().__init__(
            conv.bias.detach(),
            module.norm if module.norm_type == "time_group_norm" else None,
            conv.in_channels,
            1,
        )
        self._geometry = TransposedGeometry.of(module)
        taps, step = self._geometry.taps, self._geometry.stride
        if taps % step:
            raise UnknownLayer(f"a transposed convolution of {taps} taps with a stride of {step}")
        self._reach, self._width = taps // step, step * self._out
        blocks = (
            conv.weight.detach().permute(2, 0, 1).reshape(self._reach, step, self._in, self._out)
        )
        self._products = (
            blocks.permute(0, 2, 1, 3).reshape(self._reach, self._in, self._width).flip(0)
        )
        self._products = list(self._products.contiguous())

    def __call__(self, signal: Signal, elu: bool, space: Workspace) -> Signal:
        whole = super().__call__(signal, elu, space)  # the norm sees what is cut off
        return whole.part(self._geometry.cut_before, whole.length - self._geometry.cut_after)

    def _padding(self, length: int) -> tuple[int, int]:
        return self._reach - 1, self._reach - 1

    def _multiply(self, values: torch.Tensor, out: torch.Tensor) -> None:
        rows = out.shape[0]
        torch.mm(values[:rows], self._products[0], out=out)
        for number in range(1, self._reach):
            out.addmm_(values[number : number + rows], self._products[number])
