"""Where a name leads: URLs and local paths told apart, spellings found, and links and paths that
leave the data refused."""

from __future__ import annotations

import os
import re
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tokenizer.errors import FailureKind, RecordingError, UsageError

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(::[A-Za-z][A-Za-z0-9+.-]*)*://")
"""the beginning of a URL, perhaps a chained one (`simplecache::s3://…`); `Artist :: Title.mp3` is
none"""
_CHAIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*::|.*::[A-Za-z][A-Za-z0-9+.-]*://", re.DOTALL)
_LOCAL = ("file", "local")


def scheme(name: str) -> str | None:
    """All of a URL before its `://`, in lower case; None for a local path, whatever colons are in
    it."""
    if "://" not in name:
        return None
    found = _URL.match(name)
    return found.group(0)[:-3].lower() if found else None


def is_remote(uri: str) -> bool:
    """Whether a name is a URL that fsspec opens, not a local file."""
    return (scheme(uri) or "file") not in _LOCAL


def is_chain(uri: str) -> bool:
    """Whether a URL is of one file system in another (`simplecache::s3://…`, `zip://a::s3://…`); an
    object's name may have such colons too."""
    return _CHAIN.match(uri) is not None


def local_path(name: str) -> str:
    """The local path that a name means: `file://` taken off, its escapes too unless a file is
    called so, and `~` resolved."""
    if scheme(name) in _LOCAL:
        path = name.split("://", 1)[1].removeprefix("localhost")
        return path if os.path.lexists(path) else unquote(path)
    if name.startswith("~") and not os.path.lexists(name):
        return os.path.expanduser(name)  # noqa: PTH111  (what has no such user stays as it is)
    return name


def places_named(source: Any) -> tuple[str, ...]:
    """What a caller in Python gives for one or more SOURCEs: a path or URL, or several.

    Raises:
        UsageError: something else.
    """
    try:
        given = [source] if isinstance(source, str | os.PathLike) else list(source)
        return tuple(os.fspath(one) for one in given)
    except TypeError as error:
        raise UsageError(f"SOURCE {source!r}: give a path or URL, or a list of them") from error


_HALF = re.compile(r"([A-Za-z][A-Za-z0-9+]+):(/[^/].*|//+)", re.DOTALL)


def require_place(name: str) -> None:
    """Refuse what begins like a URL and leads nowhere: `s3://`, and `s3:/bucket`, which would be a
    folder here.

    Raises:
        UsageError: it does.
    """
    found = _HALF.fullmatch(name)
    if found is None or os.path.lexists(f"{found.group(1)}:"):
        return
    from fsspec.registry import known_implementations

    if found.group(1).lower() in (*_LOCAL, *known_implementations):
        raise UsageError(f"{name}: give {found.group(1)}:// and then a place")


def leaves(path: str, folder: str) -> bool:
    """Whether a path leads out of a folder once its links are resolved."""
    real, root = os.path.realpath(path), os.path.realpath(folder)
    return real != root and not real.startswith(root.rstrip("/") + "/")


def require_inside(path: str, folder: str) -> None:
    """Refuse what leads out of the source.

    Raises:
        RecordingError: UNREADABLE.
    """
    if leaves(path, folder):
        message = (
            f"{path}: leads out of the source, to {os.path.realpath(path)}; --follow-links reads "
            "it all the same"
        )
        raise RecordingError(FailureKind.UNREADABLE, message, "check")


def within(path: str, folder: str, *, follow: bool) -> str:
    """Where a path in a cell of a data set leads: relative to the data, and inside it unless
    `follow`.

    Args:
        path: as the cell has it.
        folder: the folder or URL that the data lies in.

    Raises:
        RecordingError: it leads out of the data.
    """
    remote = is_remote(folder)
    parts = path.replace("\\", "/").split("/")
    outside = scheme(path) is not None or path.startswith(("/", "~")) or ".." in parts
    if outside and not follow:
        message = (
            f"{path!r}: a path in the data that leads out of it ({folder}); --follow-links reads "
            "it all the same"
        )
        raise RecordingError(FailureKind.UNREADABLE, message, "check")
    if is_remote(path) or (
        outside and not remote and path.startswith(("/", "~", "file:", "local:"))
    ):
        return path if is_remote(path) else local_path(path)
    place = f"{folder.rstrip('/')}/{path}"
    if not remote:
        place = spelled(place)
        if not follow and os.path.lexists(place):
            require_inside(place, folder)
    return place


def spelled(path: str) -> str:
    """A local path as the disk spells it: composed and decomposed accents are one name to people. A
    path that is there, or nowhere in any spelling, stays as it is."""
    if path.isascii() or os.path.lexists(path):
        return path
    found = "/" if path.startswith("/") else "."
    for part in Path(path).parts:
        if part == "/":
            continue
        there = os.path.join(found, part)  # noqa: PTH118
        if not os.path.lexists(there):
            name = _names(found).get(unicodedata.normalize("NFC", part))
            if name is None:
                return path
            there = os.path.join(found, name)  # noqa: PTH118
        found = there
    return found


@lru_cache(64)
def _names(folder: str) -> dict[str, str]:
    """Names in a folder by their composed form."""
    try:
        return {
            unicodedata.normalize("NFC", name): name
            for name in sorted(entry.name for entry in Path(folder).iterdir())
        }
    except OSError:
        return {}


_PASSED_ON = ("AWS_", "FSSPEC_", "CODECSHARDS_PATIENCE")
_OF_THIS_MACHINE = {
    "AWS_CA_BUNDLE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "FSSPEC_CONFIG_DIR",
}
"""they name files, which other machines need not have"""


def store_environment() -> dict[str, str]:
    """This process's settings for stores, as a process on another machine needs them."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_PASSED_ON) and name not in _OF_THIS_MACHINE
    }
