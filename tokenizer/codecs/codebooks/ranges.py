"""Codes outside of their codebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def outside(codes: NDArray[np.integer[Any]], sizes: Sequence[int]) -> str:
    """What is wrong with codes `[n_q, frames]` of which each level has a codebook of its own size,
    in words; empty where nothing is."""
    if not codes.size:
        return ""
    one = min(sizes) == max(sizes)
    if one and int(codes.min()) >= 0 and int(codes.max()) < sizes[0]:  # the fast way for most
        return ""
    for level, (values, size) in enumerate(zip(codes, sizes, strict=False)):
        found = values[(values < 0) | (values >= size)]
        if len(found):
            which = "the codebook" if one else f"codebook {level}"
            return f"code {int(found[0])} is outside {which} of {size}"
    return ""
