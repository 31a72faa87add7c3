"""EnCodec's encoder and quantizer by `tokenizer.codecs.encodec.gpu.kernels`: a kernel for each
convolution with all that lies between it and the next, and one for all levels.

What `tokenizer.codecs.encodec.gpu.masked` does in torch's operations, to the same numbers but for
rounding. Rows are masked to their own lengths, and what lies beyond a row's end is not computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from tokenizer.codecs.encodec.certainty import SCORE_NOISE
from tokenizer.codecs.encodec.geometry import ConvolutionGeometry
from tokenizer.codecs.encodec.gpu import kernels
from tokenizer.codecs.encodec.gpu.fused import inside
from tokenizer.codecs.encodec.gpu.masked import times
from tokenizer.codecs.encodec.networks import UnknownLayer

LEAST_CHANNELS = 16
"""that tensor cores take in a product"""
TOGETHER = 4096
"""numbers of a signal that one program joins"""
HIGH = ~0x1FFF
"""of a float32's bits, those that tensor cores take"""


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """A layer's output: the sum of `term * scale + shift`, of one term or two."""

    terms: tuple[torch.Tensor, ...]
    """each float32 `[rows, width, channels]`"""
    scales: tuple[torch.Tensor, ...]
    """float32 `[rows, channels]`, of each; none where terms are taken as they are"""
    shifts: tuple[torch.Tensor, ...]
    """likewise"""
    lengths: torch.Tensor
    """of the rows, int64 `[rows]`"""
    condition: torch.Tensor | None = None
    """as `tokenizer.codecs.encodec.gpu.masked.Signal.condition`"""

    @property
    def width(self) -> int:
        return self.terms[0].shape[1]

    def whole(self) -> torch.Tensor:
        """float32 `[rows, width, channels]`, with zeros beyond each row's end."""
        parts = self if len(self.terms) == 1 else joined(self, elu=False)
        x = parts.terms[0]
        if parts.scales:
            x = torch.addcmul(parts.shifts[0][:, None], x, parts.scales[0][:, None])
        return x.masked_fill(~inside(self.width, self.lengths).transpose(1, 2), 0.0)

    def plain(self, term: torch.Tensor) -> Parts:
        """The same rows with one term that is taken as it is."""
        return replace(self, terms=(term,), scales=(), shifts=())


def joined(parts: Parts, elu: bool) -> Parts:
    """Two terms as one, or the ELU of their sum; what lies beyond a row's end is anything."""
    rows, width, channels = parts.terms[0].shape
    nothing = parts.terms[0]
    out, block = torch.empty_like(nothing), max(1, TOGETHER // channels)
    kernels.join[(-(-width // block), rows)](
        *parts.terms,
        *(parts.scales or (nothing, nothing)),
        *(parts.shifts or (nothing, nothing)),
        parts.lengths,
        out,
        width,
        channels=channels,
        scaled=bool(parts.scales),
        elu=elu,
        samples_block=block,
    )
    return parts.plain(out)


@dataclass(frozen=True, slots=True)
class Tile:
    """What a program of `tokenizer.codecs.encodec.gpu.kernels` computes at a time."""

    frames: int
    channels: int
    """that go out, or entries that are compared"""
    terms: int
    """of a sum that are taken at a time"""
    warps: int
    stages: int
    """blocks of terms that are loaded before they are needed"""


Step = Callable[[Parts], Parts]


class DirectEncoder:
    """Runs transformers' `EncodecEncoder`, whose weights it takes, on a CUDA device."""

    def __init__(self, module: Any, exact: bool) -> None:
        """`exact`: products have float32's precision, else TF32's.

        Raises:
            UnknownLayer: a layer that this cannot run.
        """
        self._steps: list[Step] = []
        elu = False
        for layer in module.layers:
            kind = type(layer).__name__
            if kind != "ELU":
                self._steps.append(_step(kind, layer, elu, exact))
            elu = kind == "ELU"

    def conditioned(
        self, samples: torch.Tensor, lengths: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """As `tokenizer.codecs.encodec.gpu.masked.MaskedEncoder.conditioned`."""
        rows, _, width = samples.shape
        known = lengths
        if known is None:
            known = torch.full((rows,), width, dtype=torch.int64, device=samples.device)
        parts = Parts((samples.transpose(1, 2).contiguous(),), (), (), known)
        for step in self._steps:
            parts = step(parts)
        condition = samples.new_ones(rows) if parts.condition is None else parts.condition
        frames = None if lengths is None else parts.lengths
        return parts.whole().transpose(1, 2), frames, condition


def _step(kind: str, layer: Any, elu: bool, exact: bool) -> Step:
    if kind == "EncodecConv1d":
        return _Convolution(layer, elu, exact)
    if kind == "EncodecResnetBlock":
        return _Residual(layer, exact)
    if kind == "EncodecLSTM":
        return _Recurrence(layer.lstm, exact)
    raise UnknownLayer(f"a layer of the kind {kind}")


class _Convolution:
    """transformers' `EncodecConv1d`, with an ELU before it or not."""

    def __init__(self, module: Any, elu: bool, exact: bool) -> None:
        conv = module.conv
        self._geometry = ConvolutionGeometry.of(module)
        self._out, self._in, taps = (int(size) for size in conv.weight.shape)
        if not _takes(self._in, self._out) or self._geometry.padding < 0:
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
            parts = joined(parts, self._elu)
        out, tiles = self._convolved(parts, elu)
        found = replace(parts.plain(out), lengths=self._geometry.frames(parts.lengths))
        return found if self._norm is None else self._normalised(found, tiles)

    def _convolved(self, parts: Parts, elu: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """What goes out, and of each tile of it what `kernels.moments` takes."""
        geometry, signal = self._geometry, parts.terms[0]
        rows, width = signal.shape[0], int(geometry.frames(parts.width))
        tile = self._tile(width)
        grid = (-(-width // tile.frames), self._out // tile.channels, rows)
        out = signal.new_empty(rows, width, self._out)
        tiles = out.new_empty((rows, 3, grid[0] * grid[1]) if self._norm is not None else (1,))
        kernels.convolve[grid](
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
        kernels.moments[(rows,)](
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

    def _tile(self, width: int) -> Tile:
        return Tile(
            frames=128 if width >= 1024 else 64,
            channels=min(self._out, 128),
            terms=min(max(self._in, 16), 32),
            warps=8 if self._out >= 64 and width >= 1024 else 4,
            stages=3,
        )


def in_two_parts(weight: torch.Tensor) -> torch.Tensor:
    """float32 `[2, ...]`, which together are the weight: what tensor cores take of it, and the
    rest."""
    high = (weight.contiguous().view(torch.int32) & HIGH).view(torch.float32)
    return torch.stack([high, weight - high])


def _takes(channels_in: int, channels_out: int) -> bool:
    """Whether a kernel's tiles are filled: powers of two, and enough of them to go out."""
    return all(count & (count - 1) == 0 for count in (channels_in, channels_out)) and (
        channels_out >= LEAST_CHANNELS
    )


class _Residual:
    """transformers' `EncodecResnetBlock`: two convolutions, each with an ELU before it, beside a
    shortcut."""

    def __init__(self, block: Any, exact: bool) -> None:
        kinds = [type(layer).__name__ for layer in block.block]
        if kinds != ["ELU", "EncodecConv1d", "ELU", "EncodecConv1d"]:
            raise UnknownLayer(f"a residual block of {kinds}")
        self._first, self._second = (_Convolution(block.block[i], True, exact) for i in (1, 3))
        identity = isinstance(block.shortcut, torch.nn.Identity)
        self._shortcut = None if identity else _Convolution(block.shortcut, False, exact)

    def __call__(self, parts: Parts) -> Parts:
        if len(parts.terms) > 1:
            parts = joined(parts, elu=False)
        branch = self._second(self._first(parts))
        beside = parts if self._shortcut is None else self._shortcut(replace(parts, condition=None))
        if bool(branch.scales) != bool(beside.scales):
            branch, beside = branch.plain(branch.whole()), beside.plain(beside.whole())
        return Parts(
            branch.terms + beside.terms,
            branch.scales + beside.scales,
            branch.shifts + beside.shifts,
            parts.lengths,
            # The branch has grown what came in; the shortcut, what goes out beside it.
            times(branch.condition, None if self._shortcut is None else beside.condition),
        )


class _Recurrence:
    """The LSTM and its shortcut. It looks backwards only: what follows a row's end changes nothing
    before it.

    One kernel runs a step of the first layer and the step before of the second; what comes into the
    first is multiplied by its weights for all steps at once.
    """

    def __init__(self, lstm: Any, exact: bool) -> None:
        """
        Raises:
            UnknownLayer: not two layers of one direction, or of other sizes than this can run.
        """
        self._size, self._exact = int(lstm.hidden_size), exact
        plain = (lstm.num_layers, lstm.bidirectional, lstm.proj_size, lstm.bias, lstm.input_size)
        if plain != (2, False, 0, True, self._size) or not _takes(self._size, self._size):
            raise UnknownLayer("an LSTM that is not of two layers of one size, a power of two")

        def of(name: str) -> torch.Tensor:
            found: torch.Tensor = getattr(lstm, name).detach()
            return found

        self._comes_in = in_two_parts(of("weight_ih_l0"))
        self._first_bias = of("bias_ih_l0") + of("bias_hh_l0")
        later = ("weight_hh_l0", "weight_ih_l1", "weight_hh_l1")
        self._weight = torch.stack([of(name) for name in later])
        self._bias = of("bias_ih_l1") + of("bias_hh_l1")
        self._tile = Tile(frames=64, channels=32, terms=32, warps=4, stages=3)

    def __call__(self, parts: Parts) -> Parts:
        frames = parts.whole()
        rows, steps, size = frames.shape
        projected = self._projected(frames)
        states, cells = frames.new_empty(2, steps + 1, rows, size), frames.new_zeros(2, rows, size)
        states[:, 0].zero_()
        tile, least = self._tile, min(self._size, 32)
        grid = (-(-rows // tile.frames), size // min(tile.channels, size), 2)
        for step in range(steps + 1):
            kernels.recur[grid](
                projected,
                states,
                cells,
                self._weight,
                self._bias,
                step,
                steps,
                rows,
                size=size,
                exact=self._exact,
                rows_block=tile.frames,
                units_block=min(tile.channels, size),
                sum_block=min(tile.terms, least),
                num_warps=tile.warps,
                num_stages=tile.stages,
            )
        return parts.plain((states[1, 1:].transpose(0, 1) + frames).contiguous())

    def _projected(self, frames: torch.Tensor) -> torch.Tensor:
        """What comes into the first layer times its weights, with all its biases, float32
        `[rows, steps, 4 * size]`."""
        rows, steps, size = frames.shape
        out = frames.new_empty(rows, steps, 4 * size)
        # As one signal of one row: the product knows nothing of rows.
        count = frames.new_full((1,), rows * steps, dtype=torch.int64)
        tile = Tile(frames=128, channels=64, terms=min(32, size), warps=8, stages=2)
        kernels.convolve[(-(-rows * steps // tile.frames), 4 * size // tile.channels, 1)](
            frames,
            frames,
            frames,
            count,
            self._comes_in,
            self._first_bias,
            out,
            out,
            rows * steps,
            rows * steps,
            in_channels=size,
            out_channels=4 * size,
            taps=1,
            stride=1,
            dilation=1,
            left=0,
            right=0,
            reflects=False,
            scaled=False,
            elu=False,
            exact=self._exact,
            measured=False,
            frames_block=tile.frames,
            sum_block=tile.terms,
            out_block=tile.channels,
            num_warps=tile.warps,
            num_stages=tile.stages,
        )
        return out


class DirectQuantizer:
    """All codebooks, on a CUDA device."""

    def __init__(
        self, codebooks: Sequence[torch.Tensor], halves: Sequence[torch.Tensor], exact: bool
    ) -> None:
        """
        Args:
            codebooks: float32 `[entries, dim]` each.
            halves: `tokenizer.codecs.encodec.quantizer.half_squares` of each.
            exact: certainty is computed too.

        Raises:
            UnknownLayer: sizes that this cannot run.
        """
        self._codebooks, self._halves = torch.stack(list(codebooks)), torch.stack(list(halves))
        self._levels, self._entries, self._dim = self._codebooks.shape
        # Every size that a kernel takes is a power of two.
        if not _takes(self._entries, self._dim) or self._entries > 1 << 15:
            raise UnknownLayer(f"codebooks of {self._entries} entries of {self._dim} numbers")
        self._exact = exact
        self._tile = Tile(frames=64, channels=64, terms=32, warps=4, stages=2)

    def __call__(
        self, frames: torch.Tensor, moved: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `tokenizer.codecs.encodec.quantizer.quantize`, with int16 codes."""
        count, tile = frames.shape[0], self._tile
        codes = torch.empty(self._levels, count, dtype=torch.int16, device=frames.device)
        certainty = frames.new_empty(count if self._exact else 1)
        kernels.quantize[(-(-count // tile.frames),)](
            frames.clone(memory_format=torch.contiguous_format),
            frames if moved is None else moved,
            self._codebooks,
            self._halves,
            codes,
            certainty,
            count,
            SCORE_NOISE,
            levels=self._levels,
            entries=self._entries,
            dim=self._dim,
            exact=self._exact,
            frames_block=tile.frames,
            entries_block=min(self._entries, tile.channels),
            sum_block=min(self._dim, tile.terms),
            num_warps=tile.warps,
            num_stages=tile.stages,
        )
        return codes, certainty
