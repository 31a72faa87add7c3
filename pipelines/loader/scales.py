"""How loud a corpus is, by the scales of its chunks."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

MOST_RECORDINGS = 1_000
"""that are looked at, from everywhere in the corpus"""


def spread_over(count: int) -> list[int]:
    """Numbers below `count`, evenly spread, at most `MOST_RECORDINGS`."""
    if not count:
        return []
    return [int(one) for one in np.linspace(0, count - 1, min(count, MOST_RECORDINGS))]


def median_of(scales: Iterable[NDArray[np.float32] | None]) -> float | None:
    """Over the chunks of all recordings; None where the codec has no scales."""
    known = [one for one in scales if one is not None]
    return float(np.median(np.concatenate(known))) if known else None
