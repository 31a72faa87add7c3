"""JSON files that tell when they are damaged: the last member is a SHA-256 of all that stands
before it.

A flipped byte, a cut, an edit by hand and a file that was only half written all end in the same
answer. Where a seal is required, a file is refused without one that fits; where files from before
there were seals are to be read too, one that has none at all is taken as it is.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

_SEAL = re.compile(rb',\n "checksum": "([0-9a-f]{64})"\n}\n\Z')
_END = b"\n}"


def seal(values: Mapping[str, Any], *, sort_keys: bool = False) -> bytes:
    """A JSON object with its checksum; it must have a member. Lone surrogates survive, as JSON's
    own escapes."""
    text = json.dumps(dict(values), ensure_ascii=False, indent=1, sort_keys=sort_keys)
    body = text.encode("utf-8", "backslashreplace").removesuffix(_END)
    return body + f',\n "checksum": "{_digest(body)}"\n}}\n'.encode()


def unseal(content: bytes, *, required: bool = True) -> dict[str, Any]:
    """The inverse of `seal`; without `required` also of an object that has no checksum.

    Raises:
        ValueError: the content is not, byte for byte, what `seal` made.
    """
    found = _SEAL.search(content)
    if found is None:
        values = {} if required else _object(content)
        if required or "checksum" in values:
            raise ValueError("it does not end with its checksum")
        return values
    body = content[: found.start()]
    if _digest(body) != found.group(1).decode():
        raise ValueError("its checksum does not match")
    return _object(body + _END)


def _object(content: bytes) -> dict[str, Any]:
    values = json.loads(content)
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    return values


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
