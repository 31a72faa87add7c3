"""What is heard when: the answer of every way to find pauses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_NOT_HERE = np.float32(1e6)
"""beyond any level"""


@dataclass(frozen=True, slots=True, eq=False)
class Activity:
    """A recording in short frames of equal length."""

    level: NDArray[np.float32]
    """`[frames]`: how loud, or how likely speech; the lower, the better to cut there"""
    heard: NDArray[np.bool_]
    """`[frames]`: what must not be left out"""
    hop: float
    """source samples from one frame to the next; the last frame may be shorter"""
    samples: int
    """source samples of the recording"""

    def at(self, frame: int) -> int:
        """The source sample at which a frame begins; behind the last one, the recording's end."""
        return self.samples if frame >= len(self.level) else round(frame * self.hop)

    def frame(self, sample: float) -> int:
        """The frame that a source sample is in."""
        return min(max(0, int(sample / self.hop)), max(0, len(self.level) - 1))

    def also(self, spans: Iterable[tuple[float, float]]) -> Activity:
        """The same, and these spans (in source samples) are heard too, and no place to cut if there
        is another."""
        said = np.zeros_like(self.heard)
        for start, end in spans:
            said[self.frame(start) : self.frame(end) + 1] = True
        level = self.level + np.where(said, _NOT_HERE, np.float32(0))
        return replace(self, heard=self.heard | said, level=level)


class Listener(Protocol):
    """Is given a recording block by block, and then says what was heard."""

    def add(self, block: NDArray[np.float32]) -> None:
        """The next samples, float32 `[channels, n]` at the source's rate."""

    def result(self) -> Activity:
        """All of it."""


def runs(marks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Stretches of True as `[n, 2]`: first, and the one after the last."""
    edges = np.diff(np.concatenate([[False], marks, [False]]).astype(np.int8))
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)


def without_short(marks: NDArray[np.bool_], fewest: int) -> NDArray[np.bool_]:
    """Marks without stretches of fewer frames than this."""
    kept = np.zeros_like(marks)
    for start, end in runs(marks):
        kept[start:end] = end - start >= fewest
    return kept
