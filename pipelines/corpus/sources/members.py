"""Members of a tar, read so that none goes missing in silence: to its end and behind it, over
damage, and through links."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

from tokenizer.errors import FailureKind

_BLOCK = tarfile.BLOCKSIZE
_PLAIN_TYPES = (b"0", b"\0", b"1", b"2", b"5")
"""types of headers that stand for themselves; others are followed by the header that they belong
to"""
_TYPE_AT, _MAGIC_AT = 156, 257
_LINKS = 40
"""links that may lead to links"""


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive."""

    name: str
    offset: int
    """of its content"""
    size: int


@dataclass(frozen=True, slots=True)
class Broken:
    """Something in an archive that cannot be read."""

    name: str
    """of the member; empty when that is not known"""
    kind: FailureKind
    message: str
    offset: int


def read_members(file: BinaryIO) -> Iterator[Member | Broken]:
    """Files of an archive in its order, links resolved, and whatever is wrong with it.

    Raises:
        tarfile.TarError: not a tar, from its first header on.
    """
    known: dict[str, Member] = {}
    links: list[tarfile.TarInfo] = []
    for found in _headers(file):
        if isinstance(found, Broken):
            yield found
        elif found.islnk() or found.issym():
            links.append(found)
        elif found.issparse():
            message = "a sparse file, which cannot be read in one piece: pack it without --sparse"
            yield Broken(found.name, FailureKind.UNREADABLE, message, found.offset)
        elif found.isfile():
            member = Member(found.name, found.offset_data, found.size)
            known[_normal(found.name)] = member
            yield member
    targets = {_normal(link.name): _target(link) for link in links}
    for link in links:
        target, steps = _target(link), 0
        while target in targets and target not in known and steps < _LINKS:
            target, steps = targets[target], steps + 1
        if target in known:
            yield Member(link.name, known[target].offset, known[target].size)
        else:
            message = f"a link to {link.linkname}, which is not in the archive"
            yield Broken(link.name, FailureKind.UNREADABLE, message, link.offset)


def _headers(file: BinaryIO) -> Iterator[tarfile.TarInfo | Broken]:
    """Every header. The reader of the standard library takes the first that is wrong or missing for
    the archive's end."""
    end = file.seek(0, 2)
    if end == 0:
        raise tarfile.ReadError("empty file")
    tar = tarfile.TarFile(
        fileobj=io.BytesIO(bytes(tarfile.RECORDSIZE)), mode="r"
    )  # it reads ahead, and refuses what it finds
    tar.fileobj, tar.offset = file, 0
    ended = False
    while True:
        at = tar.offset
        if at >= end:
            if not ended:
                yield Broken(
                    "",
                    FailureKind.TRUNCATED,
                    "ends without an end-of-archive mark: it was cut, or never finished",
                    at,
                )
            return
        file.seek(at)
        try:
            member = tarfile.TarInfo.fromtarfile(tar)
        except tarfile.HeaderError as error:
            if _is_zero(file, at):
                ended, tar.offset = True, at + _BLOCK
                continue
            what = str(error)
        except (tarfile.TarError, ValueError) as error:
            what = str(error) or type(error).__name__
        else:
            what = "" if tar.offset > at else "its sizes make no sense"
        if what:
            following = _resume(file, at, end)
            if following is None and at == 0:
                raise tarfile.ReadError(what)
            yield _damage(at, end, following, what, ended)
            if following is None:
                return
            tar.offset = following
            continue
        ended = False
        # Of a sparse file the size is that of the whole, and its holes are not there.
        whole = member.issparse() and tar.offset <= end
        if member.isfile() and not whole and member.offset_data + member.size > end:
            message = (
                f"cut off: {member.size} bytes are declared, {end - member.offset_data} are there"
            )
            yield Broken(member.name, FailureKind.TRUNCATED, message, at)
            return
        yield member


def _damage(at: int, end: int, following: int | None, what: str, ended: bool) -> Broken:
    if following is None and end - at < _BLOCK:
        return Broken(
            "", FailureKind.TRUNCATED, f"ends inside a header, at byte {end}: it was cut", at
        )
    rest = (
        f"what lies between it and byte {following} is lost"
        if following is not None
        else "nothing behind it can be read"
    )
    where = "behind the archive's end" if ended else "a damaged header"
    return Broken("", FailureKind.DAMAGED, f"{where} at byte {at} ({what}): {rest}", at)


def _is_zero(file: BinaryIO, at: int) -> bool:
    file.seek(at)
    block = file.read(_BLOCK)
    return not block.strip(b"\0")


def _resume(file: BinaryIO, at: int, end: int) -> int | None:
    """Where the next whole header is behind a damaged one; None when there is none."""
    file.seek(at)
    kind = file.read(_BLOCK)[_TYPE_AT : _TYPE_AT + 1]
    # Behind a header with a long name comes the one whose name that is: alone, it would go by a
    # shortened name.
    skip = 0 if kind in _PLAIN_TYPES else 1
    following = _next_header(file, at + _BLOCK, end)
    for _ in range(skip):
        following = None if following is None else _next_header(file, following + _BLOCK, end)
    return following


def _next_header(file: BinaryIO, at: int, end: int) -> int | None:
    file.seek(at)
    while at + _BLOCK <= end:
        block = file.read(_BLOCK)
        if block[_MAGIC_AT : _MAGIC_AT + 5] == b"ustar":
            try:
                tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
                return at
            except tarfile.HeaderError:
                pass
        at += _BLOCK
    return None


def _target(link: tarfile.TarInfo) -> str:
    """The member that a link means: hard links by its name, symbolic ones from where they are."""
    if link.issym():
        return _normal(str(PurePosixPath(link.name).parent / link.linkname))
    return _normal(link.linkname)


def _normal(name: str) -> str:
    parts: list[str] = []
    for part in name.split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
