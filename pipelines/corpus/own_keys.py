"""Keys of `meta` that are ours. Where a source has fields of these names, what it says in them is
kept as `source_flags`, `source_channel` and so on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_BESIDE = "source_"


def beside(said: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """What a source says and what we say, none of it lost."""
    meta = {**said, **ours}
    for name, value in said.items():
        if name in ours and value != ours[name]:
            meta[_free(name, meta)] = value
    return meta


def _free(name: str, taken: Mapping[str, Any]) -> str:
    while name in taken:
        name = _BESIDE + name
    return name
