"""What shards became when they were pushed before: hash and size by what they were made from, so
that a second push need not write every shard again to see that it is there already.

It lies in the user's cache (`$XDG_CACHE_HOME`, or `~/.cache`), not in OUT, which may be on a store,
and is made anew where it is missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

_MOST = 200_000
"""shards that are remembered; the oldest go first"""


class Remembered:
    """The shards of one output folder, as they are published."""

    def __init__(self, root: str, how: Sequence[Any]) -> None:
        """
        Args:
            root: of the output folder.
            how: what decides, beside a shard's content, what is written of it.
        """
        key = hashlib.sha256(root.encode("utf-8", "surrogatepass")).hexdigest()[:24]
        self._path = _cache() / "push" / f"{key}.json"
        # Another version may write the same rows as other bytes.
        made = [version("codecshards"), pa.__version__, *how]
        self._how = json.dumps(made, sort_keys=True, default=str)
        self._known: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            found = json.loads(self._path.read_text(encoding="utf-8"))
            if isinstance(found, dict):
                self._known = found

    def get(self, content: str) -> tuple[str, int] | None:
        """SHA-256 and bytes of what was written of a shard with this SHA-256."""
        found = self._known.get(self._key(content))
        if isinstance(found, list) and len(found) == 2:
            return str(found[0]), int(found[1])
        return None

    def put(self, content: str, digest: str, size: int) -> None:
        """Remember it."""
        key = self._key(content)
        self._known.pop(key, None)  # to the end
        self._known[key] = [digest, size]

    def facts(self, contents: Sequence[str | None], found: Callable[[], Any]) -> Any:
        """What was found out about all rows of shards with these SHA-256, as JSON has it: asked for
        once."""
        key = self._key("facts " + hashlib.sha256(json.dumps(list(contents)).encode()).hexdigest())
        if key not in self._known:
            self._known[key] = found()
        return self._known[key]

    def save(self) -> None:
        """Write all down; where that is not possible, the next push does the work again."""
        for key in list(self._known)[: max(len(self._known) - _MOST, 0)]:
            del self._known[key]
        temporary = self._path.with_name(f"{self._path.name}.{uuid.uuid4().hex}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(self._known), encoding="utf-8")
            temporary.replace(self._path)
        except OSError:
            with suppress(OSError):
                temporary.unlink()

    def _key(self, content: str) -> str:
        return hashlib.sha256(f"{content} {self._how}".encode()).hexdigest()


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "codecshards"
