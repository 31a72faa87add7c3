"""Two ways to run an EnCodec's networks: transformers' own modules, and a faster one for CPUs that gives the same codes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from tokenizer.chunking import in_groups
from tokenizer.codecs import quantizer
from tokenizer.codecs.quantizer import TiledQuantizer, noise
from tokenizer.codecs.seanet import SeaNet
from tokenizer.errors import FailureKind, RecordingError

STACKED_CHUNKS = {"cpu": 1, "cuda": 64}
"""chunks that go through transformers' modules at once; on a CPU more are slower"""


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
    """transformers' modules on stacks of equally long chunks: what `EncodecModel.encode` computes, and on any device."""

    def __init__(self, model: Any, device: torch.device) -> None:
        self._model = model
        self._stacked = STACKED_CHUNKS[device.type]

    def encode(self, chunks: Sequence[torch.Tensor], n_q: int) -> list[torch.Tensor]:
        results: list[torch.Tensor] = list(chunks)
        for indices in self._stacks([chunk.shape[1] for chunk in chunks]):
            embeddings = self._model.encoder(torch.stack([chunks[i] for i in indices]))
            check_finite(embeddings)
            codes = self._quantize(embeddings, n_q)
            for place, i in enumerate(indices):
                results[i] = codes[:, place]
        return results

    def _quantize(self, embeddings: torch.Tensor, n_q: int) -> torch.Tensor:
        """As `EncodecResidualVectorQuantizer.encode` does, which takes a bandwidth where this takes its number of codebooks."""
        residual, levels = embeddings, []
        for layer in self._model.quantizer.layers[:n_q]:
            indices = layer.encode(residual)
            residual = residual - layer.decode(indices)
            levels.append(indices)
        return torch.stack(levels)

    def decode(self, codes: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        results: list[torch.Tensor] = list(codes)
        for indices in self._stacks([one.shape[1] for one in codes]):
            stacked = torch.stack([codes[i] for i in indices], dim=1)
            for i, samples in zip(indices, self._model.decoder(self._model.quantizer.decode(stacked)), strict=True):
                results[i] = samples
        return results

    def _stacks(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        same: defaultdict[int, list[int]] = defaultdict(list)
        for i, length in enumerate(lengths):
            same[length].append(i)
        for indices in same.values():
            for group in in_groups(len(indices), self._stacked):
                yield indices[group]


class TiledNetwork(Network):
    """The same networks by `SeaNet`, more than twice as fast on a CPU, and with the reference where rounding could matter.

    A chunk with a code that rounding could have decided (`tokenizer.codecs.quantizer`) is encoded again by the reference, and
    has its codes whatever they are.

    Not to be shared between threads.
    """

    def __init__(self, model: Any, reference: ReferenceNetwork) -> None:
        """
        Raises:
            UnknownLayer: the model has layers that `SeaNet` cannot run.
        """
        self._encoder, self._decoder = SeaNet(model.encoder), SeaNet(model.decoder)
        self._quantize = TiledQuantizer([layer.codebook.embed.detach() for layer in model.quantizer.layers])
        self._quantizer = model.quantizer
        self._reference = reference
        self.repeated = 0
        """chunks that the reference has settled so far"""

    def encode(self, chunks: Sequence[torch.Tensor], n_q: int) -> list[torch.Tensor]:
        embeddings = [embedding.t().contiguous() for embedding in self._encoder(chunks)]
        frames = [embedding.shape[0] for embedding in embeddings]
        joined = torch.cat(embeddings)
        check_finite(joined)
        sizes = torch.cat([embedding.square().mean().sqrt().expand(len(embedding)) for embedding in embeddings])
        codes, certainty = self._quantize(joined, n_q, noise(joined, sizes))
        results: list[torch.Tensor] = list(codes.split(frames, dim=1))  # type: ignore[no-untyped-call]
        for i, certain in enumerate(certainty.split(frames)):  # type: ignore[no-untyped-call]
            if float(certain.min()) < quantizer.CERTAIN:
                results[i] = self._reference.encode([chunks[i]], n_q)[0]
                self.repeated += 1
        return results

    def decode(self, codes: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return self._decoder([self._quantizer.decode(one[:, None])[0] for one in codes])


def check_finite(embeddings: torch.Tensor) -> None:
    """
    Raises:
        RecordingError: NaN or infinity among them.
    """
    if not bool(torch.isfinite(embeddings).all()):
        raise RecordingError(FailureKind.ENCODER, "the codec's output is not finite", "encode")
