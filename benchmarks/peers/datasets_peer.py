"""Hugging Face `datasets`, streaming: the ordinary Parquet shards, through a shuffle buffer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from datasets import load_dataset

from benchmarks.peers.common import Cropper, Task, batched

PACKAGE = "datasets"
SETTINGS = (
    "load_dataset('parquet', streaming=True, "
    "columns=['codes']).shuffle(buffer_size=256).with_format('numpy')"
)


def write(source: Path, folder: Path) -> None:
    """Nothing: it reads the shards as they are."""


def batches(task: Task) -> Iterator[torch.Tensor]:
    files = sorted(map(str, task.source.glob("*.parquet")))
    crop = Cropper(task)
    data = load_dataset(
        "parquet", data_files=files, split="train", streaming=True, columns=["codes"]
    )
    data = data.shuffle(seed=task.seed, buffer_size=256).with_format("numpy")
    while True:
        yield from batched((crop(row["codes"]) for row in data), task.batch_size)
