"""Devices by name: "auto", "cpu", "cuda", or one of several GPUs as "cuda:N". torch is imported
when a name has to be resolved."""

from __future__ import annotations

import os
import re

from tokenizer.errors import CodecLoadError

_NAMES = re.compile(r"auto|cpu|cuda(:\d+)?", re.ASCII)


def require_device_name(device: object) -> str:
    """The name of a device, of which torch's own are known too.

    Raises:
        CodecLoadError: not the name of a device, whether there is such a one or not.
    """
    name = str(device)
    if not _NAMES.fullmatch(name):
        raise CodecLoadError(f"device {name}: choose one of auto, cpu, cuda, or cuda:N for one GPU")
    return name


def resolve_device(device: object) -> str:
    """The device that a name stands for on this machine: "cpu", "cuda" or "cuda:N".

    Raises:
        CodecLoadError: not the name of a device, or this machine has none of that name.
    """
    name = require_device_name(device)
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return name
    if not torch.cuda.is_available():
        raise CodecLoadError(
            f"device {device}: torch sees no GPU here; use device cpu, or a torch build with CUDA"
        )
    _, _, index = name.partition(":")
    count = torch.cuda.device_count()
    if index and int(index) >= count:
        there = "cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        raise CodecLoadError(f"device {device}: torch sees {there} here; choose one of these")
    return f"cuda:{int(index)}" if index else name


def device_kind(device: str) -> str:
    """A device's name without its number: all cards of a machine are one kind."""
    return device.partition(":")[0]


def batch_chunks(device: str) -> int:
    """Chunks that make an efficient batch on a device."""
    # Two batches of the largest shape, so that one is copied while the other is computed.
    return 512 if device_kind(device) == "cuda" else 16


def repeatable_products() -> None:
    """Have cuBLAS round a product the same each time. To be called before the first CUDA call of
    the process; a setting that the user made stays.

    With streams side by side cuBLAS picks workspaces as they are free, and with them the order in
    which it adds, unless their sizes are fixed (CUDA's manual, "Results reproducibility").
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
