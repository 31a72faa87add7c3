"""Comparing a faster network's codes with the reference's, on chunks that pass by."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tokenizer.codecs.encodec.arithmetic import arithmetic
from tokenizer.codecs.encodec.networks import ReferenceNetwork
from tokenizer.codecs.precision import PrecisionReport

PROBED_CHUNKS = 256
"""of a codec's first ones: half a million codes at 24 kbps, and seconds of work"""


def compare_codes(
    reference: ReferenceNetwork, chunks: Sequence[torch.Tensor], found: Sequence[torch.Tensor]
) -> PrecisionReport:
    """Compare codes with those of the reference.

    Args:
        reference: the modules of both, as they are.
        chunks: float32 `[channels, n]` each, normalised.
        found: int64 codes `[n_q, frames]` of each, by whatever network is to be judged.
    """
    report: PrecisionReport | None = None
    with torch.inference_mode(), arithmetic("exact"):
        expected = reference.encode(chunks, found[0].shape[0])
        for chunk, mine, theirs in zip(chunks, found, expected, strict=True):
            embedding = reference.encoder(chunk[None])[0]
            errors = [
                float((embedding - reference.dequantize(codes[:, None])[0]).square().sum())
                for codes in (mine, theirs)
            ]
            equal = tuple((mine == theirs).sum(dim=1).tolist())
            one = PrecisionReport(1, mine.shape[1], equal, *errors)
            report = one if report is None else report + one
    return report or PrecisionReport(0, 0, (), 0.0, 0.0)


class Probe:
    """Keeps the comparison over a codec's first chunks."""

    def __init__(self, reference: ReferenceNetwork, most: int = PROBED_CHUNKS) -> None:
        self._reference, self._left = reference, most
        self.report: PrecisionReport | None = None
        """None before the first chunk"""

    def look(self, chunks: Sequence[torch.Tensor], found: Sequence[torch.Tensor]) -> None:
        """Compare as many of these chunks, see `compare_codes`, as are still wanted."""
        wanted = self.wanted(len(chunks))
        if not wanted:
            return
        report = compare_codes(self._reference, chunks[:wanted], found[:wanted])
        self._left -= wanted
        self.report = report if self.report is None else self.report + report

    def wanted(self, count: int) -> int:
        """How many of the next `count` chunks it will compare."""
        return min(count, self._left)
