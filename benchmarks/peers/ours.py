"""This project's loader on its ordinary Parquet shards; like the other peers it reads when a batch
is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.peers.common import Task
from pipelines import CodesDataset, CodesLoader, Crop

PACKAGE = "codecshards"
SETTINGS = (
    "CodesLoader(CodesDataset(…), 32, crop=Crop(chunks=10), threads=0): full shuffle, every "
    "checksum verified"
)


def write(source: Path, folder: Path) -> None:
    """Nothing: these are its shards."""


def batches(task: Task, threads: int | None = 0) -> Iterator[torch.Tensor]:
    dataset = CodesDataset(task.source.parent)
    loader = CodesLoader(
        dataset, task.batch_size, crop=Crop(chunks=task.chunks), seed=task.seed, threads=threads
    )
    return (batch.codes for batch in loader)
