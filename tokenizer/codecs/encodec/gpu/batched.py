"""EnCodec in batches of fixed shapes: what runs on a GPU, where small kernels and waiting cost more
than arithmetic.

Full chunks share batches without masks; shorter ones share batches whose width is the next of a
few, each row masked to its own length, by torch's operations
(`tokenizer.codecs.encodec.gpu.masked`) or kernels of our own
(`tokenizer.codecs.encodec.gpu.direct`). Rows are independent, so that a batch may be filled up with
silent ones. From samples to codes nothing is read back: scales, codes and what must be looked at
again come to the host once a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.chunking import frames_of
from tokenizer.codecs.base import ChunkCodes
from tokenizer.codecs.encodec.arithmetic import arithmetic
from tokenizer.codecs.encodec.gpu.batches import (
    ROWS,
    Batch,
    Batcher,
    Plan,
    batches,
    filled,
    groups,
    rows_that_fit,
)
from tokenizer.codecs.encodec.gpu.doubt import flat, in_doubt, noise_of_rows
from tokenizer.codecs.encodec.gpu.fused import Fused
from tokenizer.codecs.encodec.gpu.graphs import (
    Layout,
    Runner,
    Shape,
    Work,
    fill,
    open_runner,
)
from tokenizer.codecs.encodec.gpu.masked import MaskedEncoder
from tokenizer.codecs.encodec.gpu.settling import Settling
from tokenizer.codecs.encodec.networks import Network, check_finite
from tokenizer.codecs.encodec.quantizer import half_squares, quantize, quantize_quickly
from tokenizer.codecs.encodec.reference import ReferenceModules
from tokenizer.codecs.encodec.scales import row_scales

Quantizer = Callable[[torch.Tensor, torch.Tensor | None], tuple[torch.Tensor, torch.Tensor]]
"""frames, float32 `[frames, dim]`, and how far rounding may have moved them, to codes
`[n_q, frames]` and their certainty; None: it is not asked for"""


class BatchedNetwork(Network):
    """Chunks of samples to codes and back, in batches of fixed shapes.

    With "exact" precision, a chunk with a code that rounding could have decided is settled
    (`tokenizer.codecs.encodec.gpu.settling`): it has the codes and the scale that transformers'
    operations give for it alone. Other scales are added up in parts of a fixed size, the same
    whatever shares a batch, and may differ from transformers' in a float32's last bit.

    Threads may share it: while one waits for results, others start batches.
    """

    settled_alone = 0
    """of the `repeated`, those that were encoded alone in the end"""

    def __init__(
        self,
        model: Any,
        reference: ReferenceModules,
        n_q: int,
        precision: str = "exact",
        fused: Fused | None = None,
        direct: bool = False,
        beside: bool = True,
    ) -> None:
        """`reference` has the same modules and does not look at the device. With `fused`, the
        encoder's operations between convolutions are compiled; with `direct`, it and the quantizer
        are kernels of our own (`tokenizer.codecs.encodec.gpu.direct`). `beside` as `Settling`.

        Raises:
            UnknownLayer: the model has layers that this cannot run.
        """
        self._hop, self._width = int(model.config.hop_length), int(model.config.chunk_length)
        self._normalised = bool(model.config.normalize)
        self._encoding = EncodeWork(model, n_q, precision == "exact", fused, direct)
        self._settling = Settling(model, reference, n_q, self._settler, beside)
        self._decoding = DecodeWork(reference)
        self._precision, self._n_q = precision, n_q
        self._device = next(model.parameters()).device
        self._batchers: dict[Work, Batcher] = {}
        self._lock = Lock()

    def encode(self, chunks: Sequence[NDArray[np.float32]]) -> list[ChunkCodes]:
        results: list[Any] = [None] * len(chunks)
        doubtful: list[int] = []
        for indices, (codes, scales, finite, near) in self._encoder().run(chunks):
            check_finite(bool(finite[: len(indices)].all()))
            for row, i in enumerate(indices):
                results[i] = self._coded(chunks[i], codes[:, row], scales[row])
            doubtful += [i for row, i in enumerate(indices) if near[row]]
            enough = self._settling.enough([chunks[i].shape[1] for i in doubtful])
            self._settle([doubtful[place] for place in enough], chunks, results)
            doubtful = [i for place, i in enumerate(doubtful) if place not in enough]
        self._settle(doubtful, chunks, results)
        return results

    @torch.inference_mode()
    def trial(self) -> torch.Tensor:
        """Codes `[n_q, frames]` of a chunk of noise, by what encodes batches, not captured."""
        channels = self._encoding.layout(Shape(1, self._width))[0][0][1]
        noise = np.random.default_rng(0).standard_normal((1, channels, self._width))
        with arithmetic(self._precision):
            codes = self._encoding(torch.from_numpy(noise.astype(np.float32)).to(self._device))[0]
        return codes[:, 0].cpu()

    def decode(self, chunks: Sequence[ChunkCodes]) -> list[NDArray[np.float32]]:
        results: list[Any] = [None] * len(chunks)
        for indices, (samples,) in self._decoder().run(chunks):
            for row, i in enumerate(indices):
                results[i] = samples[row]
        return results

    def _settle(
        self, again: Sequence[int], chunks: Sequence[NDArray[np.float32]], results: list[ChunkCodes]
    ) -> None:
        """Beside the batches that are under way."""
        if not again:
            return
        settled, alone = self._settling.settle([chunks[i] for i in again])
        for i, (codes, scale) in zip(again, settled, strict=True):
            results[i] = self._coded(chunks[i], codes, scale)
        with self._lock:
            self.repeated += len(again)
            self.settled_alone += alone

    def _coded(self, chunk: NDArray[np.float32], codes: NDArray[Any], scale: Any) -> ChunkCodes:
        frames = frames_of(chunk.shape[1], self._hop)
        return ChunkCodes(
            codes[:, :frames].astype(np.uint16), float(scale) if self._normalised else None
        )

    def _encoder(self) -> Batcher:
        return self._batcher(
            self._encoding, self._precision, self._plan, Shape(1, self._width, masked=True)
        )

    def _settler(
        self, work: Work, plan: Plan, largest: Shape, rows: tuple[int, ...], lanes: int
    ) -> Batcher:
        return self._batcher(work, "exact", plan, largest, lanes, rows)

    def _decoder(self) -> Batcher:
        row = Shape(1, frames_of(self._width, self._hop), levels=self._n_q)
        return self._batcher(self._decoding, "exact", self._plan_codes, row)

    def _plan(self, chunks: Sequence[NDArray[np.float32]], rows: tuple[int, ...]) -> list[Batch]:
        return batches([chunk.shape[1] for chunk in chunks], self._width, rows)

    def _plan_codes(self, chunks: Sequence[ChunkCodes], rows: tuple[int, ...]) -> list[Batch]:
        """Full chunks in a few shapes, and shorter ones with others of their length."""
        full = frames_of(self._width, self._hop)
        found: list[Batch] = []
        for (levels, frames), indices in groups([chunk.codes.shape for chunk in chunks], rows[-1]):
            # A shape of a length of its own is not captured, and needs no empty rows.
            sizes = rows if frames == full else (len(indices),)
            found += filled(indices, Shape(1, frames, levels=levels), sizes)
        return found

    def _batcher(
        self,
        work: Work,
        precision: str,
        plan: Plan,
        row: Shape,
        lanes: int = 1,
        rows: tuple[int, ...] | None = None,
    ) -> Batcher:
        """Made when it is first needed, so that what is never done takes no memory; without `rows`
        for batches of as many as fit."""
        with arithmetic(precision):  # no other thread captures meanwhile
            if work not in self._batchers:
                rows = rows or self._rows()
                largest = replace(row, rows=rows[-1])
                self._batchers[work] = Batcher(
                    self._runner(work, precision, largest, lanes), plan, rows
                )
            return self._batchers[work]

    def _rows(self) -> tuple[int, ...]:
        if self._device.type == "cpu":
            return ROWS
        return rows_that_fit(torch.cuda.mem_get_info(self._device)[0], self._width)

    def _runner(self, work: Work, precision: str, largest: Shape, lanes: int) -> Runner:
        return open_runner(work, precision, self._device, largest, lanes)


class Encoder(Protocol):
    """Samples to embeddings."""

    def conditioned(
        self, samples: torch.Tensor, lengths: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """As `MaskedEncoder.conditioned`."""


class EncodeWork(Work):
    """Samples to codes, and whether they are beyond doubt."""

    modest = True

    def __init__(
        self,
        model: Any,
        n_q: int,
        exact: bool,
        fused: Fused | None = None,
        direct: bool = False,
    ) -> None:
        """`fused` and `direct` as `BatchedNetwork`.

        Raises:
            UnknownLayer: the model has layers that this cannot run.
        """
        self._channels, self._normalised = (
            int(model.config.audio_channels),
            bool(model.config.normalize),
        )
        codebooks = [layer.codebook.embed.detach() for layer in model.quantizer.layers[:n_q]]
        halves = [half_squares(codebook) for codebook in codebooks]
        if direct:
            from tokenizer.codecs.encodec.gpu.direct.encoder import DirectEncoder
            from tokenizer.codecs.encodec.gpu.direct.quantizer import DirectQuantizer

            self._encoder: Encoder = DirectEncoder(model.encoder, exact)
            self._quantize: Quantizer = DirectQuantizer(codebooks, halves, exact)
        else:
            # Tensor cores, which only "fast" uses, would have every tensor turned around before and
            # after each convolution.
            self._encoder = MaskedEncoder(model.encoder, channels_last=not exact, fused=fused)
            self._quantize = partial(_quantized, codebooks, halves)
        self._exact = exact

    def layout(self, shape: Shape) -> Layout:
        samples = ((shape.rows, self._channels, shape.width), torch.float32)
        return [samples, ((shape.rows,), torch.int64)] if shape.masked else [samples]

    def fill(self, inputs: Sequence[torch.Tensor], items: Sequence[NDArray[np.float32]]) -> None:
        lengths = (
            inputs[1] if len(inputs) > 1 else torch.empty(inputs[0].shape[0], dtype=torch.int64)
        )
        fill(inputs[0], lengths, items)

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """A batch float32 `[rows, channels, width]` to int16 codes `[n_q, rows, frames]` and, for
        each row, its scale, whether the encoder's output is finite, and whether rounding could have
        decided one of its codes.
        """
        samples, lengths = inputs if len(inputs) > 1 else (inputs[0], None)
        scales = row_scales(samples, lengths)
        divided = samples / scales[:, None, None] if self._normalised else samples
        embeddings, frames, condition = self._encoder.conditioned(divided, lengths)
        # What lies beyond a row's end is zero, which is finite.
        finite = torch.isfinite(embeddings).all(dim=2).all(dim=1)
        moved = noise_of_rows(embeddings, frames, condition) if self._exact else None
        codes, certainty = self._quantize(flat(embeddings), moved)
        rows, _, count = embeddings.shape
        near = torch.zeros_like(finite) if moved is None else in_doubt(certainty, rows, frames)
        return codes.view(-1, rows, count).to(torch.int16), scales, finite, near


def _quantized(
    codebooks: Sequence[torch.Tensor],
    halves: Sequence[torch.Tensor],
    frames: torch.Tensor,
    moved: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    if moved is not None:
        return quantize(frames, codebooks, halves, moved)
    return quantize_quickly(frames, codebooks, halves), frames


class DecodeWork(Work):
    """Codes to samples."""

    def __init__(self, reference: ReferenceModules) -> None:
        self._reference = reference

    def layout(self, shape: Shape) -> Layout:
        return [
            ((shape.levels, shape.rows, shape.width), torch.int64),
            ((shape.rows, 1, 1), torch.float32),
        ]

    def fill(self, inputs: Sequence[torch.Tensor], items: Sequence[ChunkCodes]) -> None:
        codes, scales = inputs
        codes.zero_()
        scales.fill_(1.0)
        for row, chunk in enumerate(items):
            codes[:, row] = torch.from_numpy(chunk.codes.astype(np.int64))
            if chunk.scale is not None:
                scales[row] = chunk.scale

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """int64 `[n_q, rows, frames]` and scales `[rows, 1, 1]`, to samples float32 `[rows,
        channels, frames * hop]`."""
        codes, scales = inputs
        return (self._reference.decoder(self._reference.dequantize(codes)) * scales,)
