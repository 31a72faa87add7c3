"""A memory map: all codes in one uint16 file, and where each recording begins. The floor: no
packing, no checksums, no ids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.peers.common import Cropper, Task, recordings

PACKAGE = "numpy"
SETTINGS = "one uint16 file and an array of offsets, recordings drawn at random"


def write(source: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shapes = []
    with (folder / "codes.bin").open("wb") as file:
        for codes in recordings(source):
            file.write(codes.tobytes())
            shapes.append(codes.shape)
    np.save(folder / "shapes.npy", np.array(shapes, np.int64))


def batches(task: Task) -> Iterator[torch.Tensor]:
    shapes = np.load(task.folder / "shapes.npy")
    ends = np.cumsum(shapes.prod(axis=1))
    codes = np.memmap(task.folder / "codes.bin", np.uint16, "r")
    crop, rng = Cropper(task), np.random.default_rng(task.seed)
    while True:
        chosen = rng.integers(len(ends), size=task.batch_size)
        yield torch.stack(
            [crop(codes[ends[i] - shapes[i].prod() : ends[i]].reshape(shapes[i])) for i in chosen]
        )
