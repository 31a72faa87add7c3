"""The segments that a coder is trained on, and those that it is judged by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tokenizer.errors import ShapeError

_CODES = 0x636F6465
"""of a seed's many uses, the drawing of batches"""


@dataclass(slots=True)
class Segments:
    """Segments of many recordings, in memory."""

    sizes: tuple[int, ...]
    _parts: list[NDArray[np.uint16]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    """of each segment's recording"""
    recordings: int = 0

    def add(self, codes: NDArray[np.uint16], lengths: Sequence[int], id: str | None = None) -> None:
        """A recording: `[n_q, frames]`, cut into segments of these lengths.

        Raises:
            ShapeError: a code that is not in its codebook.
        """
        if (codes.max(axis=1, initial=0) >= np.array(self.sizes)).any():
            raise ShapeError(f"recording {id}: a code that is not in its codebook")
        self.recordings += 1
        at = 0
        for length in lengths:
            self.ids.append(id or "")
            self._parts.append(np.ascontiguousarray(codes[:, at : at + length]))
            at += length

    @property
    def frames(self) -> int:
        return sum(part.shape[1] for part in self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, number: int) -> NDArray[np.uint16]:
        return self._parts[number]

    def draw(self, count: int, seed: int, step: int) -> list[NDArray[np.uint16]]:
        """Segments of a step: a function of seed and step alone, each as likely as it is long."""
        rng = np.random.default_rng([seed, _CODES, step])
        lengths = np.array([part.shape[1] for part in self._parts], np.float64)
        ends = np.cumsum(lengths)
        found = np.searchsorted(ends, rng.random(count) * ends[-1], side="right")
        return [self._parts[min(int(one), len(self._parts) - 1)] for one in found]

    def counts(self, level: int) -> NDArray[np.int64]:
        """How often each code of a level occurs."""
        found = np.zeros(self.sizes[level], np.int64)
        for part in self._parts:
            found += np.bincount(part[level], minlength=len(found))
        return found

    def identity(self) -> str:
        """A hash of all codes, 16 hex digits: a run that goes on must find the same."""
        digest = hashlib.sha256(repr(self.sizes).encode())
        for part in self._parts:
            digest.update(repr(part.shape).encode() + part.tobytes())
        return digest.hexdigest()[:16]


def share_of(id: str) -> float:
    """A number from 0 to 1 that depends on a recording's id alone: below `--hold-out-share` it is
    held out, in every corpus that has it."""
    return int.from_bytes(hashlib.sha256(id.encode()).digest()[:8], "big") / 2**64


def lengths_of(chunk_frames: Sequence[int], longest: int) -> list[int]:
    """Lengths of a recording's segments: its chunks, and where those are longer than `longest`,
    stretches of that."""
    found = []
    for frames in map(int, chunk_frames):
        found += [longest] * (frames // longest)
        if frames % longest:
            found.append(frames % longest)
    return found
