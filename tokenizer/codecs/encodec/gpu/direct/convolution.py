"""A convolution in one kernel with all that lies between it and the one before, and another for the
normalisation of what goes out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from tokenizer.codecs.encodec.geometry import ConvolutionGeometry
from tokenizer.codecs.encodec.gpu.direct.kernels.convolve import convolve, moments
from tokenizer.codecs.encodec.gpu.direct.parts import Parts, joined
from tokenizer.codecs.encodec.gpu.direct.tiles import Tile, of_convolution
from tokenizer.codecs.encodec.gpu.masked import times
from tokenizer.codecs.encodec.networks import UnknownLayer

LEAST_CHANNELS = 16
"""that tensor cores take in a product"""
HIGH = ~0x1FFF
"""of a float32's bits, those that tensor cores take"""


class Product:
    """A convolution by itself, by a kernel; of one tap and stride, a product."""

    tile: Tile | None = None
    """another than is best for such a layer, to be measured"""

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor,
        geometry: ConvolutionGeometry,
        exact: bool,
        measured: bool = False,
    ) -> None:
        """
        Args:
            weight: float32 `[out, in, taps]`.
            bias: float32 `[out]`.
            exact: products have float32's precision, else TF32's.
            measured: whether what goes out is described for `moments`.

        Raises:
            UnknownLayer: sizes that this cannot run.
        """
        self.channels_out, self.channels_in, taps = weight.shape
        if not takes(self.channels_in, self.channels_out) or geometry.padding < 0:
            raise UnknownLayer(
                f"a convolution of {self.channels_in} channels to {self.channels_out}"
            )
        by_tap = weight.transpose(1, 2).reshape(self.channels_out, taps * self.channels_in)
        self._weight, self._bias = in_two_parts(by_tap), bias
        self.geometry, self.exact, self._measured = geometry, exact, measured

    def __call__(self, parts: Parts, elu: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Of a signal of one term, or of its ELU, float32 `[rows, width, out]`, and of each tile of
        it what `moments` takes."""
        geometry, signal = self.geometry, parts.terms[0]
        rows, width = parts.rows, int(geometry.frames(parts.width))
        tile = self.tile or of_convolution(
            self.exact, self.channels_in, self.channels_out, geometry.taps, width
        )
        grid = (-(-width // tile.frames), self.channels_out // tile.channels, rows)
        out = signal.new_empty(rows, width, self.channels_out)
        tiles = out.new_empty((rows, 3, grid[0] * grid[1]) if self._measured else (1,))
        convolve[grid](
            signal,
            parts.scales[0] if parts.scales else signal,
            parts.shifts[0] if parts.scales else signal,
            parts.lengths,
            self._weight,
            self._bias,
            out,
            tiles,
            parts.width,
            width,
            in_channels=self.channels_in,
            out_channels=self.channels_out,
            taps=geometry.taps,
            stride=geometry.stride,
            dilation=geometry.dilation,
            left=geometry.left,
            right=geometry.right,
            reflects=geometry.reflects,
            scaled=bool(parts.scales),
            elu=elu,
            exact=self.exact,
            parted=parts.parted,
            measured=self._measured,
            frames_block=tile.frames,
            sum_block=tile.terms,
            out_block=tile.channels,
            num_warps=tile.warps,
            num_stages=tile.stages,
        )
        return out, tiles


class Convolution:
    """transformers' `EncodecConv1d`, with an ELU before it or not."""

    def __init__(self, module: Any, elu: bool, exact: bool) -> None:
        """
        Raises:
            UnknownLayer: sizes that this cannot run.
        """
        conv, geometry = module.conv, ConvolutionGeometry.of(module)
        self._norm = module.norm if module.norm_type == "time_group_norm" else None
        self._elu = elu
        # With weight norm, `weight` is computed from its two factors here, once.
        weight, bias = conv.weight.detach(), conv.bias.detach()
        self.product = Product(weight, bias, geometry, exact, measured=self._norm is not None)

    def __call__(self, parts: Parts) -> Parts:
        elu = self._elu and len(parts.terms) == 1
        if len(parts.terms) > 1:
            # Every tap and every block of channels that go out would add them up again.
            parts = joined(parts, self._elu, parted=self.product.exact)
        out, tiles = self.product(parts, elu)
        lengths = self.product.geometry.frames(parts.lengths)
        found = replace(parts.plain(out), lengths=lengths)
        return found if self._norm is None else self._normalised(found, tiles)

    def _normalised(self, parts: Parts, tiles: torch.Tensor) -> Parts:
        rows, _, count = tiles.shape
        norm: Any = self._norm
        scale, shift = (tiles.new_empty(rows, self.product.channels_out) for _ in range(2))
        condition = tiles.new_empty(rows)
        moments[(rows,)](
            tiles,
            norm.weight,
            norm.bias,
            scale,
            shift,
            condition,
            float(norm.eps),
            count,
            channels=self.product.channels_out,
            tile_block=512,
            tile_blocks=-(-count // 512),
        )
        grown = times(parts.condition, condition)
        return replace(parts, scales=(scale,), shifts=(shift,), condition=grown)


def in_two_parts(weight: torch.Tensor) -> torch.Tensor:
    """float32 `[2, ...]`, which together are the weight: what tensor cores take of it, and the
    rest."""
    high = (weight.contiguous().view(torch.int32) & HIGH).view(torch.float32)
    return torch.stack([high, weight - high])


def takes(channels_in: int, channels_out: int) -> bool:
    """Whether a kernel's tiles are filled: powers of two, and enough of them to go out."""
    return all(count & (count - 1) == 0 for count in (channels_in, channels_out)) and (
        channels_out >= LEAST_CHANNELS
    )
