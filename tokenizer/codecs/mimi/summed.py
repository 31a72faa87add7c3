"""Mimi's SEANet encoder on a CPU as matrix products in the order in which oneDNN adds up
(`tokenizer.codecs.encodec.cpu.same_sums`): transformers' results bit for bit, and nothing is
laid out otherwise or copied for a padding.

It takes the segments of `tokenizer.codecs.mimi.segments`, but for recordings that are short: of few
numbers oneDNN and products may both add in an order of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tokenizer.codecs.encodec.cpu.same_sums import SameSums
from tokenizer.codecs.mimi.segments import Known, SegmentedSeaNet


class SummedSeaNet(SegmentedSeaNet):
    """Runs transformers' `MimiEncoder`, whose weights it takes."""

    def __init__(self, module: Any, hop: int) -> None:
        """
        Raises:
            UnknownLayer: a layer that this cannot run.
        """
        super().__init__(module, hop)
        self._sums = SameSums(module.layers, hop)
        self._before = -(-self._reach // hop)

    def __call__(self, known: Sequence[Known]) -> list[torch.Tensor]:
        cut = [
            (samples, start, stop)
            for samples, skipped in known
            for start, stop in self._cut(samples, skipped)
        ]
        found = iter(self._sums([self._window(*one) for one in cut]))
        parts = iter(next(found)[min(start, self._before) :].t() for _, start, _ in cut)
        return [
            torch.cat([next(parts) for _ in self._cut(samples, skipped)], dim=1)
            for samples, skipped in known
        ]

    def _window(self, samples: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """float32 `[n, channels]`: a segment, and before it what its outputs are made of. What is
        padded there, where the recording does not begin, reaches no output of the segment."""
        begin = max(start - self._before, 0)
        return samples[:, begin * self._hop : stop * self._hop].t().contiguous()
