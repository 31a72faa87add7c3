"""A DAC's encoder over rows of different lengths in one shape, for a GPU
(`tokenizer.codecs.encodec.gpu.whole`).

Its convolutions pad with zeros at a recording's ends, in every layer. So each row is set to zero
beyond its own end before every convolution; what its beginning needs, the convolution itself pads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from tokenizer.codecs.dac.quantizer import Quantizer, sizes_of
from tokenizer.codecs.encodec.gpu.fused import inside
from tokenizer.codecs.encodec.gpu.whole import AloneWork, RowsWork, WholeBatches

BATCHED_SECONDS = 4
"""recordings up to this length share batches: alone, a longer one fills a card by itself"""
CERTAIN = 1.0
"""certainty from which on a code is beyond doubt"""


def whole_recordings(
    model: Any,
    n_q: int,
    *,
    rate: int,
    longest: int,
    hop: int,
    rows: tuple[int, ...] | None = None,
) -> WholeBatches:
    """For recordings of up to `longest` samples: those of up to `BATCHED_SECONDS` together."""
    return WholeBatches(
        EncodeRows(model, n_q, hop),
        EncodeAlone(model, n_q, hop),
        next(model.parameters()).device,
        longest=longest,
        hop=hop,
        batched=BATCHED_SECONDS * rate // hop * hop,
        rows=rows,
        channels=int(model.config.encoder_hidden_size),
    )


class EncodeAlone(AloneWork):
    """A recording, filled up to whole hops, by transformers' own encoder."""

    def __init__(self, model: Any, n_q: int, hop: int) -> None:
        self._encoder, self._hop = model.encoder, hop
        self._quantizer = Quantizer(list(model.quantizer.quantizers)[:n_q])

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        filled = functional.pad(inputs[0], (0, -inputs[0].shape[2] % self._hop))
        frames = self._encoder(filled)[0]
        codes, _ = self._quantizer(frames, doubt=False)
        return codes[:, None].to(torch.int32), torch.isfinite(frames).all()


class EncodeRows(RowsWork):
    """Samples to codes, and whether they are beyond doubt."""

    def __init__(self, model: Any, n_q: int, hop: int) -> None:
        self._encoder, self._hop = RowsEncoder(model.encoder), hop
        self._quantizer = Quantizer(list(model.quantizer.quantizers)[:n_q])

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        samples, lengths = inputs
        # As transformers' feature extractor does: whole frames, the last filled up with zeros.
        frames, known = self._encoder(samples, (lengths + self._hop - 1) // self._hop * self._hop)
        rows, dim, count = frames.shape
        finite = torch.isfinite(frames).all(dim=2).all(dim=1)
        sizes = sizes_of(frames.square().mean(1), known).reshape(-1)
        joined = frames.transpose(0, 1).reshape(dim, rows * count)
        codes, certainty = self._quantizer(joined, True, sizes)
        own = inside(count, known)[:, 0]
        near = (certainty.view(rows, count).masked_fill(~own, torch.inf) < CERTAIN).any(dim=1)
        return codes.view(-1, rows, count).to(torch.int32), finite, near


Step = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""rows float32 `[rows, channels, n]` and their int64 `[rows]` lengths, to the same"""
Activation = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""rows and their lengths to rows of the same lengths; what is beyond these does not matter"""


def pointwise(activation: Any) -> Activation:
    """One that looks at no neighbours."""
    return lambda x, lengths: activation(x)


class RowsEncoder:
    """Runs transformers' `DacEncoder`, or one of its shape, whose modules it takes."""

    def __init__(self, encoder: Any, activation: Callable[[Any], Activation] = pointwise) -> None:
        """`activation` makes what its `snake`s are for rows."""

        def convolved(conv: Any, snake: Any) -> Step:
            return convolution(conv, activation(snake))

        self._steps: list[Step] = [convolution(encoder.conv1)]
        for block in encoder.block:
            for unit in (block.res_unit1, block.res_unit2, block.res_unit3):
                first, second = (
                    convolved(unit.conv1, unit.snake1),
                    convolved(unit.conv2, unit.snake2),
                )
                self._steps.append(residual(first, second))
            self._steps.append(convolved(block.conv1, block.snake1))
        self._steps.append(convolved(encoder.conv2, encoder.snake1))

    def __call__(
        self, samples: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 `[rows, 1, width]`, whole hops and zeros beyond each row's end, with int64
        `[rows]` lengths, to `[rows, dim, frames]` with zeros beyond its end, and its frames."""
        x = samples
        for step in self._steps:
            x, lengths = step(x, lengths)
        return masked(x, lengths), lengths


def masked(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """float32 `[rows, channels, n]` with zeros beyond each row's end."""
    return x.masked_fill(~inside(x.shape[2], lengths), 0.0)


def convolution(conv: Any, activation: Activation | None = None) -> Step:
    """A `Conv1d` with zeros for padding, and what stands before it."""
    taps, stride = conv.kernel_size[0], conv.stride[0]
    reach, padding = (taps - 1) * conv.dilation[0] + 1, conv.padding[0]

    def step(x: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = conv(masked(x if activation is None else activation(x, lengths), lengths))
        return y, (lengths + 2 * padding - reach) // stride + 1

    return step


def residual(*branch: Step) -> Step:
    """Steps that keep lengths, and the input added to them."""

    def step(x: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = x
        for one in branch:
            y, _ = one(y, lengths)
        return x + y, lengths

    return step
