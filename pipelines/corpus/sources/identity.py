"""What tells a recording of the plan from another that has taken its place since: a second run must
not read that one instead."""

from __future__ import annotations

import json
import os
import stat
import time
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, BinaryIO

from pipelines.system.places import is_remote
from pipelines.system.remote import filesystem, forget_listings
from tokenizer.errors import FailureKind, RecordingError

STREAM = "stream"
"""key of a locator: which of a file's streams of sound is meant, where it is not the file's own
choice"""
VERSION = "version"
"""key of a locator under which it is kept"""
FILE = "file"
"""key of a locator: version of the file that holds a recording among others: an archive, a table
with audio in it. Rows and members are told apart by their values, names and ends (`VERSION`), which
another audio may share"""
AUDIO = "audio"
"""key of a locator: of a row whose values are its version, what its audio can be told by without
reading it"""
_STAMPS = ("ETag", "etag", "md5Hash", "md5", "mtime", "LastModified", "last_modified", "updated")
"""what file systems call a file's version, best first"""
_WEB_STAMPS = ("Last-Modified", "ETag")
"""the same of a web host: of a file that lies on several machines ETags are often different"""
_WHILE = 20.0
"""seconds"""
_FEW = 64
"""files of one folder that are asked for one by one"""
_WEB = ("http://", "https://")
_SAMPLE = 1024
"""bytes at either end of an archive's member that are looked at"""


def stat_version(status: os.stat_result) -> str:
    """Version of a local file."""
    return f"{status.st_size}-{status.st_mtime_ns}"


def info_version(info: Mapping[str, Any]) -> str | None:
    """Version of a remote file, from what its file system tells; None when that is nothing."""
    stamps = _WEB_STAMPS if "mimetype" in info or "Last-Modified" in info else _STAMPS
    stamp = next((info[name] for name in stamps if info.get(name) is not None), None)
    if info.get("size") is None and (stamp is None or stamps is _STAMPS):
        return None
    size = "" if info.get("size") is None else f"{info['size']}"
    return size + ("" if stamp is None else f"-{stamp}")


def file_version(uri: str) -> str | None:
    """Version of a file as it is now; None when it cannot be told (the file has gone, or is not
    there yet)."""
    try:
        if not is_remote(uri):
            status = os.stat(uri)  # noqa: PTH116
            return stat_version(status) if stat.S_ISREG(status.st_mode) else None
        fs, path = filesystem(uri)
        return info_version(fs.info(path))
    except Exception:  # whatever it is, opening the file says it better
        return None


@lru_cache(maxsize=1)
def _lately(uri: str, when: int) -> str | None:
    return file_version(uri)


def remote_version(uri: str) -> str | None:
    """As `file_version`, asked for once a while: a store is asked for many members of one
    archive."""
    return _lately(uri, int(time.monotonic() / _WHILE))


def look_anew(uri: str) -> None:
    """Forget what this process was told of a store: it may live long, and come back."""
    forget_listings(uri)
    _lately.cache_clear()


def require_version(uri: str, planned: Any) -> None:
    """Refuse a file that is another one than when the corpus was listed.

    Raises:
        RecordingError: CHANGED.
    """
    now = file_version(uri) if planned else None
    if planned and now is not None and differ(str(planned), now):
        raise changed(uri, "has another size or time")


def handle_version(file: Any, uri: str) -> str | None:
    """Version of a file that is open: of a local one that very file, whatever is under its name
    now."""
    try:
        return stat_version(os.fstat(file.fileno()))
    except (AttributeError, OSError):  # not a local one
        return file_version(uri)


def require_same(name: str, planned: Any, now: str | None) -> None:
    """Refuse what lies in a file that is another one than when the corpus was listed.

    Raises:
        RecordingError: CHANGED.
    """
    if planned and now is not None and differ(str(planned), now):
        raise changed(name, "lies in a file of another size or time")


def differ(planned: str, now: str) -> bool:
    """Whether two versions are of different files."""
    # A listing may tell less than a look at the file itself: what both tell must agree.
    parts = list(zip(planned.split("-", 1), now.split("-", 1), strict=False))
    if len(parts) == 2 and _is_etag(parts[1][0]) != _is_etag(parts[1][1]):
        parts = parts[:1]  # a host that tells its files' times now, or does not any more
    return any(one != other for one, other in parts if one and other)


def _is_etag(stamp: str) -> bool:
    return stamp.removeprefix("W/").startswith('"')


class Versions:
    """Versions of remote files that a list names: a request each for the first of a folder, then
    one for every thousand of that folder. Not of the web's, where there are no lists of folders."""

    def __init__(self) -> None:
        self._folder = ""
        self._asked = 0
        self._found: dict[str, str | None] | None = None

    def of(self, uri: str) -> str | None:
        """None where it cannot be told, or would cost too much."""
        folder, _, name = uri.rpartition("/")
        if uri.startswith(_WEB):
            return None
        if folder != self._folder:
            self._folder, self._asked, self._found = folder, 0, None
        self._asked += 1
        if self._asked <= _FEW:
            return file_version(uri)
        if self._found is None:
            self._found = _listed(folder)
        return self._found.get(name)


def _listed(folder: str) -> dict[str, str | None]:
    try:
        fs, path = filesystem(folder)
        entries = fs.ls(path, detail=True)
    except Exception:  # whatever it is, opening the files says it better
        return {}
    return {str(one["name"]).rpartition("/")[2]: info_version(one) for one in entries}


def changed(name: str, how: str) -> RecordingError:
    """The error for what is not what the plan is about."""
    message = (
        f"{name}: {how} than when the corpus was listed; --retry-failed takes what is there now, "
        "or tokenize it into another OUT"
    )
    return RecordingError(FailureKind.CHANGED, message, "open")


def row_version(row: Mapping[str, Any]) -> str:
    """Version of a table's row, from its values (JSON as far as they go)."""
    content = json.dumps(row, sort_keys=True, default=str).encode("utf-8", "surrogatepass")
    return f"{zlib.crc32(content):08x}"


def member_version(file: BinaryIO, offset: int, size: int) -> str:
    """Version of an archive's member: its header, and both ends of its content."""
    file.seek(offset - 512)
    crc = zlib.crc32(file.read(512 + min(size, _SAMPLE)))
    if size > _SAMPLE:
        file.seek(offset + size - min(_SAMPLE, size - _SAMPLE))
        crc = zlib.crc32(file.read(min(_SAMPLE, size - _SAMPLE)), crc)
    return f"{crc:08x}"
