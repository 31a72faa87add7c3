"""LitData: `optimize` to binary chunks of 64 MB, read by `StreamingDataset` in shuffled order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import litdata
import numpy as np
import torch

from benchmarks.peers.common import Cropper, Task, recordings

PACKAGE = "litdata"
SETTINGS = (
    "optimize(chunk_bytes=64MB), StreamingDataset(shuffle=True), StreamingDataLoader(num_workers=0)"
)
_rows: list[np.ndarray[Any, Any]] = []


class Crops(litdata.StreamingDataset):  # type: ignore[misc]
    """Crops as items, as LitData's documentation has it."""

    def __init__(self, task: Task) -> None:
        super().__init__(str(task.folder), shuffle=True, seed=task.seed)
        self._crop = Cropper(task)

    def __getitem__(self, index: Any) -> torch.Tensor:
        return self._crop(super().__getitem__(index)["codes"])


def write(source: Path, folder: Path) -> None:
    _rows.extend(recordings(source))
    inputs = list(range(len(_rows)))
    litdata.optimize(
        _item,
        inputs,
        output_dir=str(folder),
        chunk_bytes="64MB",
        num_workers=1,
        start_method="fork",
    )


def _item(index: int) -> dict[str, Any]:
    return {"codes": _rows[index]}


def batches(task: Task) -> Iterator[torch.Tensor]:
    loader = litdata.StreamingDataLoader(
        Crops(task), batch_size=task.batch_size, num_workers=0, drop_last=True
    )
    while True:
        yield from loader
