"""The same with the loader's defaults: a thread reads ahead while a model trains."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.peers import ours
from benchmarks.peers.common import Task

PACKAGE = ours.PACKAGE
SETTINGS = "the same with the default, one thread that reads ahead"
write = ours.write


def batches(task: Task) -> Iterator[torch.Tensor]:
    return ours.batches(task, None)
