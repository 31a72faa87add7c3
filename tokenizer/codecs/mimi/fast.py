"""The same networks on a CPU, with the SEANets, which take four fifths of the time, done otherwise:
the encoder's in segments (`tokenizer.codecs.mimi.segments`), bit for bit the same; the decoder's,
of which so much is not asked, tile by tile (`tokenizer.codecs.encodec.cpu.tiles`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tokenizer.codecs.mimi.network import MimiNetwork, decoder_looks_back
from tokenizer.codecs.mimi.segments import Known, SegmentedSeaNet


class SegmentedMimi(MimiNetwork):
    """What follows the encoder's SEANet are transformers' own modules."""

    def __init__(self, model: Any, n_q: int) -> None:
        """
        Raises:
            UnknownLayer: the model has layers that this cannot run.
        """
        super().__init__(model, n_q)
        self._segmented = SegmentedSeaNet(self._seanet, self._hop)
        self._tiled: Any = None

    def _embed(self, known: Sequence[Known]) -> list[torch.Tensor]:
        network = self._segmented
        if not network.proven:
            return super()._embed(known)
        usual = [bool(skipped) or network.usual(samples.shape[1]) for samples, skipped in known]
        found = iter(network([one for one, fits in zip(known, usual, strict=True) if fits]))
        return [
            next(found) if fits else super(SegmentedMimi, self)._embed([one])[0]
            for one, fits in zip(known, usual, strict=True)
        ]

    def _sound(self, positions: torch.Tensor) -> torch.Tensor:
        if self._tiled is None:
            # Its kernels need numba, which takes a second to load.
            from tokenizer.codecs.mimi.tiled import TiledDecoder

            back = decoder_looks_back(self._decoder_seanet)
            self._tiled = TiledDecoder(self._decoder_seanet, back, self._hop)
        samples: torch.Tensor = self._tiled(positions.t()).t()
        return samples
