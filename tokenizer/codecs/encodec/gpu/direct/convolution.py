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


class Convolution:
    """transformers' `EncodecConv1d`, with an ELU before it or not."""

    tile: Tile | None = None
    """another than is best for such a layer, to be measured"""

    def __init__(self, module: Any, elu: bool, exact: bool) -> None:
        """
        Raises:
            UnknownLayer: sizes that this cannot run.
        """
        conv = module.conv
        self._geometry = ConvolutionGeometry.of(module)
        self._out, self._in, taps = (int(size) for size in conv.weight.shape)
        if not takes(self._in, self._out) or self._geometry.padding < 0:
            raise UnknownLayer(f"a convolution of {self._in} channels to {self._out}")
        # With weight norm, `weight` is computed from its two factors here, once.
        weight = conv.weight.detach().transpose(1, 2).reshape(self._out, taps * self._in)
        self._weight = in_two_parts(weight)
        self._bias = conv.bias.detach()
        self._elu, self._exact = elu, exact
        self._norm = module.norm if module.norm_type == "time_group_norm" else None

    def __call__(self, parts: Parts) -> Parts:
        elu = self._elu and len(parts.terms) == 1
        if len(parts.terms) > 1:
            # Every tap and every block of channels that go out would add them up again.
            parts = joined(parts, self._elu, parted=self._exact)
        out, tiles = self._convolved(parts, elu)
        found = replace(parts.plain(out), lengths=self._geometry.frames(parts.lengths))
        return found if self._norm is None else self._normalised(found, tiles)

    def _convolved(self, parts: Parts, elu: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """What goes out, and of each tile of it what `moments` takes."""
        geometry, signal = self._geometry, parts.terms[0]
        rows, width = parts.rows, int(geometry.frames(parts.width))
        tile = self.tile or of_convolution(self._exact, self._in, self._out, geometry.taps, width)
        grid = (-(-width // tile.frames), self._out // tile.channels, rows)
        out = signal.new_empty(rows, width, self._out)
        tiles = out.new_empty((rows, 3, grid[0] * grid[1]) if self._norm is not None else (1,))
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
            in_channels=self._in,
            out_channels=self._out,
            taps=geometry.taps,
            stride=geometry.stride,
            dilation=geometry.dilation,
            left=geometry.left,
            right=geometry.right,
            reflects=geometry.reflects,
            scaled=bool(parts.scales),
            elu=elu,
            exact=self._exact,
            parted=parts.parted,
            measured=self._norm is not None,
            frames_block=tile.frames,
            sum_block=tile.terms,
            out_block=tile.channels,
            num_warps=tile.warps,
            num_stages=tile.stages,
        )
        return out, tiles

    def _normalised(self, parts: Parts, tiles: torch.Tensor) -> Parts:
        rows, _, count = tiles.shape
        norm: Any = self._norm
        scale, shift = (tiles.new_empty(rows, self._out) for _ in range(2))
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
            channels=self._out,
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
