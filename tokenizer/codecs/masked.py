"""EnCodec's encoder on rows of different lengths in one fixed shape, each row as if it were alone. Plain torch, any device.

    row 0   ████████████████████▒▒       ▒ reflected at the row's own end
    row 1   █████████▒▒░░░░░░░░░░        ░ zeros, which nothing that is kept of the row depends on
    row 2   ██████████████▒▒░░░░░

A convolution reads at most its padding beyond a row's end, which is written where the row ends. GroupNorm (one group, over a
whole chunk) takes its sums over the row's own samples. No value is read back to decide anything, so that a batch can be captured
as a CUDA graph and runs without a synchronisation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from tokenizer.codecs.tiles import UnknownLayer

Step = Callable[[torch.Tensor, torch.Tensor | None], tuple[torch.Tensor, torch.Tensor | None]]
"""a batch float32 `[rows, channels, width]` and its rows' lengths int64 `[rows]` (None: all are full), to the same"""


class MaskedEncoder:
    """Runs transformers' `EncodecEncoder`, whose weights it takes."""

    def __init__(self, module: Any) -> None:
        """
        Raises:
            UnknownLayer: a layer that this cannot run.
        """
        self._steps: list[Step] = []
        elu = False
        for layer in module.layers:
            kind = type(layer).__name__
            if kind == "ELU":
                elu = True
                continue
            self._steps.append(_step(kind, layer, elu))
            elu = False

    def __call__(self, samples: torch.Tensor, lengths: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """float32 `[rows, channels, width]` with int64 `[rows]` lengths, to `[rows, dim, frames]` and valid frames.

        Without lengths every row is as long as the shape. Beyond a row's end there are zeros, going in and coming out of all
        but the LSTM: what is garbage in one sample can spoil its neighbours where a device convolves by Fourier transforms.
        """
        for step in self._steps:
            samples, lengths = step(samples, lengths)
        return samples, lengths


def _step(kind: str, layer: Any, elu: bool) -> Step:
    if kind == "EncodecConv1d":
        return _Convolution(layer, elu)
    if kind == "EncodecResnetBlock":
        return _Residual(layer)
    if kind == "EncodecLSTM":
        return _Recurrence(layer.lstm)
    raise UnknownLayer(f"a layer of the kind {kind}")


class _Convolution:
    """transformers' `EncodecConv1d`, with an ELU before it or not."""

    def __init__(self, module: Any, elu: bool) -> None:
        conv = module.conv
        # With weight norm, `weight` is computed from its two factors here, once.
        self._weight, self._bias = conv.weight.detach(), conv.bias.detach()
        self._stride, self._dilation = conv.stride[0], conv.dilation[0]
        total = (conv.kernel_size[0] - 1) * self._dilation + 1 - self._stride
        self._right = 0 if module.causal else total // 2
        self._left = total - self._right
        if total < 0:
            raise UnknownLayer(f"a convolution of {conv.kernel_size[0]} taps with a stride of {self._stride}")
        self._reflect, self._elu = module.pad_mode == "reflect", elu
        self._norm = module.norm if module.norm_type == "time_group_norm" else None

    def __call__(self, x: torch.Tensor, lengths: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        x = functional.elu(x) if self._elu else x
        extra = -x.shape[2] % self._stride
        if lengths is None and x.shape[2] > max(self._left, self._right + extra):
            y = self._convolve(self._padded(x, self._right + extra))
            return (y if self._norm is None else self._norm(y)), None
        known = x.new_full((x.shape[0],), x.shape[2], dtype=torch.int64) if lengths is None else lengths
        y, frames = self._convolve(self._padded_by_row(x, known)), -(-known // self._stride)
        y = y if self._norm is None else masked_norm(y, frames, self._norm)
        y = y.where(inside(y, frames), y.new_zeros(()))
        return y, None if lengths is None else frames

    def _convolve(self, padded: torch.Tensor) -> torch.Tensor:
        return functional.conv1d(padded, self._weight, self._bias, self._stride, dilation=self._dilation)

    def _padded(self, x: torch.Tensor, right: int) -> torch.Tensor:
        if not self._left and not right:
            return x
        return functional.pad(x, (self._left, right), "reflect" if self._reflect else "constant")

    def _padded_by_row(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Padding in front, and behind each row's own end; as many outputs as a full row has, for every row."""
        behind = self._right + self._stride - 1
        if not self._left and not behind:
            return x
        padded = functional.pad(x, (self._left, behind))
        before = torch.arange(-self._left, 0, device=x.device).expand(x.shape[0], -1)
        after = lengths[:, None] + torch.arange(behind, device=x.device)
        places = torch.cat([before, after], dim=1)
        source, known = self._mirrored(places, lengths[:, None])
        shape = (-1, x.shape[1], -1)
        values = x.gather(2, source[:, None].expand(shape)).where(known[:, None], x.new_zeros(()))
        return padded.scatter_(2, (places + self._left)[:, None].expand(shape), values)

    def _mirrored(self, places: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The sample that stands at a place outside of a row `[rows, places]`, and whether one does: else silence."""
        right = self._right + -lengths % self._stride
        # A row that is shorter than its padding is extended with silence before it is reflected, as upstream does.
        extent = torch.maximum(lengths, right.clamp_min(self._left) + 1)
        source = places.abs()
        source = torch.where(source >= extent, 2 * (extent - 1) - source, source)
        known = (source >= 0) & (source < lengths) & self._reflect
        return source.where(known, torch.zeros_like(source)), known


def inside(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Which samples of `[rows, channels, width]` belong to their row: bool `[rows, 1, width]`."""
    return (torch.arange(x.shape[2], device=x.device) < lengths[:, None])[:, None]


def masked_norm(x: torch.Tensor, lengths: torch.Tensor, norm: Any) -> torch.Tensor:
    """GroupNorm with one group of `[rows, channels, width]`, each row over its own length."""
    own, zero = inside(x, lengths), x.new_zeros(())
    count = (lengths * x.shape[1]).to(x.dtype)[:, None, None]
    centred = x - x.where(own, zero).sum((1, 2), keepdim=True) / count
    variance = centred.where(own, zero).square().sum((1, 2), keepdim=True) / count
    return centred.mul_((variance + norm.eps).rsqrt()).mul_(norm.weight[:, None]).add_(norm.bias[:, None])


class _Residual:
    """Two convolutions beside a shortcut, which is a convolution too or the input itself."""

    def __init__(self, block: Any) -> None:
        kinds = [type(layer).__name__ for layer in block.block]
        if kinds != ["ELU", "EncodecConv1d", "ELU", "EncodecConv1d"]:
            raise UnknownLayer(f"a residual block of {kinds}")
        self._first, self._second = _Convolution(block.block[1], True), _Convolution(block.block[3], True)
        identity = isinstance(block.shortcut, torch.nn.Identity)
        self._shortcut = None if identity else _Convolution(block.shortcut, False)

    def __call__(self, x: torch.Tensor, lengths: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        branch, _ = self._second(*self._first(x, lengths))
        beside = x if self._shortcut is None else self._shortcut(x, lengths)[0]
        return beside + branch, lengths


class _Recurrence:
    """The LSTM and its shortcut. It looks backwards only: what follows a row's end changes nothing before it."""

    def __init__(self, lstm: Any) -> None:
        self._lstm = lstm

    def __call__(self, x: torch.Tensor, lengths: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        frames = x.permute(2, 0, 1).contiguous()
        return (self._lstm(frames)[0] + frames).permute(1, 2, 0), lengths
