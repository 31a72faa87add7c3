"""The integer transformer as fast as a core has it; integers equal to `reference.py`'s.

Products are float64 matrix products of whole numbers: weights int8, inputs within +-32,767 or sums
of a few hundred thousand, so every product and every partial sum is a whole number below 2 ** 53
and comes out exactly, in whatever order, on however many threads a library adds them. `Weights
.check` asserts the bounds. Neither TF32 nor any other shorter format is ever used for float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.coding.base import Decoding
from tokenizer.coding.transformer import kernels
from tokenizer.coding.transformer.tables import powers
from tokenizer.coding.transformer.weights import (
    STREAM_LIMIT,
    UNIT_LIMIT,
    LayerWeights,
    Product,
    Weights,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_ROWS = 2048
"""frames whose segments are computed at once; those of all levels stay in a core's cache"""


class _Product:
    """A product, ready to be used."""

    def __init__(self, product: Product) -> None:
        self._columns = torch.from_numpy(product.weight.astype(np.float64)).t()
        self.factor = product.factor.astype(np.int64)
        bias = product.bias
        self.bias = np.zeros(len(self.factor), np.int64) if bias is None else bias.astype(np.int64)

    def sums(self, inputs: Floats) -> Floats:
        """`[n, out]` of `[n, in]`, before factor and shift."""
        found: Floats = torch.mm(torch.from_numpy(inputs), self._columns).numpy()
        return found

    def unit(self, inputs: Floats, low: int = -UNIT_LIMIT) -> Floats:
        sums = self.sums(inputs)
        kernels.finish(sums, self.factor, self.bias, low, sums)
        return sums

    def add_to(self, stream: Ints, inputs: Floats) -> None:
        kernels.add(self.sums(inputs), self.factor, self.bias, stream)


class _Layer:
    def __init__(self, weights: LayerWeights) -> None:
        self.attend = _Product(weights.attend)
        self.gather = _Product(weights.gather)
        self.expand = _Product(weights.expand)
        self.contract = _Product(weights.contract)
        self.distance = weights.distance.astype(np.int64)

    def made(self, stream: Ints) -> NDArray[np.int16]:
        """Queries, keys, values: int16 `[n, 3 * width]`."""
        sums = self.attend.sums(_normed(stream))
        made = np.empty(sums.shape, np.int16)
        kernels.finish(sums, self.attend.factor, self.attend.bias, -UNIT_LIMIT, made)
        return made

    def rest(self, stream: Ints, seen: Floats) -> None:
        self.gather.add_to(stream, seen)
        self.contract.add_to(stream, self.expand.unit(_normed(stream), 0))


class _Head:
    def __init__(self, weights: Weights, level: int) -> None:
        head = weights.heads[level]
        self.entries, self.shift, self.size = head.entries, head.shift, len(head.entries)
        self.from_trunk, self.towards = _Product(head.from_trunk), _Product(head.towards)
        self.from_below = None if head.from_below is None else _Product(head.from_below)
        self.outputs = _Product(head.outputs)

    def sums(self, known: Floats, below: Floats) -> Floats:
        """Of the scores: float64 `[n, size]`."""
        trunk = self.from_trunk
        if self.from_below is None:
            hidden = trunk.unit(known, 0)
        else:
            hidden, more = trunk.sums(known), self.from_below.sums(below)
            kernels.finish_both(
                hidden, trunk.factor, more, self.from_below.factor, trunk.bias, hidden
            )
        return self.outputs.sums(self.towards.unit(hidden))


@dataclass(frozen=True, slots=True)
class _Group:
    """Segments that are computed together: their numbers, and int64 `[B, n_q, T]` padded by 0."""

    numbers: list[int]
    codes: NDArray[np.int64]


class Fast:
    """The weights, ready to be used. Immutable; any number of threads may share it."""

    def __init__(self, weights: Weights) -> None:
        self.shape = weights.shape
        self._enter = _Product(weights.enter)
        self._start = weights.start.astype(np.int64)
        self._rate = weights.rate[weights.shape.levels - 1].astype(np.int64)
        self._layers = [_Layer(layer) for layer in weights.layers]
        self._heads = [_Head(weights, level) for level in range(weights.shape.levels)]

    def intervals(self, segments: Sequence[NDArray[np.uint16]]) -> list[NDArray[np.uint32]]:
        """As `Predictor.intervals`."""
        found = [np.empty((2, *one.shape), np.uint32) for one in segments]
        for group in _grouped(segments):
            of_group = self._of_group(group.codes)
            for place, number in enumerate(group.numbers):
                found[number][:] = of_group[:, place, :, : segments[number].shape[1]]
        return found

    def _of_group(self, codes: NDArray[np.int64]) -> NDArray[np.uint32]:
        """`[2, B, n_q, T]`."""
        batch, levels, time = codes.shape
        known = self._trunk(codes)
        rows = np.ascontiguousarray(codes.transpose(1, 0, 2)).reshape(levels, -1)
        below = np.zeros((batch * time, self.shape.table))
        found = np.empty((levels, 2, batch * time), np.uint32)
        for head, wanted, out in zip(self._heads, rows, found, strict=True):
            sums = head.sums(known, below)
            outputs = head.outputs
            kernels.intervals(sums, outputs.factor, outputs.bias, powers(), wanted, out)
            kernels.take(head.entries, head.shift, wanted, below)
        return found.reshape(levels, 2, batch, time).transpose(1, 2, 0, 3)

    def _trunk(self, codes: NDArray[np.int64]) -> Floats:
        """What is known before each frame: `[B * T, width]`."""
        batch, levels, time = codes.shape
        table, width = self.shape.table, self.shape.width
        known = np.zeros((batch, time, 2 * table))
        for segment in range(batch):
            for level in range(levels):
                head, first = self._heads[level], 0 if level < self.shape.coarse else table
                before, after = codes[segment, level, :-1], known[segment, 1:]
                kernels.take(head.entries, head.shift, before, after[:, first : first + table])
        stream = np.zeros((batch * time, width), np.int64)
        self._enter.add_to(stream, known.reshape(batch * time, -1))
        by_segment = stream.reshape(batch, time, width)
        by_segment[:, 0] = self._start
        stream += self._rate
        np.clip(stream, -STREAM_LIMIT, STREAM_LIMIT, out=stream)
        for layer in self._layers:
            made = layer.made(stream).reshape(batch, time, -1)
            seen = np.empty((batch, time, width))
            kernels.attend_all(made, self.shape.heads, layer.distance, powers(), seen)
            layer.rest(stream, seen.reshape(batch * time, width))
        return _normed(stream)

    def begin(self, frames: Sequence[int]) -> Decoding:
        """As `Predictor.begin`."""
        return _Stepwise(self, frames)


class _Stepwise(Decoding):
    def __init__(self, fast: Fast, frames: Sequence[int]) -> None:
        self._fast, self._frames = fast, np.array(frames, np.int64)
        shape = fast.shape
        past = min(shape.past, int(self._frames.max(initial=1)))
        self._past = past
        dims = shape.width // shape.heads
        self._cache = [
            np.zeros((len(frames), 2, shape.heads, 2 * past, dims), np.int16)
            for _ in range(shape.layers)
        ]
        self._frame = -1
        self._running: Ints = np.arange(len(frames))
        self._below: Floats = np.zeros((0, shape.table))
        self._next(np.zeros((len(frames), 0)))

    def widths(self, level: int) -> NDArray[np.uint32]:
        head = self._fast._heads[level]
        out = np.empty((len(self._running), head.size), np.uint32)
        sums = head.sums(self._known, self._below)
        kernels.spread(sums, head.outputs.factor, head.outputs.bias, powers(), out)
        return out

    def push(self, level: int, codes: NDArray[np.uint16]) -> None:
        shape, head = self._fast.shape, self._fast._heads[level]
        kernels.take(head.entries, head.shift, codes, self._below)
        if level + 1 == shape.coarse:
            self._coarse = self._below.copy()
        if level + 1 == shape.levels:
            self._next(np.concatenate([self._coarse, self._below - self._coarse], axis=1))

    def _next(self, known: Floats) -> None:
        """Go on to the next frame, of the segments that have one."""
        self._frame += 1
        stays = self._frames[self._running] > self._frame
        self._running = self._running[stays]
        fast, count = self._fast, len(self._running)
        self._below = np.zeros((count, fast.shape.table))
        self._coarse = self._below
        stream = np.zeros((count, fast.shape.width), np.int64)
        if self._frame:
            fast._enter.add_to(stream, np.ascontiguousarray(known[stays]))
        else:
            stream += fast._start
        stream += fast._rate
        np.clip(stream, -STREAM_LIMIT, STREAM_LIMIT, out=stream)
        for layer, cache in zip(fast._layers, self._cache, strict=True):
            seen = np.empty((count, fast.shape.width))
            distance = layer.distance[:, : self._past]
            made = layer.made(stream)
            kernels.attend_next(made, self._running, cache, self._frame, distance, powers(), seen)
            layer.rest(stream, seen)
        self._known = _normed(stream)


def _normed(stream: Ints) -> Floats:
    out = np.empty(stream.shape)
    kernels.norm(stream, out)
    return out


def _grouped(segments: Sequence[NDArray[np.uint16]]) -> list[_Group]:
    """Segments of like lengths together, about `_ROWS` frames at once. What is behind a shorter
    one's end is computed and left out: no frame sees a later one."""
    order = sorted(range(len(segments)), key=lambda number: segments[number].shape[1])
    groups: list[list[int]] = []
    for number in order:
        time = segments[number].shape[1]
        if groups and (len(groups[-1]) + 1) * time <= _ROWS:
            groups[-1].append(number)
        else:
            groups.append([number])
    found = []
    for numbers in groups:
        time = max(segments[number].shape[1] for number in numbers)
        codes = np.zeros((len(numbers), segments[numbers[0]].shape[0], time), np.int64)
        for place, number in enumerate(numbers):
            codes[place, :, : segments[number].shape[1]] = segments[number]
        found.append(_Group(numbers, codes))
    return found
