"""Two ways to run an EnCodec's networks: transformers' own modules, and a faster one for CPUs that
gives the same codes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from tokenizer.codecs.encodec import quantizer
from tokenizer.codecs.encodec.cpu.seanet import SeaNet
from tokenizer.codecs.encodec.gpu.batches import groups
from tokenizer.codecs.encodec.quantizer import TiledQuantizer, noise
from tokenizer.codecs.encodec.static import StaticNetwork
from tokenizer.errors import FailureKind, RecordingError


class Network(ABC):
    """Normalised samples to codes and back; chunks of any lengths, each as if it were alone."""

    @abstractmethod
    def encode(self, chunks: Sequence[torch.Tensor], n_q: int) -> list[torch.Tensor]:
        """float32 `[channels, n]` each, to int64 codes `[n_q, frames]` each.

        Raises:
            RecordingError: an encoder's output is not finite.
        """

    @abstractmethod
    def decode(self, codes: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """int64 `[n_q, frames]` each, to float32 `[channels, frames * frame_length]` each."""


class ReferenceNetwork(Network):
    """transformers' modules on a chunk at a time: what `EncodecModel.encode` computes, on any
    device."""

    def __init__(self, model: Any, static: bool = False) -> None:
        """With `static` their operations alone, without waiting for the device: bit for bit the
        same, see `StaticNetwork`."""
        wrap: Callable[[Any], Any] = StaticNetwork if static else lambda module: module
        self.encoder, self.decoder = wrap(model.encoder), wrap(model.decoder)
        self._quantizer = model.quantizer
        self.stacked = 1
        """chunks that go through the modules at once: in company they are rounded differently, and
        on a CPU slower"""

    def encode(self, chunks: Sequence[torch.Tensor], n_q: int) -> list[torch.Tensor]:
        results: list[torch.Tensor] = list(chunks)
        finite = []
        for indices in self._stacks([chunk.shape[1] for chunk in chunks]):
            embeddings = self._embedded(torch.stack([chunks[i] for i in indices]))
            finite.append(torch.isfinite(embeddings).all())
            codes = self.quantize(embeddings, n_q)
            for place, i in enumerate(indices):
                results[i] = codes[:, place]
        if finite:
            check_finite(torch.stack(finite))
        return results

    def _embedded(self, samples: torch.Tensor) -> torch.Tensor:
        try:
            embeddings: torch.Tensor = self.encoder(samples)
        except RuntimeError as error:
            if "padding" not in str(error).lower():
                raise
            message = (
                f"the codec's padding does not fit a chunk of {samples.shape[2]} samples: {error}"
            )
            raise RecordingError(FailureKind.ENCODER, message, "encode") from error
        return embeddings

    def quantize(self, embeddings: torch.Tensor, n_q: int) -> torch.Tensor:
        """float32 `[rows, dim, frames]` to int64 `[n_q, rows, frames]`.

        As `EncodecResidualVectorQuantizer.encode` does, which takes a bandwidth where this takes
        its number of codebooks.
        """
        residual, levels = embeddings, []
        for layer in self._quantizer.layers[:n_q]:
            indices = layer.encode(residual)
            residual = residual - layer.decode(indices)
            levels.append(indices)
        return torch.stack(levels)

    def dequantize(self, codes: torch.Tensor) -> torch.Tensor:
        """int64 `[n_q, rows, frames]` to float32 `[rows, dim, frames]`."""
        embeddings: torch.Tensor = self._quantizer.decode(codes)
        return embeddings

    def decode(self, codes: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        results: list[torch.Tensor] = list(codes)
        for indices in self._stacks([one.shape[1] for one in codes]):
            stacked = torch.stack([codes[i] for i in indices], dim=1)
            for i, samples in zip(indices, self.decoder(self.dequantize(stacked)), strict=True):
                results[i] = samples
        return results

    def _stacks(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        for _, indices in groups(lengths, self.stacked):
            yield indices


class TiledNetwork(Network):
    """The same networks by `SeaNet`, more than twice as fast on a CPU, and with the reference where
    rounding could matter.

    A chunk with a code that rounding could have decided (`tokenizer.codecs.encodec.quantizer`) is
    encoded again by the reference, and has its codes whatever they are.

    Not to be shared between threads.
    """

    def __init__(self, model: Any, reference: ReferenceNetwork) -> None:
        """
        Raises:
            UnknownLayer: the model has layers that `SeaNet` cannot run.
        """
        self._encoder, self._decoder = SeaNet(model.encoder), SeaNet(model.decoder)
        self._quantize = TiledQuantizer(
            [layer.codebook.embed.detach() for layer in model.quantizer.layers]
        )
        self._quantizer = model.quantizer
        self._reference = reference
        self.repeated = 0
        """chunks that the reference has settled so far"""

    def encode(self, chunks: Sequence[torch.Tensor], n_q: int) -> list[torch.Tensor]:
        found, conditions = self._encoder.conditioned(chunks)
        embeddings = [embedding.t().contiguous() for embedding in found]
        frames = [embedding.shape[0] for embedding in embeddings]
        joined = torch.cat(embeddings)
        check_finite(torch.isfinite(joined).all())
        sizes = torch.cat(
            [embedding.square().mean().sqrt().expand(len(embedding)) for embedding in embeddings]
        )
        condition = torch.tensor(conditions).repeat_interleave(torch.tensor(frames))
        codes, certainty = self._quantize(joined, n_q, noise(joined, sizes, condition))
        results: list[torch.Tensor] = list(codes.split(frames, dim=1))  # type: ignore[no-untyped-call]
        for i, certain in enumerate(certainty.split(frames)):  # type: ignore[no-untyped-call]
            if float(certain.min()) < quantizer.CERTAIN:
                results[i] = self._reference.encode([chunks[i]], n_q)[0]
                self.repeated += 1
        return results

    def decode(self, codes: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return self._decoder([self._quantizer.decode(one[:, None])[0] for one in codes])


def check_finite(finite: torch.Tensor) -> None:
    """
    Raises:
        RecordingError: something is not.
    """
    if not bool(finite.all()):
        raise RecordingError(FailureKind.ENCODER, "the codec's output is not finite", "encode")
