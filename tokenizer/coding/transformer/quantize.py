"""From the trained network to its integers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.coding.transformer.network import Layer, Network
from tokenizer.coding.transformer.rounding import LARGEST, steps_of
from tokenizer.coding.transformer.tables import FRACTION_BITS
from tokenizer.coding.transformer.weights import (
    LARGEST_SHIFT,
    SHIFT,
    STREAM_BITS,
    UNIT_BITS,
    HeadWeights,
    LayerWeights,
    Product,
    Weights,
)

_BITS_A_NAT = 1 / math.log(2)
_MOST = 2**31 - 1


def quantized(network: Network, segment_frames: int) -> Weights:
    """Weights int8 with a step for each row (a power of two for tables), everything else in fixed
    point. The floating point of this machine decides these integers, once; from then on they are
    what a stream depends on."""
    shape = network.shape
    with torch.no_grad():
        steps = [int(torch.log2(steps_of(one, of_all=True))) for one in network.entries]
        unit = max(min(steps), max(steps) - LARGEST_SHIFT)
        heads = tuple(_head(network, level, unit, steps[level]) for level in range(shape.levels))
        weights = Weights(
            shape=shape,
            segment_frames=segment_frames,
            enter=_product(network.enter, None, 2.0**unit, STREAM_BITS),
            start=_fixed(network.start, STREAM_BITS, np.int16),
            rate=_fixed(network.rate, STREAM_BITS, np.int16),
            layers=tuple(_layer(layer) for layer in network.blocks()),
            heads=heads,
        )
    weights.check()
    return weights


def _head(network: Network, level: int, unit: int, step: int) -> HeadWeights:
    shift = max(step - unit, 0)
    entries = torch.round(network.entries[level] / 2.0 ** (unit + shift))
    below = None
    if network.from_below is not None and level:
        below = _product(network.from_below[level], None, 2.0**unit, UNIT_BITS)
    inward = 2.0**-UNIT_BITS
    return HeadWeights(
        entries=entries.clamp(-LARGEST, LARGEST).numpy().astype(np.int8),
        shift=shift,
        from_trunk=_product(network.from_trunk[level], network.head_bias[level], inward, UNIT_BITS),
        from_below=below,
        towards=_product(network.towards[level], None, inward, UNIT_BITS),
        outputs=_product(
            network.outputs[level], network.priors[level], inward, FRACTION_BITS, _BITS_A_NAT
        ),
    )


def _layer(layer: Layer) -> LayerWeights:
    inward = 2.0**-UNIT_BITS
    width = layer.gather.shape[0]
    # Scores come out in bits: the softmax' scale and the logarithm's base go into the queries.
    query = _BITS_A_NAT / math.sqrt(width // layer.heads)
    more = torch.ones(3 * width)
    more[:width] = query
    return LayerWeights(
        attend=_product(layer.attend, layer.attend_bias, inward, UNIT_BITS, more),
        gather=_product(layer.gather, layer.gather_bias, inward, STREAM_BITS),
        expand=_product(layer.expand, layer.expand_bias, inward, UNIT_BITS),
        contract=_product(layer.contract, layer.contract_bias, inward, STREAM_BITS),
        distance=_fixed(layer.distance * _BITS_A_NAT, FRACTION_BITS, np.int32),
    )


def _product(
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    inward: float,
    bits: int,
    more: torch.Tensor | float = 1.0,
) -> Product:
    """Of inputs whose unit is worth `inward`, to outputs with `bits` behind the point, `more` times
    as large."""
    step = steps_of(weight)
    rows = torch.round(weight / step).clamp(-LARGEST, LARGEST).numpy().astype(np.int8)
    factor = step[:, 0].double() * more * inward * 2.0 ** (bits + SHIFT)
    added = None if bias is None else _fixed(bias * more, bits, np.int32)
    whole = torch.round(factor).clamp(0, _MOST).numpy().astype(np.int32)
    return Product(rows, whole, added)


def _fixed(values: torch.Tensor, bits: int, dtype: type) -> NDArray[Any]:
    most = np.iinfo(dtype).max
    scaled = torch.round(values.detach().double() * 2.0**bits).clamp(-most, most)
    return scaled.numpy().astype(dtype)
