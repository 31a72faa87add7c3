"""Comparing a faster network's codes with the reference's, on chunks that pass by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.codecs.base import ChunkCodes
from tokenizer.codecs.encodec.arithmetic import exact_float32
from tokenizer.codecs.encodec.networks import codes_on, normalised
from tokenizer.codecs.encodec.reference import ReferenceModules
from tokenizer.codecs.precision import PrecisionReport

PROBED_CHUNKS = 256
"""of a codec's first ones: half a million codes at 24 kbps, and seconds of work"""


def compare_codes(
    reference: ReferenceModules, chunks: Sequence[torch.Tensor], found: Sequence[torch.Tensor]
) -> PrecisionReport:
    """Compare codes with those of the reference.

    Args:
        reference: the modules of both, as they are.
        chunks: float32 `[channels, n]` each, normalised.
        found: int64 codes `[n_q, frames]` of each, by whatever network is to be judged.
    """
    report: PrecisionReport | None = None
    with torch.inference_mode(), exact_float32():
        for chunk, mine in zip(chunks, found, strict=True):
            embedding = reference.embed(chunk[None])
            theirs = reference.quantize(embedding, mine.shape[0])[:, 0]
            errors = [
                float((embedding - reference.dequantize(codes[:, None])).square().sum())
                for codes in (mine, theirs)
            ]
            equal = tuple((mine == theirs).sum(dim=1).tolist())
            one = PrecisionReport(1, mine.shape[1], equal, *errors)
            report = one if report is None else report + one
    return report or PrecisionReport(0, 0, (), 0.0, 0.0)


class Probe:
    """Keeps the comparison over a codec's first chunks."""

    def __init__(
        self,
        reference: ReferenceModules,
        device: torch.device,
        has_scales: bool,
        most: int = PROBED_CHUNKS,
    ) -> None:
        self._reference, self._device, self._has_scales = reference, device, has_scales
        self._left = most
        self.report: PrecisionReport | None = None
        """None before the first chunk"""

    def look(self, chunks: Sequence[NDArray[np.float32]], found: Sequence[ChunkCodes]) -> None:
        """Compare as many of these chunks, float32 `[channels, n]`, as are still wanted."""
        if not self.wanted(len(chunks)):
            return
        with torch.inference_mode(), exact_float32():
            # Under the lock of the arithmetic: another thread may have had the last ones.
            wanted = self.wanted(len(chunks))
            if not wanted:
                return
            samples, _ = normalised(chunks[:wanted], self._device, self._has_scales)
            codes = [codes_on(one, self._device) for one in found[:wanted]]
            report = compare_codes(self._reference, samples, codes)
            self._left -= wanted
            self.report = report if self.report is None else self.report + report

    def wanted(self, count: int) -> int:
        """How many of the next `count` chunks it will compare."""
        return min(count, self._left)
