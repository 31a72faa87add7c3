"""The transformer's weights as integers, and the file that holds them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from tokenizer.coding.transformer.shape import Shape
from tokenizer.errors import UsageError

VERSION = 1
"""of the arithmetic and the file; another one would read no stream of this one"""
SHIFT = 28
"""products are multiplied by whole numbers and shifted by this: fractions of 28 bits"""
STREAM_BITS, UNIT_BITS = 12, 10
"""bits behind the point: of the residual stream, and of what goes into a product"""
STREAM_LIMIT = 1 << 19
UNIT_LIMIT = 32_767
"""values are clipped to these, which bounds every sum and product below 2 ** 62"""
NORM_EPS = 168
"""1e-5 with 24 bits behind the point"""
LARGEST_SHIFT = 7
_LONGEST = 65_536
"""frames of a segment"""
_FITS = 1 << 62
_META = "coder"
_NOT_ONE = (
    SafetensorError,
    KeyError,
    TypeError,
    IndexError,
    json.JSONDecodeError,
    UnicodeDecodeError,
    RecursionError,
    UsageError,
)
"""what a file that is none leads to while it is read"""

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """`clip(round(weight @ input * factor / 2 ** 28) + bias)`."""

    weight: NDArray[np.int8]
    """`[out, in]`"""
    factor: NDArray[np.int32]
    """`[out]`"""
    bias: NDArray[np.int32] | None
    """`[out]`, in units of the output"""

    def largest(self, limit: int) -> NDArray[np.float64]:
        """Bounds of what is shifted, for inputs within +-limit."""
        sums = np.abs(self.weight.astype(np.float64)).sum(axis=1) * limit
        found: NDArray[np.float64] = sums * np.abs(self.factor.astype(np.float64))
        return found


@dataclass(frozen=True, slots=True, eq=False)
class LayerWeights:
    """Of one layer."""

    attend: Product
    gather: Product
    expand: Product
    contract: Product
    distance: NDArray[np.int32]
    """`[heads, past]`, added to scores, in 1/1024 bits"""


@dataclass(frozen=True, slots=True, eq=False)
class HeadWeights:
    """Of one level."""

    entries: NDArray[np.int8]
    """`[size, table]`: what stands for a code that is known"""
    shift: int
    """entries count `2 ** shift` times"""
    from_trunk: Product
    from_below: Product | None
    towards: Product
    outputs: Product


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """All of it."""

    shape: Shape
    segment_frames: int
    enter: Product
    start: NDArray[np.int16]
    """`[width]`, where the first frame has no frame before it"""
    rate: NDArray[np.int16]
    """`[levels, width]`, added where there are that many levels"""
    layers: tuple[LayerWeights, ...]
    heads: tuple[HeadWeights, ...]

    def at(self, n_q: int) -> Weights:
        """Those of the first levels alone.

        Raises:
            UsageError: there are fewer.
        """
        if not 1 <= n_q <= self.shape.levels:
            raise UsageError(
                f"the coder has {self.shape.levels} levels, the codes have {n_q}: train one on "
                "codes of that many"
            )
        shape = replace(self.shape, sizes=self.shape.sizes[:n_q])
        return replace(self, shape=shape, rate=self.rate[:n_q], heads=self.heads[:n_q])

    def dumps(self) -> bytes:
        """As a safetensors file, the same bytes whatever versions of libraries are here: a coder is
        known by their hash."""
        said = json.dumps(
            {
                "version": VERSION,
                "shape": self.shape.to_dict(),
                "segment_frames": self.segment_frames,
                "shifts": [head.shift for head in self.heads],
            },
            sort_keys=True,
        )
        return _file(self._tensors(), {_META: said})

    def _tensors(self) -> dict[str, NDArray[Any]]:
        found: dict[str, NDArray[Any]] = {"start": self.start, "rate": self.rate}
        found |= _named("enter", self.enter)
        for number, layer in enumerate(self.layers):
            for name in ("attend", "gather", "expand", "contract"):
                found |= _named(f"layers.{number}.{name}", getattr(layer, name))
            found[f"layers.{number}.distance"] = layer.distance
        for number, head in enumerate(self.heads):
            found[f"heads.{number}.entries"] = head.entries
            for name in ("from_trunk", "from_below", "towards", "outputs"):
                if getattr(head, name) is not None:
                    found |= _named(f"heads.{number}.{name}", getattr(head, name))
        return found

    def check(self) -> None:
        """Every sum fits: with int8 weights and clipped inputs below 2 ** 62 after its factor, and
        before it below 2 ** 53, so that float64 has it exactly in any order of summation.

        Raises:
            ValueError: one may not.
        """
        known = sum(127 << head.shift for head in self.heads)
        pairs = [(self.enter, known)]
        for layer in self.layers:
            pairs += [(one, UNIT_LIMIT) for one in (layer.attend, layer.gather, layer.expand)]
            pairs.append((layer.contract, UNIT_LIMIT))
        for head in self.heads:
            pairs += [(one, UNIT_LIMIT) for one in (head.towards, head.outputs)]
            pairs.append((head.from_trunk, UNIT_LIMIT))
            if head.from_below is not None:
                pairs.append((head.from_below, known))
        if any((one.largest(limit) >= _FITS / 4).any() for one, limit in pairs):
            raise ValueError("a coder whose numbers do not fit its arithmetic")


def loads(data: bytes) -> Weights:
    """The inverse of `Weights.dumps`.

    Raises:
        ValueError: not what it gives.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        said = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_META])
        if said["version"] != VERSION:
            raise ValueError(
                f"a coder of version {said['version']}: this codecshards reads version {VERSION}"
            )
        shape = Shape.from_dict(said["shape"])
        tensors = safetensors.numpy.load(data)
        weights = _built(shape, int(said["segment_frames"]), said["shifts"], tensors)
    except _NOT_ONE as error:
        raise ValueError(f"not a coder: {error}") from error
    weights.check()
    return weights


def _built(
    shape: Shape, segment_frames: int, shifts: list[int], tensors: Mapping[str, NDArray[Any]]
) -> Weights:
    take = _Taking(tensors)
    width, table, hidden = shape.width, shape.table, shape.head_width
    if not 1 <= segment_frames <= _LONGEST or len(shifts) != shape.levels:
        raise ValueError("not a coder: segments of no length, or shifts of other levels")
    layers = tuple(
        LayerWeights(
            attend=take.product(f"layers.{n}.attend", 3 * width, width),
            gather=take.product(f"layers.{n}.gather", width, width),
            expand=take.product(f"layers.{n}.expand", shape.feed_forward, width),
            contract=take.product(f"layers.{n}.contract", width, shape.feed_forward),
            distance=take.one(f"layers.{n}.distance", np.int32, shape.heads, shape.past),
        )
        for n in range(shape.layers)
    )
    heads = []
    for n, (size, shift) in enumerate(zip(shape.sizes, shifts, strict=True)):
        if not 0 <= int(shift) <= LARGEST_SHIFT:
            raise ValueError(f"not a coder: a shift of {shift}")
        below = shape.conditioned and n
        heads.append(
            HeadWeights(
                entries=take.one(f"heads.{n}.entries", np.int8, size, table),
                shift=int(shift),
                from_trunk=take.product(f"heads.{n}.from_trunk", hidden, width),
                from_below=take.product(f"heads.{n}.from_below", hidden, table, bias=False)
                if below
                else None,
                towards=take.product(f"heads.{n}.towards", table, hidden, bias=False),
                outputs=take.product(f"heads.{n}.outputs", size, table),
            )
        )
    return Weights(
        shape=shape,
        segment_frames=segment_frames,
        enter=take.product("enter", width, 2 * table, bias=False),
        start=take.one("start", np.int16, width),
        rate=take.one("rate", np.int16, shape.levels, width),
        layers=layers,
        heads=tuple(heads),
    )


_DTYPES = {"int8": "I8", "int16": "I16", "int32": "I32"}


def _file(tensors: Mapping[str, NDArray[Any]], said: Mapping[str, str]) -> bytes:
    """Largest types first, so that all lie aligned; names in order."""
    names = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(said)}
    parts, at = [], 0
    for name in names:
        one = tensors[name]
        part = one.astype(one.dtype.newbyteorder("<")).tobytes()
        header[name] = {
            "dtype": _DTYPES[one.dtype.name],
            "shape": list(one.shape),
            "data_offsets": [at, at + len(part)],
        }
        parts.append(part)
        at += len(part)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


class _Taking:
    """Tensors of a file, of the shapes that they must have."""

    def __init__(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self._tensors = tensors

    def one(self, name: str, dtype: type, *shape: int) -> NDArray[Any]:
        found = self._tensors[name]
        if found.dtype != dtype or found.shape != shape:
            raise ValueError(f"not a coder: its {name} is {found.dtype} {found.shape}")
        return found

    def product(self, name: str, rows: int, columns: int, *, bias: bool = True) -> Product:
        return Product(
            self.one(f"{name}.weight", np.int8, rows, columns),
            self.one(f"{name}.factor", np.int32, rows),
            self.one(f"{name}.bias", np.int32, rows) if bias else None,
        )


def _named(name: str, product: Product) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {
        f"{name}.weight": product.weight,
        f"{name}.factor": product.factor,
    }
    return found if product.bias is None else {**found, f"{name}.bias": product.bias}
