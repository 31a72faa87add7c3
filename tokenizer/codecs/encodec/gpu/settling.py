"""Chunks in doubt: side by side first, and what is still in doubt then alone; or all of them alone.

Alone, a chunk has transformers' codes whatever they are, but leaves most of a GPU idle. Side by
side, every layer but the LSTM has the very bits that it has alone for what goes into it, and only
the LSTM and the search in the codebooks are computed in company, and rounded as that comes:

    scale, convolutions, norms │ LSTM │ last convolution │ codebooks
           as alone            │ here │     as alone     │   here

So rounding may move a frame much less, and far fewer codes are near enough to a tie; alone, the
chunks of these begin at the LSTM. Full chunks go through a captured graph
(`tokenizer.codecs.encodec.gpu.beside`); shorter ones, whose lengths are any, have layers of their
own each and share the LSTM, where they end in zeros: it looks backwards only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from tokenizer.chunking import frames_of
from tokenizer.codecs.encodec.arithmetic import arithmetic, modest_memory
from tokenizer.codecs.encodec.certainty import BESIDE
from tokenizer.codecs.encodec.gpu.batches import (
    Batch,
    Batcher,
    Plan,
    Rows,
    by_length,
    filled,
    one_by_one,
)
from tokenizer.codecs.encodec.gpu.beside import RowsConvolution, RowsEncoder, Together
from tokenizer.codecs.encodec.gpu.doubt import flat, in_doubt, noise_of_rows
from tokenizer.codecs.encodec.gpu.graphs import Layout, Shape, Work, fill, put
from tokenizer.codecs.encodec.networks import UnknownLayer
from tokenizer.codecs.encodec.quantizer import half_squares, quantize
from tokenizer.codecs.encodec.reference import ReferenceModules, StaticNetwork
from tokenizer.codecs.encodec.scales import normalise

ROWS = (8, 32)
"""chunks that are settled side by side in one batch"""
FLOOR = 32
"""rows that take as long as what such a batch costs however few it has: its normalisations and its
LSTM"""
FEW = 2
"""chunks that are done sooner alone, in lanes of their own"""
LANES, BESIDE_LANES = 4, 2
"""chunks alone, and batches of those side by side, that are computed at the same time: neither
fills a GPU, but each lane is captured anew"""

Chunk = NDArray[np.float32]
Coded = tuple[NDArray[Any], float]
"""codes int16 `[n_q, frames]`, of which the first are the chunk's own, and its scale"""
Begun = tuple[NDArray[np.float32], float]
"""what has the bits of alone: the LSTM's input `[channels, frames]`, and the scale"""


class Opener(Protocol):
    """Opens a batcher, and gives the same one the next time."""

    def __call__(
        self, work: Work, plan: Plan, largest: Shape, rows: tuple[int, ...], lanes: int
    ) -> Batcher: ...


class Settling:
    """Chunks to transformers' codes for each alone. Threads may share it."""

    def __init__(
        self,
        model: Any,
        reference: ReferenceModules,
        n_q: int,
        opener: Opener,
        beside: bool = True,
    ) -> None:
        """`reference` has the same modules and does not look at the device; `beside`: side by side
        first, where the model has layers that can be run so.
        """
        self._beside = False
        self._width, self._hop = int(model.config.chunk_length), int(model.config.hop_length)
        self._open = opener
        self.alone = SettleWork(model, reference, n_q)
        self._tried = False
        if beside:
            with suppress(UnknownLayer):
                self._open_beside(model, reference, n_q)

    def _open_beside(self, model: Any, reference: ReferenceModules, n_q: int) -> None:
        front, back = split(model.encoder)
        self.rest = Rest(model, back, n_q)
        self.full = FullWork(model, front, self.rest)
        self.shorter = ShorterWork(model, front, self.rest)
        self.rest_alone = RestAlone(back, reference, n_q)
        self._beside = True

    def enough(self, lengths: Sequence[int]) -> list[int]:
        """Which of the chunks that wait, by their samples, fill the largest batches; alone, none
        has to wait."""
        if not self._beside:
            return list(range(len(lengths)))
        found: list[int] = []
        for places in self._kinds(lengths):
            found += places[: len(places) - len(places) % ROWS[-1]]
        return found

    def settle(self, chunks: Sequence[Chunk]) -> tuple[list[Coded], int]:
        """The codes of each, and how many of them were encoded alone, from the LSTM or from the
        samples on.

        Slots in here are held by nobody who waits for a slot of the batches.
        """
        found: dict[int, Coded] = {}
        begun: dict[int, Begun] = {}
        full, shorter = self._kinds([chunk.shape[1] for chunk in chunks])
        for places, batcher in ((full, self._full), (shorter, self._shorter)):
            if self._beside and len(places) > FEW:
                begun |= self._settle_beside(batcher, places, chunks, found)
        alone = len(chunks) - len(found)
        if begun:
            self._finish_alone(begun, found)
        left = [place for place in range(len(chunks)) if place not in found]
        if left:
            for (at,), (codes, scales) in self._alone().run([chunks[place] for place in left]):
                found[left[at]] = codes[:, 0], float(scales[0])
        return [found[place] for place in range(len(chunks))], alone

    def _settle_beside(
        self,
        opened: Callable[[], Batcher],
        places: Sequence[int],
        chunks: Sequence[Chunk],
        found: dict[int, Coded],
    ) -> dict[int, Begun]:
        """Add those that are in no doubt then, and give what the others can go on from; neither has
        those for which the device has too little memory."""
        some, begun = [chunks[place] for place in places], {}
        try:
            for indices, (codes, scales, near, hidden) in opened().run(some):
                for row, at in enumerate(indices):
                    if near[row]:
                        # Its own frames, in memory of their own: the batch's is given back.
                        own = hidden[row, :, : frames_of(some[at].shape[1], self._hop)].copy()
                        begun[places[at]] = own, float(scales[row])
                    else:
                        found[places[at]] = codes[:, row], float(scales[row])
        except torch.OutOfMemoryError:
            pass
        return begun

    def _finish_alone(self, begun: Mapping[int, Begun], found: dict[int, Coded]) -> None:
        """Add them; not all where the device has too little memory."""
        places, inputs = list(begun), [hidden for hidden, _ in begun.values()]
        try:
            for (at,), (codes,) in self._rest_alone().run(inputs):
                found[places[at]] = codes[:, 0], begun[places[at]][1]
        except torch.OutOfMemoryError:
            return

    def _kinds(self, lengths: Sequence[int]) -> tuple[list[int], list[int]]:
        """Places of full chunks and of shorter ones."""
        full = [place for place, length in enumerate(lengths) if length == self._width]
        return full, [place for place, length in enumerate(lengths) if length < self._width]

    def _full(self) -> Batcher:
        with arithmetic("exact"):  # no other thread captures meanwhile
            if not self._tried:
                self.full.try_out([Shape(rows, self._width) for rows in ROWS])
                self._tried = True
            return self._open(self.full, full_ones, Shape(1, self._width), ROWS, BESIDE_LANES)

    def _shorter(self) -> Batcher:
        largest = Rows(ROWS[-1], self._width, lengths=(self._width,) * ROWS[-1])
        return self._open(self.shorter, by_length, largest, ROWS, BESIDE_LANES)

    def _rest_alone(self) -> Batcher:
        largest = Shape(1, frames_of(self._width, self._hop))
        return self._open(self.rest_alone, one_by_one, largest, (1,), LANES)

    def _alone(self) -> Batcher:
        return self._open(self.alone, one_by_one, Shape(1, self._width), (1,), LANES)


def full_ones(chunks: Sequence[Chunk], rows: tuple[int, ...]) -> list[Batch]:
    """Batches of full chunks."""
    return filled(range(len(chunks)), Shape(1, chunks[0].shape[1]), rows, FLOOR)


def split(encoder: Any) -> tuple[list[Any], list[Any]]:
    """Layers before the LSTM, and it with those behind.

    Raises:
        UnknownLayer: there is none.
    """
    layers = list(encoder.layers)
    for at, layer in enumerate(layers):
        if type(layer).__name__ == "EncodecLSTM":
            return layers[:at], layers[at:]
    raise UnknownLayer("an encoder without an LSTM")


class Rest:
    """From the LSTM's input to codes, in a batch."""

    def __init__(self, model: Any, layers: Sequence[Any], n_q: int) -> None:
        """
        Raises:
            UnknownLayer: other layers than an LSTM, an ELU and a convolution.
        """
        kinds = [type(layer).__name__ for layer in layers]
        if kinds != ["EncodecLSTM", "ELU", "EncodecConv1d"]:
            raise UnknownLayer(f"an encoder that ends with {kinds}")
        self._lstm, elu, last = layers
        self._elu, self._last = Together(elu), RowsConvolution(last)
        self._codebooks = [layer.codebook.embed.detach() for layer in model.quantizer.layers[:n_q]]
        self._halves = [half_squares(codebook) for codebook in self._codebooks]

    def embed(
        self, hidden: torch.Tensor, own: Sequence[int] | None = None, trial: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 `[rows, channels, frames]`, to embeddings `[rows, dim, frames]`, with zeros
        beyond each row's `own` frames, and the condition `[rows]` that what the LSTM rounds is
        grown by."""
        y = self._lstm(hidden).contiguous()
        if own is None:
            return self._last.conditioned(self._elu(y, trial), trial)
        # The last convolution reflects at a row's own end.
        rows = [self._elu(y[row : row + 1, :, :n]) for row, n in enumerate(own)]
        pairs = [self._last.conditioned(one) for one in rows]
        padded = [functional.pad(one, (0, y.shape[2] - one.shape[2])) for one, _ in pairs]
        return torch.cat(padded), torch.cat([condition for _, condition in pairs])

    def __call__(
        self,
        hidden: torch.Tensor,
        own: Sequence[int] | None = None,
        lengths: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Likewise, with `own` on the device too, to int16 codes `[n_q, rows, frames]`, and whether
        what was rounded in here could have decided one of a row's."""
        embeddings, condition = self.embed(hidden, own)
        moved = BESIDE * noise_of_rows(embeddings, lengths, condition)
        codes, certainty = quantize(flat(embeddings), self._codebooks, self._halves, moved)
        rows, _, frames = embeddings.shape
        finite = torch.isfinite(embeddings).all(dim=2).all(dim=1)
        near = in_doubt(certainty, rows, lengths) | ~finite
        return codes.view(len(self._codebooks), rows, frames).to(torch.int16), near


class FullWork(Work):
    """Full chunks side by side."""

    modest = True

    def __init__(self, model: Any, front: Sequence[Any], rest: Rest) -> None:
        """
        Raises:
            UnknownLayer: a layer that `RowsEncoder` cannot run.
        """
        self._channels = int(model.config.audio_channels)
        self._device: torch.device = next(model.parameters()).device
        self.front, self._rest = RowsEncoder(front, bool(model.config.normalize)), rest

    @torch.inference_mode()
    def try_out(self, shapes: Sequence[Shape]) -> None:
        """See which steps may run in one call for batches of these shapes. Not in a capture: it
        waits for the device."""
        for shape in shapes:
            source = torch.Generator(self._device).manual_seed(shape.rows)
            size = (shape.rows, self._channels, shape.width)
            with suppress(torch.OutOfMemoryError), modest_memory(self._device):
                samples = torch.randn(size, generator=source, device=self._device)
                self._rest.embed(self.front(samples, trial=True)[0], trial=True)
            # Where the memory did not do, the steps that are left go row by row.
        if self._device.type == "cuda":
            torch.cuda.empty_cache()  # which other streams could not use

    def layout(self, shape: Shape) -> Layout:
        return [((shape.rows, self._channels, shape.width), torch.float32)]

    def fill(self, inputs: Sequence[torch.Tensor], items: Sequence[Chunk]) -> None:
        fill(inputs[0], torch.empty(inputs[0].shape[0], dtype=torch.int64), items)

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """float32 `[rows, channels, n]` to int16 codes `[n_q, rows, frames]` and, for each row, its
        scale, whether one of its codes is still in doubt, and the LSTM's input `[rows, out,
        frames]`."""
        hidden, scales = self.front(inputs[0])
        codes, near = self._rest(hidden)
        return codes, scales.view(-1), near, hidden


class ShorterWork(Work):
    """Shorter chunks of any lengths."""

    captured = False
    modest = True

    def __init__(self, model: Any, front: Sequence[Any], rest: Rest) -> None:
        self._channels = int(model.config.audio_channels)
        self._normalised = bool(model.config.normalize)
        self._hop = int(model.config.hop_length)
        self._front, self._rest = StaticNetwork(SimpleNamespace(layers=front)), rest

    def layout(self, shape: Shape) -> Layout:
        lengths = shape.lengths if isinstance(shape, Rows) else (shape.width,) * shape.rows
        chunks = [((1, self._channels, length), torch.float32) for length in lengths]
        return [*chunks, ((len(lengths),), torch.int64)]

    def fill(self, inputs: Sequence[torch.Tensor], items: Sequence[Chunk]) -> None:
        for row, chunk in enumerate(items):
            put(inputs[row][0], chunk)
            inputs[-1][row] = frames_of(chunk.shape[1], self._hop)

    def hidden(
        self, chunks: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, list[int], torch.Tensor]:
        """float32 `[1, channels, n]` each, to the LSTM's input `[rows, out, most frames]`, with
        zeros beyond each row's end, the frames of each, and scales `[rows]`."""
        found, scales = [], []
        for chunk in chunks:
            divided, scale = normalise(chunk)
            found.append(self._front(divided if self._normalised else chunk))
            scales.append(scale.view(-1))
        own = [one.shape[2] for one in found]
        padded = [functional.pad(one, (0, max(own) - one.shape[2])) for one in found]
        return torch.cat(padded), own, torch.cat(scales)

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Chunks float32 `[1, channels, n]` and their frames int64 `[rows]`, to what `FullWork`
        gives, with zeros beyond each row's end in the LSTM's input."""
        *chunks, frames = inputs
        hidden, own, scales = self.hidden(chunks)
        codes, near = self._rest(hidden, own, frames)
        return codes, scales, near, hidden


class Alone(Work):
    """One at a time."""

    modest = True

    def __init__(self, channels: int, reference: ReferenceModules, n_q: int) -> None:
        """`channels` of what goes in."""
        self._channels, self._reference, self._n_q = channels, reference, n_q

    def layout(self, shape: Shape) -> Layout:
        return [((shape.rows, self._channels, shape.width), torch.float32)]

    def fill(self, inputs: Sequence[torch.Tensor], items: Sequence[NDArray[np.float32]]) -> None:
        put(inputs[0][0], items[0])

    def _codes(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Int16 `[n_q, 1, frames]`."""
        return self._reference.quantize(embeddings, self._n_q).to(torch.int16)


class RestAlone(Alone):
    """A chunk from the LSTM's input on, to the codes that `SettleWork` gives: by the same
    operations, on what has the bits of alone, and its layout, by which libraries may choose."""

    def __init__(self, layers: Sequence[Any], reference: ReferenceModules, n_q: int) -> None:
        """`layers` are the LSTM and those behind it."""
        super().__init__(int(layers[0].lstm.input_size), reference, n_q)
        self._layers = StaticNetwork(SimpleNamespace(layers=layers))

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """float32 `[1, channels, frames]`, to int16 codes `[n_q, 1, frames]`."""
        return (self._codes(self._layers(inputs[0])),)


class SettleWork(Alone):
    """A chunk, to the codes and the scale that `EncodecModel.encode` gives for it."""

    def __init__(self, model: Any, reference: ReferenceModules, n_q: int) -> None:
        super().__init__(int(model.config.audio_channels), reference, n_q)
        self._normalised = bool(model.config.normalize)

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """float32 `[1, channels, n]`, to int16 codes `[n_q, 1, frames]` and the scale `[1]`."""
        samples, scales = normalise(inputs[0])
        embeddings = self._reference.encoder(samples if self._normalised else inputs[0])
        return self._codes(embeddings), scales.view(-1)
