"""JSON objects with a checksum of what they hold, for files that decide what is computed: a flipped
byte would have other results without a word."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_CHECKSUM = "checksum"


def sealed(values: Mapping[str, Any]) -> bytes:
    """A JSON object with a checksum of what it holds."""
    return json.dumps({**values, _CHECKSUM: _checksum(values)}, indent=1).encode()


def unsealed(content: bytes) -> dict[str, Any]:
    """The inverse of `sealed`; also of an object without a checksum, as they were before.

    Raises:
        ValueError: it is no JSON object, or not what was written.
    """
    values = json.loads(content)
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    said = values.pop(_CHECKSUM, None)
    if said is not None and said != _checksum(values):
        raise ValueError("its checksum does not match")
    return values


def _checksum(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
