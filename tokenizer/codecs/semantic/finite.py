"""Whether what is quantized is finite, where a model hands out nothing but the codes: quantizers
make codes of anything, and bounds make infinities numbers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def finite_outputs(module: Any) -> Iterator[list[torch.Tensor]]:
    """Collect of each output that a module gives in this thread whether it is finite, bool `[]` on
    its device."""
    seen, thread = list[torch.Tensor](), threading.get_ident()

    def look(_: Any, inputs: Any, output: torch.Tensor) -> None:
        if threading.get_ident() == thread:
            seen.append(torch.isfinite(output).all())

    hook = module.register_forward_hook(look)
    try:
        yield seen
    finally:
        hook.remove()
