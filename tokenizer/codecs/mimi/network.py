"""Mimi's networks over one block of a recording after another, by transformers' own modules.

    samples ─▶ SEANet ─▶ transformer ─▶ downsampling ─▶ quantizers ─▶ codes
               24 kHz      25 Hz           25 → 12.5 Hz

Everything is causal: what a block's codes need of the past is in `Passed`, and what follows changes
nothing, but that the recording's end is padded in every convolution with a stride, each at its own
rate, and by the downsampling with its last position again. So a block's end is padded only where
the recording ends too; all other blocks have whole frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from tokenizer.codecs.encodec.geometry import ConvolutionGeometry, TransposedGeometry
from tokenizer.codecs.encodec.networks import check_finite
from tokenizer.codecs.mimi.checkpoint import hop
from tokenizer.codecs.mimi.halves import DecoderHalf, EncoderHalf
from tokenizer.codecs.mimi.segments import LEAST, Known
from tokenizer.codecs.mimi.states import DecoderState, Floats, Passed, to_array, to_tensor
from tokenizer.codecs.mimi.transformer import WindowedTransformer

ENOUGH = 26
"""frames from which on `torch.cdist` multiplies matrices, and more than enough for a convolution to
sum as it does for many"""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Of one recording."""

    samples: Floats
    """float32 `[channels, n]`: whole frames, but for the last block"""
    passed: Passed | None
    """as the block before left it"""
    last: bool
    """the recording ends with it"""


@dataclass(frozen=True, slots=True, eq=False)
class CodedBlock:
    """What became of one."""

    codes: torch.Tensor
    """int64 `[n_q, frames]`"""
    passed: Passed | None
    """for the next one; None after the last"""


class MimiNetwork:
    """A `MimiModel`'s modules, on any device."""

    def __init__(self, model: Any, n_q: int) -> None:
        self._model, self._n_q = model, n_q
        self.device: torch.device = next(model.parameters()).device
        self._hop = hop(model.config)
        encoder, decoder = EncoderHalf.of(model), DecoderHalf.of(model)
        self._seanet, self._downsample = encoder.seanet, encoder.downsample
        self._transformer = WindowedTransformer(encoder.transformer, aligned=True)
        self._context = self._hop * (looks_back(self._seanet) + LEAST)
        self._before = ConvolutionGeometry.of(self._downsample).padding
        self._upsample, self._decoder_seanet = decoder.upsample, decoder.seanet
        self._decoder_transformer = WindowedTransformer(decoder.transformer)
        self._decoder_context = decoder_looks_back(self._decoder_seanet)

    def encode(self, blocks: Sequence[Block]) -> list[CodedBlock]:
        """Of different recordings.

        Raises:
            RecordingError: the encoder's output is not finite (ENCODER).
        """
        known = [self._known(block) for block in blocks]
        embedded = self._embed(known, [not block.last for block in blocks])
        return [
            self._finish(block, samples, positions)
            for block, (samples, _), positions in zip(blocks, known, embedded, strict=True)
        ]

    def _known(self, block: Block) -> Known:
        """Its samples and those before it, as far as they are needed."""
        if block.passed is None:
            return to_tensor(block.samples, self.device), 0
        known = np.concatenate([block.passed.context, block.samples], axis=1)
        return to_tensor(known, self.device), block.passed.context.shape[1] // self._hop

    def _embed(self, known: Sequence[Known], parts: Sequence[bool]) -> list[torch.Tensor]:
        """float32 `[dim, positions]` of each; of some the recording goes on."""
        return self._by_modules(known)

    def _by_modules(self, known: Sequence[Known]) -> list[torch.Tensor]:
        return [self._seanet(samples[None])[0, :, skipped:] for samples, skipped in known]

    def _finish(self, block: Block, known: torch.Tensor, embedded: torch.Tensor) -> CodedBlock:
        """All that follows the SEANet."""
        passed = block.passed
        hidden, attended = self._transformer(
            embedded.t(), None if passed is None else passed.attended, remember=not block.last
        )
        positions = hidden.t()
        tail = (
            positions[:, :1].expand(-1, self._before)
            if passed is None
            else to_tensor(passed.tail, self.device)
        )
        joined = torch.cat([tail, positions], 1)
        latents = self._downsampled(joined, alone=passed is None)
        check_finite(bool(torch.isfinite(latents).all()))
        codes = self._quantized(latents, alone=passed is None)
        if block.last or attended is None:
            return CodedBlock(codes, None)
        context = known[:, max(known.shape[1] - self._context, 0) :]
        tail = joined[:, joined.shape[1] - self._before :]
        return CodedBlock(codes, Passed(to_array(context), attended, to_array(tail)))

    def _downsampled(self, positions: torch.Tensor, alone: bool) -> torch.Tensor:
        """float32 `[dim, before + n]` to `[1, dim, frames]`; `alone` are those of a recording's
        beginning."""
        stride = self._downsample.conv.stride[0]
        count = positions.shape[1] - self._before
        frames = -(-count // stride)
        # A few frames would be summed in another order than a whole recording's.
        more = 0 if alone else max(ENOUGH - frames, 0)
        behind = (frames + more) * stride - count
        padded = functional.pad(positions[None], (0, behind), mode="replicate")
        latents: torch.Tensor = self._downsample.conv(padded)[:, :, :frames]
        return latents

    def _quantized(self, latents: torch.Tensor, alone: bool) -> torch.Tensor:
        """float32 `[1, dim, frames]` to int64 `[n_q, frames]`; `alone` are those of a recording's
        beginning."""
        frames = latents.shape[2]
        if not alone and frames < ENOUGH:
            # torch computes distances of few vectors otherwise than those of many, which a whole
            # recording has.
            latents = functional.pad(latents, (0, ENOUGH - frames))
        codes: torch.Tensor = self._model.quantizer.encode(latents, self._n_q)
        return codes[:, 0, :frames]

    def decode(
        self, codes: torch.Tensor, state: DecoderState | None, last: bool
    ) -> tuple[torch.Tensor, DecoderState | None]:
        """int64 `[codebooks, frames]` to float32 `[channels, frames * frame_length]`, and what the
        next block needs."""
        latents = self._model.quantizer.decode(codes[None])[0]
        known = latents
        if state is not None:
            known = torch.cat([to_tensor(state.latent, self.device), latents], 1)
        stride = self._upsample.conv.stride[0]
        raised = self._upsample(known[None])[0, :, 0 if state is None else stride :]
        hidden, attended = self._decoder_transformer(
            raised.t(), None if state is None else state.attended, remember=not last
        )
        positions = hidden.t()
        skipped = 0
        if state is not None:
            skipped = state.context.shape[1]
            positions = torch.cat([to_tensor(state.context, self.device), positions], 1)
        samples = self._sound(positions)[:, skipped * self._hop :]
        if last or attended is None:
            return samples, None
        context = positions[:, max(positions.shape[1] - self._decoder_context, 0) :]
        kept = DecoderState(to_array(latents[:, -1:]), attended, to_array(context))
        return samples, kept

    def _sound(self, positions: torch.Tensor) -> torch.Tensor:
        """float32 `[dim, n]` to `[channels, n * hop]`."""
        samples: torch.Tensor = self._decoder_seanet(positions[None])[0]
        return samples


def looks_back(seanet: Any) -> int:
    """Positions before its own that one output of a SEANet's encoder is made of, in part at
    least."""
    samples, step = 0, 1
    for geometry in _convolutions(seanet):
        samples += geometry.padding * step
        step *= geometry.stride
    return -(-samples // step)


def decoder_looks_back(seanet: Any) -> int:
    """Of a SEANet's decoder: positions before its own that one output's samples are made of."""
    rates: list[tuple[int, int]] = []
    rate = 1
    for layer in seanet.layers:
        if type(layer).__name__ == "MimiConvTranspose1d":
            geometry = TransposedGeometry.of(layer)
            rates.append((-(-geometry.taps // geometry.stride) - 1, rate))
            rate *= geometry.stride
        else:
            rates += [(one.padding, rate) for one in _of_layer(layer)]
    return -(-sum(reach * (rate // each) for reach, each in rates) // rate)


def _convolutions(seanet: Any) -> Sequence[ConvolutionGeometry]:
    """In their order, but for shortcuts, which reach no neighbour."""
    return [geometry for layer in seanet.layers for geometry in _of_layer(layer)]


def _of_layer(layer: Any) -> list[ConvolutionGeometry]:
    kind = type(layer).__name__
    if kind == "MimiConv1d":
        return [ConvolutionGeometry.of(layer)]
    if kind == "MimiResnetBlock":
        return [one for inner in layer.block for one in _of_layer(inner)]
    return []
