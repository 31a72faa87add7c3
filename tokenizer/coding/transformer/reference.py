"""The transformer in integers, written plainly: what every other implementation must equal.

All values are int64; all divisions and shifts round towards minus infinity. Numbers have fixed
points: the residual stream 12 bits behind the point, what goes into a product 10, scores and
logarithms (to the base of 2) 10. Bounds are in `weights.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from tokenizer.coding.base import TOTAL
from tokenizer.coding.transformer.tables import FRACTION_BITS, powers
from tokenizer.coding.transformer.weights import (
    NORM_EPS,
    SHIFT,
    STREAM_LIMIT,
    UNIT_BITS,
    UNIT_LIMIT,
    LayerWeights,
    Product,
    Weights,
)

Ints = NDArray[np.int64]
MEAN_BITS = 14
"""weights of attention lose so many of their 30 bits, so that their products with values fit"""
SHARE_BITS = 40
"""behind the point of a code's share of the widths: with weights up to 2 ** 30 this fits"""


def shifted(values: Ints, bits: int) -> Ints:
    """Divided by a power of two, to the nearest whole number, halves upwards."""
    found: Ints = (values + (1 << (bits - 1))) >> bits
    return found


def scaled(product: Product, inputs: Ints) -> Ints:
    """`[out]` of `[in]`, before it is shifted."""
    rows = product.weight.astype(np.int64)
    found: Ints = (rows * inputs).sum(1) * product.factor.astype(np.int64)
    return found


def applied(product: Product, inputs: Ints) -> Ints:
    """`[out]` of `[in]`, not clipped."""
    found = shifted(scaled(product, inputs), SHIFT)
    return found if product.bias is None else found + product.bias.astype(np.int64)


def clipped(values: Ints, limit: int, low: int | None = None) -> Ints:
    found: Ints = np.clip(values, -limit if low is None else low, limit)
    return found


def normed(stream: Ints) -> Ints:
    """Layer norm: the mean rounded down, the standard deviation by an integer square root."""
    count = len(stream)
    centred = stream - int(stream.sum()) // count
    squares = int((centred * centred).sum()) + NORM_EPS * count
    root = isqrt(squares << 12)
    found = np.array([int(value) * isqrt(count << 32) // root for value in centred], np.int64)
    return clipped(found, UNIT_LIMIT)


def power(below: Ints) -> Ints:
    """`2 ** (30 - below / 1024)`, rounded down, for whole numbers from 0."""
    negative = -below
    inner = powers()[negative & ((1 << FRACTION_BITS) - 1)]
    found: Ints = inner >> np.minimum(-(negative >> FRACTION_BITS), 62)
    return found


def widths_of(scores: Ints) -> Ints:
    """Whole numbers, each at least 1, that add up to `TOTAL`, in proportion to `2 ** (score /
    1024)`; what is left over goes to the first of the highest scores."""
    weights = power(scores.max() - scores)
    share = ((TOTAL - len(scores)) << SHARE_BITS) // int(weights.sum())
    widths = (weights * share >> SHARE_BITS) + 1
    widths[int(np.argmax(scores))] += TOTAL - widths.sum()
    found: Ints = widths
    return found


class Reference:
    """One segment, a frame after the other: `widths(level)`, then `push(level, code)`."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._cached: list[list[tuple[Ints, Ints]]] = [[] for _ in weights.layers]
        self._known = self._trunk(weights.start.astype(np.int64))
        self._begin()

    def _begin(self) -> None:
        table = self._weights.shape.table
        self._below = np.zeros(table, np.int64)
        self._coarse = np.zeros(table, np.int64)

    def widths(self, level: int) -> Ints:
        """`[size]`."""
        head = self._weights.heads[level]
        total = scaled(head.from_trunk, self._known)
        if head.from_below is not None:
            total = total + scaled(head.from_below, self._below)
        bias = head.from_trunk.bias
        hidden = shifted(total, SHIFT) + (0 if bias is None else bias.astype(np.int64))
        towards = applied(head.towards, clipped(hidden, UNIT_LIMIT, 0))
        return widths_of(applied(head.outputs, clipped(towards, UNIT_LIMIT)))

    def push(self, level: int, code: int) -> None:
        shape, head = self._weights.shape, self._weights.heads[level]
        self._below = self._below + (head.entries[code].astype(np.int64) << head.shift)
        if level + 1 == shape.coarse:
            self._coarse = self._below
        if level + 1 == shape.levels:
            known = np.concatenate([self._coarse, self._below - self._coarse])
            self._begin()
            self._known = self._trunk(applied(self._weights.enter, known))

    def _trunk(self, stream: Ints) -> Ints:
        weights = self._weights
        stream = stream + weights.rate[weights.shape.levels - 1].astype(np.int64)
        stream = clipped(stream, STREAM_LIMIT)
        for layer, cached in zip(weights.layers, self._cached, strict=True):
            seen = self._attended(layer, applied(layer.attend, normed(stream)), cached)
            stream = clipped(stream + applied(layer.gather, seen), STREAM_LIMIT)
            hidden = clipped(applied(layer.expand, normed(stream)), UNIT_LIMIT, 0)
            stream = clipped(stream + applied(layer.contract, hidden), STREAM_LIMIT)
        return normed(stream)

    def _attended(self, layer: LayerWeights, made: Ints, cached: list[tuple[Ints, Ints]]) -> Ints:
        """Queries, keys and values of a frame to what it finds in itself and in those before."""
        heads = self._weights.shape.heads
        query, key, value = clipped(made, UNIT_LIMIT).reshape(3, heads, -1)
        cached.append((key, value))
        del cached[: -self._weights.shape.past]
        keys = np.stack([one for one, _ in cached])
        values = np.stack([one for _, one in cached])
        scores = shifted((keys * query).sum(-1), UNIT_BITS)  # [frames, heads]
        scores += layer.distance[:, : len(cached)].astype(np.int64).T[::-1]
        shares = power(scores.max(0) - scores) >> MEAN_BITS
        found: Ints = (shares[..., None] * values).sum(0) // shares.sum(0)[:, None]
        return found.reshape(-1)


def reference_intervals(
    weights: Weights, segments: Sequence[NDArray[np.uint16]]
) -> list[NDArray[np.uint32]]:
    """As `Predictor.intervals`."""
    found = []
    for segment in segments:
        of_levels = weights.at(len(segment))
        reference, intervals = Reference(of_levels), np.zeros((2, *segment.shape), np.uint32)
        for frame in range(segment.shape[1]):
            for level in range(len(segment)):
                code, widths = int(segment[level, frame]), reference.widths(level)
                intervals[:, level, frame] = widths[:code].sum(), widths[code]
                reference.push(level, code)
        found.append(intervals)
    return found
