"""Clicks where chunks join."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipelines.auditing.results import FindingName, Remark

CLICK_RATIO = 12.0
"""curvature at a boundary over that around it; Gaussian noise reaches 4"""
CLICK_GAIN = 3.0
"""and over what the source has there"""
_NEAR, _AROUND = 8, 1024
"""samples at a boundary, and around it"""


class ClickMeter:
    """Looks for discontinuities in the reconstruction where chunks join, that the source does not
    have."""

    def __init__(self, overlap: int) -> None:
        self._overlap = overlap
        self._tails: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
        self._chunk = 0
        self.clicks: list[int] = []
        """chunks that begin with one"""

    def add(self, source: NDArray[np.float32], decoded: NDArray[np.float32]) -> None:
        """Take in the next segment of both; segments begin where chunks do."""
        if self._tails is not None and source.shape[1] > self._overlap + _AROUND:
            joined = [
                np.concatenate([tail, part[:, : self._overlap + _AROUND]], axis=1)
                for tail, part in zip(self._tails, (source, decoded), strict=True)
            ]
            at = self._tails[0].shape[1]
            if any(self._clicks(joined[0], joined[1], edge) for edge in {at, at + self._overlap}):
                self.clicks.append(self._chunk)
        self._tails = (source[:, -_AROUND:].copy(), decoded[:, -_AROUND:].copy())
        self._chunk += 1

    def remarks(self) -> Iterator[Remark]:
        if self.clicks:
            detail = (
                f"{len(self.clicks)} of {self._chunk} chunks begin with a click that the source "
                "does not have"
            )
            yield Remark(FindingName.BOUNDARY_CLICKS, detail, tuple(self.clicks[:8]))

    @staticmethod
    def _clicks(source: NDArray[np.float32], decoded: NDArray[np.float32], edge: int) -> bool:
        before, after = curvature(source, edge), curvature(decoded, edge)
        return after > CLICK_RATIO and after > CLICK_GAIN * before


def curvature(samples: NDArray[np.float32], edge: int) -> float:
    """Largest second difference within 8 samples of `edge`, over the RMS of those around it (at
    least -100 dBFS)."""
    second = np.abs(np.diff(samples.astype(np.float64), n=2, axis=1))
    near = second[:, max(0, edge - _NEAR) : edge + _NEAR]
    others = np.concatenate([second[:, : max(0, edge - _NEAR)], second[:, edge + _NEAR :]], axis=1)
    around = float(np.sqrt(np.mean(np.square(others)))) if others.size else 0.0
    return float(near.max(initial=0.0)) / max(around, 1e-5)
