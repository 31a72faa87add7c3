"""A small coder whose integers come from a hash: the same wherever the tests run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.coding.transformer.shape import Shape
from tokenizer.coding.transformer.weights import HeadWeights, LayerWeights, Product, Weights

SIZES = (16, 9, 33)
SEGMENT = 12


def made_shape(conditioned: bool = True, sizes: tuple[int, ...] = SIZES, past: int = 5) -> Shape:
    return Shape(
        sizes=sizes,
        layers=2,
        heads=2,
        width=16,
        feed_forward=24,
        past=past,
        table=6,
        head_width=10,
        conditioned=conditioned,
    )


class Made:
    """Numbers by name, from SHAKE-256."""

    def __init__(self, seed: str) -> None:
        self._seed = seed

    def ints(self, name: str, low: int, high: int, *shape: int) -> NDArray[np.int64]:
        count = int(np.prod(shape))
        data = hashlib.shake_256(f"{self._seed} {name}".encode()).digest(8 * count)
        values = np.frombuffer(data, "<u8") % np.uint64(high - low + 1)
        return values.astype(np.int64).reshape(shape) + low

    def product(self, name: str, rows: int, columns: int, strength: int, bias: int = 0) -> Product:
        """Products of inputs with 10 bits behind the point that come out `strength / 1024` as
        large, about."""
        factor = (strength << 28) // (1024 * 64 * max(1, round(columns**0.5)))
        return Product(
            self.ints(f"{name} weight", -127, 127, rows, columns).astype(np.int8),
            self.ints(f"{name} factor", factor // 2, factor, rows).astype(np.int32),
            self.ints(f"{name} bias", -bias, bias, rows).astype(np.int32) if bias else None,
        )


def made_weights(shape: Shape | None = None, seed: str = "coder") -> Weights:
    shape = shape or made_shape()
    made, width, table, hidden = Made(seed), shape.width, shape.table, shape.head_width

    def with_bias(product: Product) -> Product:
        zeros: Any = np.zeros(len(product.factor), np.int32)
        return (
            product if product.bias is not None else Product(product.weight, product.factor, zeros)
        )

    layers = tuple(
        LayerWeights(
            attend=made.product(f"attend {n}", 3 * width, width, 1500, 300),
            gather=made.product(f"gather {n}", width, width, 2000, 300),
            expand=made.product(f"expand {n}", shape.feed_forward, width, 1200, 300),
            contract=made.product(f"contract {n}", width, shape.feed_forward, 3000, 300),
            distance=made.ints(f"distance {n}", -4000, 500, shape.heads, shape.past).astype(
                np.int32
            ),
        )
        for n in range(shape.layers)
    )
    heads = tuple(
        HeadWeights(
            entries=made.ints(f"entries {n}", -127, 127, size, table).astype(np.int8),
            shift=n % 3,
            from_trunk=made.product(f"trunk {n}", hidden, width, 1200, 300),
            from_below=made.product(f"below {n}", hidden, table, 4000)
            if shape.conditioned and n
            else None,
            towards=made.product(f"towards {n}", table, hidden, 1500),
            outputs=with_bias(made.product(f"outputs {n}", size, table, 1500, 2000)),
        )
        for n, size in enumerate(shape.sizes)
    )
    weights = Weights(
        shape=shape,
        segment_frames=SEGMENT,
        enter=made.product("enter", width, 2 * table, 30_000),
        start=made.ints("start", -9000, 9000, width).astype(np.int16),
        rate=made.ints("rate", -3000, 3000, shape.levels, width).astype(np.int16),
        layers=layers,
        heads=heads,
    )
    weights.check()
    return weights


def made_segments(weights: Weights, lengths: tuple[int, ...]) -> list[NDArray[np.uint16]]:
    """Codes at random, from a hash."""
    made = Made("codes")
    return [
        np.stack(
            [
                made.ints(f"{number} {level}", 0, size - 1, length)
                for level, size in enumerate(weights.shape.sizes)
            ]
        ).astype(np.uint16)
        for number, length in enumerate(lengths)
    ]


@contextmanager
def torch_set_otherwise(threads: int, precision: str, dtype: torch.dtype) -> Iterator[None]:
    before = (
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
        torch.get_default_dtype(),
    )
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)
    torch.set_default_dtype(dtype)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])
        torch.set_default_dtype(before[2])
        torch.set_flush_denormal(False)
