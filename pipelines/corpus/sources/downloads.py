"""Remote files of a corpus, copied to local ones."""

from __future__ import annotations

import errno
import uuid
from typing import Any, BinaryIO

from fsspec.utils import get_protocol

from pipelines.system.outages import causes, judge, status_of
from pipelines.system.remote import AS_SOURCE, PIECE, WEB, connect, filesystem, patiently
from tokenizer.errors import SourceUnavailable

ROW_OF_DEAD = 5
"""web hosts that do not answer, one after the other, until it is no longer the recordings' fault"""


class Unanswered(OSError):
    """A store that answers, but never for this object; or a web host that does not answer at
    all."""


_dead_in_a_row = 0


def download(uri: str, into: BinaryIO, start: int = 0, size: int | None = None) -> None:
    """Copy a remote file, or `size` bytes of it from `start`, to the beginning of a local one.

    Raises:
        SourceUnavailable: the store does not answer.
        Unanswered: it answers, but not for this file; or this one web host does not.
        OSError: what it says about the file.
    """
    global _dead_in_a_row
    fs, path = filesystem(uri)
    try:
        if get_protocol(uri) in WEB:  # many servers know no ranges
            patiently(lambda: _copy_whole(fs, path, into, start, size), uri)
        else:
            _copy_pieces(fs, path, into, start, size)
    except SourceUnavailable as error:
        _dead_in_a_row += 1
        if _dead_in_a_row < ROW_OF_DEAD and (get_protocol(uri) in WEB or answers(uri)):
            raise Unanswered(errno.EBUSY, f"not to be had now: {error}") from error
        raise
    _dead_in_a_row = 0
    into.seek(0)


def _copy_pieces(fs: Any, path: str, into: BinaryIO, start: int, size: int | None) -> None:
    at = 0
    while size is None or at < size:
        wanted = PIECE if size is None else min(PIECE, size - at)
        try:
            content = fs.cat_file(path, start=start + at, end=start + at + wanted)
        except OSError as error:
            if any(status_of(cause)[0] == 416 for cause in causes(error)):
                return  # the last piece ended where the file does
            raise
        into.write(content)
        at += len(content)
        if len(content) < wanted:
            return


def _copy_whole(fs: Any, path: str, into: BinaryIO, start: int, size: int | None) -> None:
    into.seek(0)
    into.truncate()
    left = size
    with fs.open(path) as file:
        if start:
            file.seek(start)
        while content := file.read(1 << 20 if left is None else min(1 << 20, left)):
            into.write(content)
            left = None if left is None else left - len(content)


def answers(uri: str) -> bool:
    """Whether the store says anything about another file: no matter what, of a name like this one's
    that nobody has used."""
    try:
        fs, path = connect(uri, AS_SOURCE)
        folder, _, name = path.rpartition("/")
        fs.cat_file(f"{folder}/{uuid.uuid4().hex}-{name}", start=0, end=1)
    except Exception as error:  # whatever a client raises
        return judge(error, uri).kind != "outage"
    return True
