"""This project's loader on its ordinary Parquet shards, with its defaults; runs in the project's own environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.peers.common import Task
from pipelines import CodesDataset, CodesLoader, Crop

PACKAGE = "codecshards"
SETTINGS = "CodesLoader(CodesDataset(…), 32, crop=Crop(chunks=10)): full shuffle, every checksum verified, two threads"


def write(source: Path, folder: Path) -> None:
    """Nothing: these are its shards."""


def batches(task: Task) -> Iterator[torch.Tensor]:
    dataset = CodesDataset(task.source.parent)
    loader = CodesLoader(dataset, task.batch_size, crop=Crop(chunks=task.chunks), seed=task.seed)
    return (batch.codes for batch in loader)
