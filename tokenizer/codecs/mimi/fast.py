"""The same networks on a CPU, with the SEANets, which take four fifths of the time, done otherwise:
the encoder's as matrix products (`tokenizer.codecs.mimi.summed`), or, where these do not fit, in
segments (`tokenizer.codecs.mimi.segments`), bit for bit the same; the decoder's, of which so much
is not asked, tile by tile (`tokenizer.codecs.encodec.cpu.tiles`)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import torch

from tokenizer.codecs.encodec.networks import UnknownLayer
from tokenizer.codecs.mimi.network import MimiNetwork, decoder_looks_back
from tokenizer.codecs.mimi.segments import LEAST, Known, SegmentedSeaNet


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

    @cached_property
    def _summed(self) -> SegmentedSeaNet | None:
        """None where a layer is too narrow for it."""
        # Its kernels need numba, which takes a second to load, and who decodes does without.
        from tokenizer.codecs.mimi.summed import SummedSeaNet

        with suppress(UnknownLayer):
            return SummedSeaNet(self._seanet, self._hop)
        return None

    def _embed(self, known: Sequence[Known], parts: Sequence[bool]) -> list[torch.Tensor]:
        ways = [self._way(*one, part) for one, part in zip(known, parts, strict=True)]
        found: dict[int, torch.Tensor] = {}
        for way in dict.fromkeys(ways):
            own = [i for i, other in enumerate(ways) if other is way]
            embed = way or self._by_modules
            found.update(zip(own, embed([known[i] for i in own]), strict=True))
        return [found[i] for i in range(len(known))]

    def _way(
        self, samples: torch.Tensor, skipped: int, part: bool = False
    ) -> SegmentedSeaNet | None:
        """The fastest that has transformers' bits; None are its own modules. How long a `part` is
        says nothing of the order in which its recording is summed."""
        segmented = self._segmented
        if not skipped and not part and not segmented.usual(samples.shape[1]):
            return None
        if samples.shape[1] >= (skipped + LEAST) * self._hop:
            summed = self._summed
            if summed is not None and summed.proven:
                return summed
        return segmented if segmented.proven else None

    def _sound(self, positions: torch.Tensor) -> torch.Tensor:
        if self._tiled is None:
            from tokenizer.codecs.mimi.tiled import TiledDecoder

            back = decoder_looks_back(self._decoder_seanet)
            self._tiled = TiledDecoder(self._decoder_seanet, back, self._hop)
        samples: torch.Tensor = self._tiled(positions.t()).t()
        return samples
