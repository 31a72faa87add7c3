"""What a file is made of: sections, each with a tag, its length and a checksum. `docs/archive.md`
has every byte."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import pyarrow as pa

from tokenizer.errors import CodecshardsError, ShardError

MAGIC = b"\x89CSA\r\n\x1a\n"
"""as PNG's: what a transfer as text changes is noticed"""
VERSION = 1
HEAD, CODER, ROWS, SEGMENTS, DATA, INDEX, TAIL = (
    b"HEAD",
    b"CODR",
    b"ROWS",
    b"SEGS",
    b"DATA",
    b"INDX",
    b"TAIL",
)
_FRAME = struct.Struct("<4sQ")
_CRC = struct.Struct("<I")
FRAME_BYTES = _FRAME.size + _CRC.size
"""before the content of a section"""
TAIL_BYTES = FRAME_BYTES + 8
_LEVEL = 19
_PACKED = struct.Struct("<Q")
_MOST_UNPACKED = 1 << 29
"""bytes: what a hostile file may make us allocate"""


class Damage(ShardError):
    """Something is not as it was written; the message says what, and where in the file, but not in
    which."""


@contextmanager
def damage(name: str) -> Iterator[None]:
    """Whatever reading raises becomes an error that names the shard."""
    try:
        yield
    except ShardError as error:
        if not isinstance(error, Damage):
            raise
        raise ShardError(f"{name}: damaged: {error}") from error
    except (
        pa.ArrowException,
        CodecshardsError,
        OSError,
        LookupError,
        ValueError,
        TypeError,
        EOFError,
        OverflowError,
        MemoryError,
        struct.error,
        zlib.error,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ShardError(f"{name}: damaged: {reason}") from error


class SectionWriter:
    """Appends sections to a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.at = file.write(MAGIC)
        """where the next one begins"""

    def add(self, tag: bytes, parts: Sequence[bytes]) -> int:
        """Write one, and say where it begins. Of streams (`DATA`) each has a checksum of its own
        elsewhere, so that damage costs one of them."""
        start = self.at
        head = _FRAME.pack(tag, sum(map(len, parts)))
        crc = zlib.crc32(head)
        if tag != DATA:
            for part in parts:
                crc = zlib.crc32(part, crc)
        self._file.write(head + _CRC.pack(crc))
        self._file.writelines(parts)
        self.at += FRAME_BYTES + sum(map(len, parts))
        return start


@dataclass(frozen=True, slots=True)
class Section:
    """Where one is."""

    tag: bytes
    at: int
    """of its frame"""
    size: int
    """of its content"""

    @property
    def start(self) -> int:
        return self.at + FRAME_BYTES

    @property
    def end(self) -> int:
        return self.start + self.size


def read_section(file: IO[bytes], tag: bytes, at: int, end: int) -> tuple[Section, bytes]:
    """The section that begins at a byte, and its content; that of `DATA` is left where it is.

    Args:
        file: at any place.
        tag: what it must be.
        at: where it begins.
        end: where it must end at the latest.

    Raises:
        Damage: it is not there, or not what was written.
    """
    what = f"section {tag.decode()} at byte {at}"
    file.seek(at)
    frame = file.read(FRAME_BYTES)
    if len(frame) < FRAME_BYTES:
        raise Damage(f"{what} is cut off")
    found, size = _FRAME.unpack_from(frame)
    section = Section(tag, at, size)
    if found != tag or section.end > end:
        raise Damage(f"{what} is not what was written")
    content = b"" if tag == DATA else file.read(size)
    if tag != DATA and len(content) < size:
        raise Damage(f"{what} is cut off")
    crc = zlib.crc32(content, zlib.crc32(frame[: _FRAME.size]))
    if crc != _CRC.unpack_from(frame, _FRAME.size)[0]:
        raise Damage(f"{what} is not what was written (CRC-32)")
    return section, content


def frame_at(file: IO[bytes], at: int) -> tuple[bytes, int] | None:
    """Tag and length that stand at a byte, whether they are right or not; None behind the end."""
    file.seek(at)
    frame = file.read(_FRAME.size)
    return None if len(frame) < _FRAME.size else _FRAME.unpack(frame)


def size_of(file: IO[bytes]) -> int:
    """Bytes of an open file."""
    return file.seek(0, os.SEEK_END)


def packed(content: bytes) -> bytes:
    """Compressed, after its length."""
    compressed: bytes = pa.Codec("zstd", compression_level=_LEVEL).compress(content, asbytes=True)
    return _PACKED.pack(len(content)) + compressed


def unpacked(content: bytes | memoryview) -> bytes:
    """The inverse of `packed`.

    Raises:
        Damage: not what it gives, or absurdly large.
    """
    if len(content) < _PACKED.size:
        raise Damage("a compressed part is cut off")
    (size,) = _PACKED.unpack_from(content)
    if size > _MOST_UNPACKED:
        raise Damage(f"a compressed part says that it is {size:,} bytes")
    try:
        found: bytes = pa.Codec("zstd").decompress(
            bytes(content[_PACKED.size :]), decompressed_size=size, asbytes=True
        )
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Damage(f"a compressed part cannot be read: {error}") from error
    if len(found) != size:
        raise Damage("a compressed part has another length than it says")
    return found
