"""Whether these kernels run here."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from tokenizer.codecs.encodec.gpu.batched import BatchedNetwork

CAPABILITY = (8, 0)
"""of the least card whose tensor cores take TF32"""
ALIKE = 0.9
"""of the first codebook's codes of noise, at least: fast differs in one of a hundred from torch's
TF32, exact in none"""


def usable(device: torch.device) -> bool:
    """Whether a device could run them: a card whose tensor cores take TF32, with Triton, which
    comes with torch's CUDA builds for Linux."""
    if device.type != "cuda" or find_spec("triton") is None or torch.version.cuda is None:
        return False
    return torch.cuda.get_device_capability(device) >= CAPABILITY


def agree(direct: BatchedNetwork, plain: BatchedNetwork, device: torch.device) -> bool:
    """Whether they run there and do what torch's operations do: Triton needs a C compiler and a
    folder to keep kernels in, and cards differ in the memory that a kernel may take."""
    try:
        with torch.cuda.device(device):
            same = direct.trial()[0] == plain.trial()[0]
    except Exception:  # of several kinds; torch's operations do without whatever is lacking
        return False
    return float(same.float().mean()) >= ALIKE
