"""Mimi's encoder over rows of different lengths in one shape, for a GPU
(`tokenizer.codecs.encodec.gpu.whole`): recordings of up to a block, whole.

All is causal, so that what follows a row's end changes nothing before it; but where a recording
ends inside of a stride, each convolution pads it with zeros, and the downsampling with its last
position again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from tokenizer.codecs.encodec.certainty import uncertain
from tokenizer.codecs.encodec.geometry import ConvolutionGeometry
from tokenizer.codecs.encodec.gpu.fused import inside
from tokenizer.codecs.encodec.gpu.masked import Convolution, Residual, Step, plain
from tokenizer.codecs.encodec.gpu.whole import AloneWork, RowsWork, WholeBatches
from tokenizer.codecs.encodec.quantizer import half_squares, quantize
from tokenizer.codecs.mimi.halves import EncoderHalf
from tokenizer.codecs.mimi.segments import as_encodec, residual_of
from tokenizer.codecs.mimi.transformer import WindowedTransformer

FRAME_NOISE, ROW_NOISE = 2e-5, 5e-6
"""how far rounding may move a frame: of its own RMS, and of its recording's"""


def whole_recordings(
    model: Any, n_q: int, *, longest: int, hop: int, rows: tuple[int, ...] | None = None
) -> WholeBatches:
    """For recordings of up to `longest` samples.

    Raises:
        UnknownLayer: the model has layers that this cannot run.
    """
    return WholeBatches(
        EncodeRows(model, n_q),
        EncodeAlone(model, n_q),
        next(model.parameters()).device,
        longest=longest,
        hop=hop,
        rows=rows,
        channels=int(model.config.num_filters),
    )


class EncodeAlone(AloneWork):
    """A recording, by transformers' own operations."""

    def __init__(self, model: Any, n_q: int) -> None:
        """
        Raises:
            UnknownLayer: the model has layers that this cannot run.
        """
        encoder = EncoderHalf.of(model)
        self.channels = int(model.config.audio_channels)
        self._seanet = StaticSeaNet(encoder.seanet)
        self._transformer = WindowedTransformer(encoder.transformer)
        self._downsample = Downsampling(encoder.downsample)
        self._quantizer, self._n_q = model.quantizer, n_q

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        positions = self._seanet(inputs[0]).transpose(1, 2)
        latents = self._downsample.padded(self._transformer.rows(positions).transpose(1, 2))
        codes = self._quantizer.encode(latents, self._n_q)
        return codes.to(torch.int32), torch.isfinite(latents).all()


class StaticSeaNet:
    """transformers' `MimiEncoder` without a look at the device, on which it keeps its paddings: the
    same operations, as `tokenizer.codecs.encodec.reference.StaticNetwork`."""

    def __init__(self, module: Any) -> None:
        """
        Raises:
            UnknownLayer: a layer that this cannot run.
        """
        self._steps = [_static(layer) for layer in module.layers]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """float32 `[rows, channels, n]`, all rows of one length, to `[rows, dim, positions]`."""
        for step in self._steps:
            x = step(x)
        return x


def _static(layer: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    if type(layer).__name__ == "ELU":
        step: Callable[[torch.Tensor], torch.Tensor] = layer
        return step
    if type(layer).__name__ == "MimiResnetBlock":
        residual_of(layer)  # refuses what it is not
        branch = [_static(one) for one in layer.block]
        identity = isinstance(layer.shortcut, torch.nn.Identity)
        shortcut = layer.shortcut if identity else _static(layer.shortcut)

        def both(x: torch.Tensor) -> torch.Tensor:
            y = x
            for one in branch:
                y = one(y)
            total: torch.Tensor = shortcut(x) + y
            return total

        return both
    as_encodec(layer)
    geometry = ConvolutionGeometry.of(layer)

    def convolution(x: torch.Tensor) -> torch.Tensor:
        behind = -x.shape[2] % geometry.stride
        found: torch.Tensor = layer.conv(functional.pad(x, (geometry.padding, behind)))
        return found

    return convolution


class EncodeRows(RowsWork):
    """Samples to codes, and whether they are beyond doubt."""

    def __init__(self, model: Any, n_q: int) -> None:
        """
        Raises:
            UnknownLayer: the model has layers that this cannot run.
        """
        encoder = EncoderHalf.of(model)
        self.channels = int(model.config.audio_channels)
        self._seanet = RowsEncoder(encoder.seanet)
        self._transformer = WindowedTransformer(encoder.transformer)
        self._downsample = Downsampling(encoder.downsample)
        first = int(model.config.num_semantic_quantizers)
        quantizer = model.quantizer
        self._quantizers = [
            _Quantizer(quantizer.semantic_residual_vector_quantizer, min(n_q, first)),
            _Quantizer(quantizer.acoustic_residual_vector_quantizer, n_q - first),
        ]

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        positions, lengths = self._seanet(*inputs)
        hidden = self._transformer.rows(positions.transpose(1, 2)).transpose(1, 2)
        latents, frames = self._downsample(hidden, lengths)
        own = inside(latents.shape[2], frames)
        latents = latents.masked_fill(~own, 0.0)
        finite = torch.isfinite(latents).all(dim=2).all(dim=1)
        found = [one(latents, frames) for one in self._quantizers if one.levels]
        codes = torch.cat([codes for codes, _ in found])
        certainty = torch.stack([certainty for _, certainty in found]).amin(0)
        near = uncertain(certainty.masked_fill(~own[:, 0], torch.inf)).any(dim=1)
        return codes.to(torch.int32), finite, near


class RowsEncoder:
    """Runs transformers' `MimiEncoder`, whose weights it takes."""

    def __init__(self, module: Any) -> None:
        """
        Raises:
            UnknownLayer: a layer that this cannot run.
        """
        self._steps: list[Step] = []
        elu = False
        for layer in module.layers:
            if type(layer).__name__ == "ELU":
                elu = True
                continue
            if type(layer).__name__ == "MimiResnetBlock":
                first, second, shortcut = residual_of(layer)
                beside = None if shortcut is None else Convolution(shortcut, False)
                self._steps.append(
                    Residual(Convolution(first, True), Convolution(second, True), beside)
                )
            else:
                self._steps.append(Convolution(as_encodec(layer), elu))
            elu = False

    def __call__(
        self, samples: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 `[rows, channels, width]`, zeros beyond each row's end, with int64 `[rows]`
        lengths, to `[rows, dim, positions]` and the positions of each row."""
        signal = plain(samples, lengths)
        for step in self._steps:
            signal = step(signal)
        known = lengths if signal.lengths is None else signal.lengths
        return signal.whole(), known


class Downsampling:
    """transformers' `MimiConv1d` that repeats the first position before a signal and the last one
    behind it."""

    def __init__(self, module: Any) -> None:
        self._conv, self._geometry = module.conv, ConvolutionGeometry.of(module)

    def __call__(self, x: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 `[rows, dim, positions]` with the positions of each row, to `[rows, dim, frames]`
        and its frames."""
        places = torch.arange(x.shape[2], device=x.device).expand(x.shape[0], -1)
        # At a capture there are rows without samples.
        places = torch.minimum(places, lengths[:, None] - 1).clamp_min(0)
        repeated = x.gather(2, places[:, None].expand(-1, x.shape[1], -1))
        return self.padded(repeated), self._geometry.frames(lengths)

    def padded(self, x: torch.Tensor) -> torch.Tensor:
        """float32 `[rows, dim, positions]`, all of a row its own, to `[rows, dim, frames]`."""
        behind = -x.shape[2] % self._geometry.stride
        padded = functional.pad(x, (self._geometry.padding, behind), mode="replicate")
        frames: torch.Tensor = self._conv(padded)
        return frames


class _Quantizer:
    """The first levels of one of transformers' `MimiResidualVectorQuantizer`s."""

    def __init__(self, module: Any, levels: int) -> None:
        self.levels = levels
        self._project = module.input_proj
        # Their own memory: transformers' `embed` is computed when it is first asked for.
        self._books = [layer.codebook.embed.detach() for layer in module.layers[:levels]]
        self._halves = [half_squares(book) for book in self._books]

    def __call__(
        self, latents: torch.Tensor, frames: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 `[rows, dim, count]`, zeros beyond a row's frames, to codes int64
        `[levels, rows, count]` and certainty `[rows, count]`."""
        projected = latents if self._project is None else self._project(latents)
        rows, dim, count = projected.shape
        flat = projected.transpose(1, 2).reshape(rows * count, dim)
        squares = flat.square().mean(1).view(rows, count)
        whole = (squares.sum(1, keepdim=True) / frames[:, None]).sqrt()
        moved = FRAME_NOISE * squares.sqrt() + ROW_NOISE * whole
        codes, certainty = quantize(flat, self._books, self._halves, moved.view(-1))
        return codes.view(self.levels, rows, count), certainty.view(rows, count)
