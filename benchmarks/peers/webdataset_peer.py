"""WebDataset: tars of `.npy` members, read one after the other through a shuffle buffer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
import webdataset

from benchmarks.peers.common import Cropper, Task, batched, recordings

PACKAGE = "webdataset"
SETTINGS = "ShardWriter(maxsize=64MB), WebDataset(shardshuffle=True).shuffle(256).decode()"


def write(source: Path, folder: Path) -> None:
    with webdataset.ShardWriter(f"{folder}/train-%06d.tar", maxsize=64 << 20, verbose=0) as writer:
        for number, codes in enumerate(recordings(source)):
            writer.write({"__key__": f"{number:08d}", "codes.npy": codes})


def batches(task: Task) -> Iterator[torch.Tensor]:
    tars = sorted(map(str, task.folder.glob("*.tar")))
    crop = Cropper(task)
    # The buffer holds undecoded members, which is the cheap way round.
    data = webdataset.WebDataset(tars, shardshuffle=len(tars), seed=task.seed).shuffle(256).decode()
    while True:
        yield from batched((crop(row["codes.npy"]) for row in data), task.batch_size)
