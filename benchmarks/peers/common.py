"""What every peer shares: the codes it is given, the crops that are taken from them, the batch that
comes out.

Runs in the peers' own environment: NumPy, pyarrow and torch, nothing of this project.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

CHUNK_FRAMES = 150
CHECKSUMS = "checksums.npy"


@dataclass(frozen=True)
class Task:
    """What is asked of every reader alike."""

    folder: Path
    """the peer's own format"""
    source: Path
    """the Parquet shards that everything was written from"""
    chunks: int
    """of a crop"""
    batch_size: int
    seed: int
    verify: frozenset[int] | None = None
    """checksums of all recordings, in a run that checks what peers hand out instead of timing it"""


class Cropper:
    """Crops of whole recordings, from a random chunk on: int64 `[n_q, frames]`, padded where a
    recording is shorter."""

    def __init__(self, task: Task) -> None:
        self._frames = task.chunks * CHUNK_FRAMES
        self._rng = np.random.default_rng(task.seed)
        self._known = task.verify

    def start(self, frames: int) -> int:
        """First frame of a random crop."""
        chunks = max(0, frames - self._frames) // CHUNK_FRAMES
        return CHUNK_FRAMES * int(self._rng.integers(chunks + 1))

    def __call__(self, codes: np.ndarray[Any, Any]) -> torch.Tensor:
        if self._known is not None and checksum(codes) not in self._known:
            raise SystemExit("a peer hands out codes that were never written")
        first = self.start(codes.shape[1])
        return self.fill(codes[:, first : first + self._frames])

    def fill(self, part: np.ndarray[Any, Any]) -> torch.Tensor:
        """A part as a row of a batch, widened in one copy."""
        row = torch.full((len(part), self._frames), 1024)
        row.numpy()[:, : part.shape[1]] = part
        return row


def batched(rows: Iterable[torch.Tensor], size: int) -> Iterator[torch.Tensor]:
    """Rows stacked to batches `[B, n_q, frames]`."""
    held: list[torch.Tensor] = []
    for row in rows:
        held.append(row)
        if len(held) == size:
            yield torch.stack(held)
            held = []


def recordings(source: Path) -> Iterator[np.ndarray[Any, Any]]:
    """Codes of every recording, uint16 `[n_q, frames]`, from ordinary Parquet shards."""
    for path in sorted(source.glob("*.parquet")):
        shard = pq.ParquetFile(path)
        for number in range(shard.num_row_groups):
            for row in shard.read_row_group(number, columns=["codes"])["codes"].combine_chunks():
                levels = row.values
                yield levels.flatten().to_numpy().reshape(len(levels), -1)


def checksum(codes: np.ndarray[Any, Any]) -> int:
    """CRC-32 of a recording."""
    return zlib.crc32(np.ascontiguousarray(codes, np.uint16).tobytes())
