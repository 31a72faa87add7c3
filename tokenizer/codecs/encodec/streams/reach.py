"""How far a stack of SEANet's layers looks around a frame, so that it can be run on windows of a
signal and give what it gives for the whole.

A frame of a window is that of the whole where all that it is made of lies in the window. Padding
that reflects must stay at the recording's own ends: what an inner end reflects spoils the frames
beside it, which are thrown away. Windows begin at whole frames, as strides count from a
recording's start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tokenizer.codecs.encodec.geometry import ConvolutionGeometry, TransposedGeometry
from tokenizer.codecs.encodec.networks import UnknownLayer

LEAST_FRAMES = 16
"""of a window: MKL rounds a product of few rows differently, and from about ten frames on as it
does the whole recording's"""
LEAST_NUMBERS = 20_480
"""of a convolution's input, which torch gives to oneDNN where it has more than these, and to MKL
where it has not: they round differently"""
ODD = 512
"""samples of which a multiple makes oneDNN add up a convolution of one tap in another order, where
torch has several threads and so leaves it to oneDNN"""


@dataclass(frozen=True, slots=True)
class Reach:
    """In frames."""

    before: int
    """that a frame looks back"""
    after: int
    """that it looks ahead"""
    least: int
    """that a window has at least, where the recording has as many: all that its ends reflect then
    lies in it, and is right"""


def reach_of(layers: Iterable[Any], frame: int, row: int, alike: bool = False) -> Reach:
    """
    With `alike`, windows have so many frames at least that torch rounds as it does in the whole.

    Args:
        layers: transformers' modules, in their order.
        frame: samples of a frame, or 1 where all rows are frames.
        row: samples of a row that goes into the first layer.

    Raises:
        UnknownLayer: a layer whose reach is not known.
    """
    before = after = widest = 0
    least = LEAST_FRAMES
    for geometry, channels in _geometries(layers):
        if alike:
            least = max(least, LEAST_NUMBERS * row // (channels * frame) + 1)
        if isinstance(geometry, ConvolutionGeometry):
            before += geometry.left * row
            after += geometry.right * row
            widest = max(widest, (geometry.padding + geometry.stride + 1) * row)
            row *= geometry.stride
        else:
            before += -(-(geometry.taps - 1 - geometry.cut_before) // geometry.stride) * row
            after += -(-geometry.cut_before // geometry.stride) * row
            row //= geometry.stride
    before, after, widest = (-(-samples // frame) for samples in (before, after, widest))
    return Reach(before, after, max(before + after + widest + 1, least))


def usual(layers: Iterable[Any], rows: int) -> bool:
    """Whether convolutions of one tap over a signal of so many rows add up in the usual order."""
    for geometry, _ in _geometries(layers):
        if isinstance(geometry, TransposedGeometry):
            rows *= geometry.stride
        elif geometry.taps == 1 and rows % ODD == 0:
            return False
        else:
            rows = -(-rows // geometry.stride)
    return True


def _geometries(
    layers: Iterable[Any],
) -> Iterator[tuple[ConvolutionGeometry | TransposedGeometry, int]]:
    """Of each convolution, and its channels."""
    for layer in layers:
        kind = type(layer).__name__
        if kind == "EncodecConv1d":
            yield ConvolutionGeometry.of(layer), int(layer.conv.in_channels)
        elif kind == "EncodecConvTranspose1d":
            yield TransposedGeometry.of(layer), int(layer.conv.in_channels)
        elif kind == "EncodecResnetBlock":
            yield from _geometries(layer.block)
        elif kind != "ELU":
            raise UnknownLayer(f"a layer of the kind {kind}")
