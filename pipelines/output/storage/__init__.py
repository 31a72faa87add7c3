"""Files of an output folder, local or on anything fsspec writes to: atomic, and first writer wins
where that matters."""

from __future__ import annotations

import os

from pipelines.output.storage.base import Storage
from pipelines.output.storage.local import LOCK, TEMPORARY, LocalStorage
from pipelines.output.storage.remote import RemoteStorage
from pipelines.system.places import is_remote, local_path, require_place
from tokenizer.errors import UsageError

__all__ = ["LOCK", "TEMPORARY", "LocalStorage", "RemoteStorage", "Storage", "open_storage"]


def open_storage(root: str | os.PathLike[str]) -> Storage:
    """The storage of an output folder; nothing is made or touched yet.

    Raises:
        UsageError: it has no name, as of a shell's variable that is not set, is half a URL, or no
            text.
    """
    root = os.fspath(root) if isinstance(root, os.PathLike) else root
    if not root:
        raise UsageError("OUT is empty: give a folder, or what else can be written to")
    if not isinstance(root, str):
        raise UsageError(f"OUT {root!r}: give a path or URL")
    require_place(root)
    return RemoteStorage(root) if is_remote(root) else LocalStorage(local_path(root))
