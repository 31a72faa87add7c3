"""A share of a corpus that follows from the ids alone: any run over the same corpus takes the same
recordings, whether it audits them while they are tokenized or afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

ALL = 1 << 64
"""one more than the largest number that a recording can have"""


def number(id: str) -> int:
    """A number below 2^64 that depends on nothing but the id, and spreads evenly."""
    return int.from_bytes(
        hashlib.sha256(b"audit in passing\0" + id.encode("utf-8", "surrogatepass")).digest()[:8],
        "big",
    )


def limit(share: float, ids: Iterable[str]) -> int:
    """The bound below which about `share` of the numbers of `ids` are: at least one of them."""
    return max(round(share * ALL), min(map(number, ids), default=0) + 1)
