"""MosaicML Streaming: MDS shards of 64 MB, uncompressed, read by `StreamingDataset` in shuffled
order."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from benchmarks.peers.common import Cropper, Task, batched, recordings


class StandIn(ModuleType):
    """A module in which every name is an empty class."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def import_streaming() -> Any:
    """The package, which imports its data sets of images, and with them torchvision, whose wheel
    needs CUDA's libraries."""
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError, OSError):
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in (
            "torchvision",
            "torchvision.datasets",
            "torchvision.transforms",
            "torchvision.transforms.functional",
        ):
            sys.modules[name] = StandIn(name)
            sys.modules[name].__spec__ = ModuleSpec(name, None)
            sys.modules[name].__path__ = []
    return importlib.import_module("streaming")


streaming = import_streaming()

PACKAGE = "mosaicml-streaming"
SETTINGS = (
    "MDSWriter(ndarray:uint16, size_limit=64MB), StreamingDataset(shuffle=True), read in the "
    "process"
)


def write(source: Path, folder: Path) -> None:
    with streaming.MDSWriter(
        out=str(folder), columns={"codes": "ndarray:uint16"}, size_limit=64 << 20
    ) as writer:
        for codes in recordings(source):
            writer.write({"codes": codes})


def batches(task: Task) -> Iterator[torch.Tensor]:
    crop = Cropper(task)
    dataset = streaming.StreamingDataset(
        local=str(task.folder), shuffle=True, batch_size=task.batch_size
    )
    while True:
        yield from batched((crop(row["codes"]) for row in dataset), task.batch_size)
