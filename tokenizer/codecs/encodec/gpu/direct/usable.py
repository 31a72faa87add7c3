"""Whether these kernels run here."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec

import torch

CAPABILITY = (8, 0)
"""of the least card whose tensor cores take TF32"""


@lru_cache
def usable(device: torch.device) -> bool:
    """Whether a device runs them: a card that can, with Triton, which comes with torch's CUDA
    builds for Linux, and with what Triton needs to build kernels: a C compiler and a folder to keep
    them in."""
    if device.type != "cuda" or find_spec("triton") is None:
        return False
    if torch.version.cuda is None or torch.cuda.get_device_capability(device) < CAPABILITY:
        return False
    try:
        with torch.cuda.device(device):
            return _adds(device)
    except Exception:  # whatever is lacking, torch's own operations do without
        return False


def _adds(device: torch.device) -> bool:
    """Whether a kernel can be built, and does what it should."""
    from tokenizer.codecs.encodec.gpu.direct.parts import Parts, joined

    terms = tuple(torch.full((1, 4, 16), value, device=device) for value in (1.0, 2.0))
    lengths = torch.full((1,), 4, dtype=torch.int64, device=device)
    found = joined(Parts(terms, (), (), lengths), elu=False).terms[0]
    return bool((found == 3.0).all())
