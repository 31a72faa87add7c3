"""Which of how many processes this is: among the ranks of a training job, and among a DataLoader's
workers."""

from __future__ import annotations

import os

import torch.distributed
import torch.utils.data

from tokenizer.errors import UsageError


def find_rank(rank: int | None, world: int | None) -> tuple[int, int]:
    """Rank and world size: as given, from the process group that is set up, from torchrun's
    environment, or 0 of 1.

    Raises:
        UsageError: only one of the two is given, or a rank outside the world.
    """
    if (rank is None) != (world is None):
        raise UsageError("give both rank and world, or neither")
    if rank is None or world is None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        else:
            rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if not 0 <= rank < world:
        raise UsageError(f"rank {rank} of {world}: ranks are numbered from 0")
    return rank, world


def find_worker() -> tuple[int, int]:
    """Number and count of a DataLoader's worker processes; 0 of 1 outside of them."""
    info = torch.utils.data.get_worker_info()
    return (0, 1) if info is None else (info.id, info.num_workers)
