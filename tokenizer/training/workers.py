"""The devices that train together: one in this process, or several through `accelerate`.

Nothing is wrapped: every device computes its own part of the batch, and gradients and codebook
statistics are summed explicitly, as the loss balancer takes gradients at the model's output, where
a wrapper would not see them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch

from tokenizer.codecs.devices import resolve_device
from tokenizer.errors import UsageError

PRECISIONS = ("float32", "bfloat16")
"""float16 is left out: its range needs a loss scaler, which would rescale what the balancer has
balanced"""


class Workers:
    """One device; the sums are what they are."""

    rank = 0
    count = 1

    def __init__(self, device: str) -> None:
        """Choose a device: "auto", "cpu", "cuda", or "cuda:N" for one of several GPUs.

        Raises:
            UsageError: no such device.
        """
        self.device = torch.device(resolve_device(device))

    @property
    def first(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over devices."""
        return tensor

    def agree(self, value: bool) -> bool:
        """True on every device if it is true on any."""
        return value

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace gradients by their means over devices."""


class AcceleratedWorkers(Workers):
    """Several processes, started by `accelerate launch` or `torchrun`."""

    def __init__(self, device: str) -> None:
        """
        Raises:
            UsageError: no such device, one card for all processes, or accelerate is missing.
        """
        if ":" in device:
            raise UsageError(
                f"device {device}: several processes train, and each takes a card of its own; use "
                "device cuda, and CUDA_VISIBLE_DEVICES to choose the cards"
            )
        super().__init__(device)
        try:
            from accelerate import Accelerator
        except ImportError as error:
            raise UsageError(
                "training on several devices needs accelerate: pip install accelerate (or "
                "'.[train]' in a clone of codecshards)"
            ) from error
        self._accelerator: Any = Accelerator(cpu=self.device.type == "cpu")
        self.device = self._accelerator.device
        self.rank, self.count = self._accelerator.process_index, self._accelerator.num_processes

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        summed: torch.Tensor = self._accelerator.reduce(tensor, reduction="sum")
        return summed

    def agree(self, value: bool) -> bool:
        return bool(self.sum(torch.tensor(float(value), device=self.device)) > 0)

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = self.sum(torch.cat([gradient.reshape(-1) for gradient in gradients])) / self.count
        for gradient, mean in zip(
            gradients, torch.split(flat, [gradient.numel() for gradient in gradients]), strict=True
        ):
            gradient.copy_(mean.view_as(gradient))


def open_workers(device: str) -> Workers:
    """The devices of this run: several when a launcher has set `WORLD_SIZE`, else one.

    Raises:
        UsageError: no such device, or accelerate is missing.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return AcceleratedWorkers(device)
    return Workers(device)
