"""EnCodec's encoder on rows of different lengths in one fixed shape, each row as if it were alone.
Plain torch, any device.

    row 0   ████████████████████▒▒       ▒ reflected at the row's own end
    row 1   █████████▒▒░░░░░░░░░░        ░ zeros, which nothing that is kept of the row depends on
    row 2   ██████████████▒▒░░░░░

A convolution reads at most its padding beyond a row's end, which is written where the row ends.
GroupNorm (one group, over a whole chunk) takes its sums over the row's own samples. No value is
read back to decide anything, so that a batch can be captured as a CUDA graph and runs without a
synchronisation.

On a GPU this is bound by memory, so that every pass over a tensor counts. A layer's output is kept
as its convolution leaves it; its normalisation, the sum of a residual block's two branches and the
ELU are written straight into the padded input of the next convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn import functional

from tokenizer.codecs.encodec.geometry import ConvolutionGeometry
from tokenizer.codecs.encodec.gpu.fused import Fused, inside
from tokenizer.codecs.encodec.networks import UnknownLayer


@dataclass(frozen=True, slots=True, eq=False)
class Signal:
    """A layer's output, in parts: `shift + sum(term * scale)`, of one term or two."""

    terms: tuple[torch.Tensor, ...]
    """each float32 `[rows, channels, width]`"""
    scales: tuple[torch.Tensor, ...]
    """float32 `[rows, channels, 1]`, or as many ones as that, of each; none where the only term is
    the signal itself"""
    shift: torch.Tensor | None
    """likewise"""
    lengths: torch.Tensor | None
    """of the rows, int64 `[rows]`; None: all are full"""
    condition: torch.Tensor | None = None
    """float32 `[rows]`: how much the normalisations up to here have grown what rounding does; None:
    there were none"""

    @property
    def width(self) -> int:
        return self.terms[0].shape[2]

    def write(self, out: torch.Tensor, elu: bool) -> None:
        """The signal or its ELU into `out`, which may be its first term, with zeros beyond each
        row's end."""
        if self.shift is None:
            out.copy_(self.terms[0])
        else:
            torch.addcmul(self.shift, self.terms[0], self.scales[0], out=out)
        for term, scale in zip(self.terms[1:], self.scales[1:], strict=True):
            out.addcmul_(term, scale)
        if elu:
            functional.elu_(out)
        if self.lengths is not None:
            out.masked_fill_(~inside(out.shape[2], self.lengths), 0.0)

    @property
    def parts(
        self,
    ) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...], torch.Tensor | None]:
        """Terms, scales and shift."""
        return self.terms, self.scales, self.shift

    def whole(self, elu: bool = False, fused: Fused | None = None) -> torch.Tensor:
        """float32 `[rows, channels, width]`. What is in parts is written over its first term, and
        must not be used again."""
        if self.shift is None and not elu:
            return self.terms[0]
        if fused is not None:
            return fused.written(*self.parts, self.lengths, elu)
        out = torch.empty_like(self.terms[0]) if self.shift is None else self.terms[0]
        self.write(out, elu)
        return out


def plain(samples: torch.Tensor, lengths: torch.Tensor | None) -> Signal:
    """float32 `[rows, channels, width]` with zeros beyond each row's end."""
    return Signal((samples,), (), None, lengths)


Step = Callable[[Signal], Signal]


class MaskedEncoder:
    """Runs transformers' `EncodecEncoder`, whose weights it takes."""

    def __init__(
        self, module: Any, channels_last: bool = False, fused: Fused | None = None
    ) -> None:
        """With `channels_last` a sample's channels lie side by side: what tensor cores take as it
        is. With `fused`, what lies between convolutions is compiled.

        Raises:
            UnknownLayer: a layer that this cannot run.
        """
        self._steps = [
            _step(kind, layer, elu, channels_last, fused) for kind, layer, elu in steps_of(module)
        ]

    def __call__(
        self, samples: torch.Tensor, lengths: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """float32 `[rows, channels, width]` with int64 `[rows]` lengths, to `[rows, dim, frames]`
        and valid frames.

        Without lengths every row is as long as the shape. Beyond a row's end there are zeros, going
        in, coming out and in what is convolved: what is garbage in one sample can spoil its
        neighbours where a device convolves by Fourier transforms.
        """
        frames, known, _ = self.conditioned(samples, lengths)
        return frames, known

    def conditioned(
        self, samples: torch.Tensor, lengths: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """The same, with each row's `Signal.condition`, float32 `[rows]`."""
        signal = plain(samples, lengths)
        for step in self._steps:
            signal = step(signal)
        condition = (
            samples.new_ones(samples.shape[0]) if signal.condition is None else signal.condition
        )
        return signal.whole(), signal.lengths, condition


def steps_of(module: Any) -> Iterator[tuple[str, Any, bool]]:
    """Of transformers' `EncodecEncoder` each layer that is no ELU, with its kind before it and
    whether it takes the ELU of what comes in."""
    elu = False
    for layer in module.layers:
        kind = type(layer).__name__
        if kind != "ELU":
            yield kind, layer, elu
        elu = kind == "ELU"


def branches_of(block: Any) -> tuple[Any, Any, Any]:
    """Of transformers' `EncodecResnetBlock` its two convolutions and that of its shortcut; None:
    the input itself.

    Raises:
        UnknownLayer: it has other layers.
    """
    kinds = [type(layer).__name__ for layer in block.block]
    if kinds != ["ELU", "EncodecConv1d", "ELU", "EncodecConv1d"]:
        raise UnknownLayer(f"a residual block of {kinds}")
    identity = isinstance(block.shortcut, torch.nn.Identity)
    return block.block[1], block.block[3], None if identity else block.shortcut


def _step(kind: str, layer: Any, elu: bool, channels_last: bool, fused: Fused | None) -> Step:
    if kind == "EncodecConv1d":
        return Convolution(layer, elu, channels_last, fused)
    if kind == "EncodecResnetBlock":
        return Residual.of(layer, channels_last, fused)
    if kind == "EncodecLSTM":
        return _Recurrence(layer.lstm)
    raise UnknownLayer(f"a layer of the kind {kind}")


class Convolution:
    """transformers' `EncodecConv1d`, with an ELU before it or not."""

    def __init__(
        self, module: Any, elu: bool, channels_last: bool = False, fused: Fused | None = None
    ) -> None:
        conv = module.conv
        # With weight norm, `weight` is computed from its two factors here, once.
        weight, self._bias = conv.weight.detach()[:, :, None], conv.bias.detach()
        self._weight = (
            weight.contiguous(memory_format=torch.channels_last) if channels_last else weight
        )
        self._geometry = ConvolutionGeometry.of(module)
        if self._geometry.padding < 0:
            raise UnknownLayer(
                f"a convolution of {self._geometry.taps} taps with a stride of "
                f"{self._geometry.stride}"
            )
        self._elu, self._channels_last, self._fused = elu, channels_last, fused
        self._norm = module.norm if module.norm_type == "time_group_norm" else None

    def __call__(self, signal: Signal) -> Signal:
        geometry = self._geometry
        right = geometry.after(signal.width)
        if signal.lengths is None and signal.width > max(geometry.left, right):
            return self._normalised(signal, self._convolve(self._padded(signal, right)), None)
        rows = signal.terms[0].shape[0]
        known = signal.lengths
        if known is None:
            known = torch.full(
                (rows,), signal.width, dtype=torch.int64, device=signal.terms[0].device
            )
        y, frames = self._convolve(self._padded_by_row(signal, known)), geometry.frames(known)
        return self._normalised(signal, y, frames if signal.lengths is not None else None)

    def _normalised(self, signal: Signal, y: torch.Tensor, lengths: torch.Tensor | None) -> Signal:
        if self._fused is not None:
            found = self._fused_normalised(self._fused, y, lengths)
        else:
            found = normalised(y, lengths, self._norm)
        return replace(found, condition=times(signal.condition, found.condition))

    def _fused_normalised(
        self, fused: Fused, y: torch.Tensor, lengths: torch.Tensor | None
    ) -> Signal:
        """What the convolution left out, its bias, is in the shift."""
        norm = self._norm
        if norm is None:
            return Signal((y,), (y.new_ones(1, 1, 1),), self._bias[None, :, None], lengths)
        scale, shift, condition = fused.normalisation(
            y, self._bias, lengths, norm.weight, norm.bias, norm.eps
        )
        return Signal((y,), (scale,), shift, lengths, condition)

    def _convolve(self, padded: torch.Tensor) -> torch.Tensor:
        # In two dimensions, of which one is 1: only there is the order of a tensor's dimensions in
        # memory heeded.
        y = functional.conv2d(
            padded[:, :, None],
            self._weight,
            None if self._fused else self._bias,
            (1, self._geometry.stride),
            dilation=(1, self._geometry.dilation),
        )
        return y[:, :, 0]

    def _room(self, signal: Signal, before: int, after: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The signal or its ELU with room around it, and a view of itself in there."""
        rows, channels, width = signal.terms[0].shape
        size = before + width + after
        if self._channels_last:
            room = signal.terms[0].new_empty(rows, size, channels).transpose(1, 2)
        else:
            room = signal.terms[0].new_empty(rows, channels, size)
        inner = room[..., before : before + width]
        signal.write(inner, self._elu)
        return room, inner

    def _padded(self, signal: Signal, right: int) -> torch.Tensor:
        left = self._geometry.left
        if not left and not right:
            return signal.whole(self._elu, self._fused)
        if self._fused is not None:
            reflects = self._geometry.reflects
            return self._fused.padded(*signal.parts, self._elu, left, right, reflects)
        room, inner = self._room(signal, left, right)
        if self._geometry.reflects:
            room[..., :left].copy_(inner[..., 1 : left + 1].flip(2))
            room[..., left + signal.width :].copy_(inner[..., -right - 1 : -1].flip(2))
        else:
            room[..., :left].zero_()
            room[..., left + signal.width :].zero_()
        return room

    def _padded_by_row(self, signal: Signal, lengths: torch.Tensor) -> torch.Tensor:
        """Padding in front, and behind each row's own end; as many outputs as a full row has, for
        every row."""
        left, behind = self._geometry.left, self._geometry.right + self._geometry.stride - 1
        if not left and not behind:
            return signal.whole(self._elu, self._fused)
        if self._fused is not None:
            return self._fused.padded_by_row(*signal.parts, lengths, self._elu, self._geometry)
        room, inner = self._room(signal, left, behind)
        room[..., left + signal.width :].zero_()
        before = torch.arange(-left, 0, device=room.device).expand(room.shape[0], -1)
        after = lengths[:, None] + torch.arange(behind, device=room.device)
        places = torch.cat([before, after], dim=1)
        source, known = self._mirrored(places, lengths[:, None])
        shape = (-1, room.shape[1], -1)
        values = inner.gather(2, source[:, None].expand(shape)).where(
            known[:, None], room.new_zeros(())
        )
        return room.scatter_(2, (places + left)[:, None].expand(shape), values)

    def _mirrored(
        self, places: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The sample that stands at a place outside of a row `[rows, places]`, and whether one
        does: else silence."""
        source = self._geometry.mirrored(places, lengths)
        known = (source >= 0) & (source < lengths) & self._geometry.reflects
        return source.where(known, torch.zeros_like(source)), known


def normalised(y: torch.Tensor, lengths: torch.Tensor | None, norm: Any) -> Signal:
    """GroupNorm with one group of `[rows, channels, width]`, each row over its own length; None: no
    normalisation."""
    if norm is None:
        ones = y.new_ones(1, 1, 1)
        return Signal((y,), (ones,), torch.zeros_like(ones), lengths)
    mean, variance = moments(y, lengths)
    scale = (variance + norm.eps).rsqrt() * norm.weight[:, None]
    condition = ((variance + mean.square()) / (variance + norm.eps)).sqrt().clamp_min(1.0).view(-1)
    return Signal((y,), (scale,), norm.bias[:, None] - mean * scale, lengths, condition)


def times(one: torch.Tensor | None, other: torch.Tensor | None) -> torch.Tensor | None:
    """The condition of what went through one and the other."""
    if one is None or other is None:
        return one if other is None else other
    return one * other


def moments(y: torch.Tensor, lengths: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of each row's own samples in all channels, `[rows, 1, 1]` each."""
    if lengths is None:
        variance, mean = torch.var_mean(y, (1, 2), correction=0, keepdim=True)
        return mean, variance
    beyond = ~inside(y.shape[2], lengths)
    count = (lengths * y.shape[1]).to(y.dtype)[:, None, None]
    mean = y.masked_fill(beyond, 0.0).sum((1, 2), keepdim=True) / count
    # Not from the sum of squares of a row as it is: of a silent one that would be the difference of
    # two almost equal numbers. Nor by `vector_norm`, which on a CPU adds a million squares one
    # after the other.
    spread = (y - mean).masked_fill_(beyond, 0.0)
    variance, rest = torch.var_mean(spread, (1, 2), correction=0, keepdim=True)
    return mean, (variance + rest.square()) * (y.shape[1] * y.shape[2]) / count


class Residual:
    """Two convolutions beside a shortcut, which is a convolution too or the input itself."""

    def __init__(
        self,
        first: Convolution,
        second: Convolution,
        shortcut: Convolution | None,
        fused: Fused | None = None,
    ) -> None:
        """`first` and `second` with an ELU before them; None: the input itself is added."""
        self._first, self._second, self._shortcut = first, second, shortcut
        self._fused = fused

    @classmethod
    def of(cls, block: Any, channels_last: bool, fused: Fused | None) -> Residual:
        """Of transformers' `EncodecResnetBlock`."""
        first, second, beside = branches_of(block)
        first, second = (Convolution(one, True, channels_last, fused) for one in (first, second))
        shortcut = None if beside is None else Convolution(beside, False, channels_last, fused)
        return cls(first, second, shortcut, fused)

    def __call__(self, signal: Signal) -> Signal:
        x = plain(signal.whole(fused=self._fused), signal.lengths)
        branch = self._second(self._first(x))
        if self._shortcut is None:
            scales = (*branch.scales, torch.ones_like(branch.scales[0]))
            condition = times(signal.condition, branch.condition)
            return Signal((*branch.terms, *x.terms), scales, branch.shift, x.lengths, condition)
        beside = self._shortcut(x)
        condition = times(signal.condition, times(branch.condition, beside.condition))
        return Signal(
            branch.terms + beside.terms,
            branch.scales + beside.scales,
            _sum(branch, beside),
            x.lengths,
            condition,
        )


def _sum(one: Signal, other: Signal) -> torch.Tensor | None:
    return None if one.shift is None or other.shift is None else one.shift + other.shift


class _Recurrence:
    """The LSTM and its shortcut. It looks backwards only: what follows a row's end changes nothing
    before it."""

    def __init__(self, lstm: Any) -> None:
        self._lstm = lstm

    def __call__(self, signal: Signal) -> Signal:
        frames = signal.whole().permute(2, 0, 1).contiguous()
        y = (self._lstm(frames)[0] + frames).permute(1, 2, 0)
        y = y if signal.lengths is None else y.masked_fill(~inside(y.shape[2], signal.lengths), 0.0)
        return replace(plain(y, signal.lengths), condition=signal.condition)
