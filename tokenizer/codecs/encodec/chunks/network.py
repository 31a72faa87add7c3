"""The networks of a codec with chunks on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tokenizer.codecs.encodec.certainty import uncertain
from tokenizer.codecs.encodec.chunks.encoder import SameEncoder
from tokenizer.codecs.encodec.cpu.tiled_network import TiledNetwork
from tokenizer.codecs.encodec.networks import UnknownLayer, check_finite
from tokenizer.codecs.encodec.reference import ReferenceModules


class SameNetwork(TiledNetwork):
    """`TiledNetwork`, but that full chunks have transformers' embeddings bit for bit, where that is
    proven, so that none of them has to be encoded again.

    Not to be shared between threads.
    """

    def __init__(self, model: Any, modules: ReferenceModules, n_q: int) -> None:
        """`modules` are the model's.

        Raises:
            UnknownLayer: the model has layers that this cannot run.
        """
        if model.config.chunk_length is None:
            raise UnknownLayer("an encoder of recordings of any length")
        super().__init__(model, modules, n_q)
        self._same = SameEncoder(model.encoder, int(model.config.chunk_length))
        self.quantized_again = 0
        """full chunks so far with a code that rounding in the quantizer could have decided"""

    def to_codes(self, chunks: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        full = [i for i, chunk in enumerate(chunks) if chunk.shape[1] == self._same.length]
        if not full or not self._same.proven:
            return super().to_codes(chunks)
        shorter = [i for i in range(len(chunks)) if i not in set(full)]
        found = dict(zip(full, self._full([chunks[i] for i in full]), strict=True))
        if shorter:
            found |= zip(shorter, super().to_codes([chunks[i] for i in shorter]), strict=True)
        return [found[i] for i in range(len(chunks))]

    def _full(self, chunks: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        embeddings = self._same(chunks)
        joined = torch.cat(embeddings)
        check_finite(bool(torch.isfinite(joined).all()))
        codes, certainty = self._quantize(joined, self.n_q, torch.zeros(len(joined)))
        frames = [len(one) for one in embeddings]
        results = list(torch.split(codes, frames, dim=1))
        for i, certain in enumerate(torch.split(certainty, frames)):
            if bool(uncertain(certain.min())):
                there = embeddings[i].t()[None].contiguous()
                results[i] = self._modules.quantize(there, self.n_q)[:, 0]
                self.quantized_again += 1
        return results
