"""Files whose writer could not go back to fill in sizes, as it would have finished them.

libsndfile (and so SoX) writes Wave64 and CAF into a pipe with its header again behind the first
one, and once more behind the samples: taken for sound, those are noise. FFmpeg, asked for RF64,
leaves the 64-bit sizes at 0, which every reader takes for an empty file.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from tokenizer.audio.containers.extents import is_unknown_64
from tokenizer.audio.containers.glance import Glance

_LONGEST_HEAD = 1 << 19
_MOST_CHUNKS = 200
_MOST_COPIES = 8
_NAMES = 16
"""bytes at a header's start that no later copy of it changes; its sizes do"""


class Finished(NamedTuple):
    """What a file should hold: another head, then some of its own bytes."""

    head: bytes
    start: int
    stop: int
    """the bytes of the file that follow, from `start` up to this one"""

    @property
    def size(self) -> int:
        return len(self.head) + self.stop - self.start

    def over(self, glance: Glance) -> Glance:
        """The file as it should be."""
        shift, head = len(self.head) - self.start, self.head

        def fetch(start: int, stop: int) -> bytes:
            behind = glance.at(max(start, len(head)) - shift, stop - max(start, len(head)))
            return head[start:stop] + behind

        return Glance(fetch, self.size)


def finish(glance: Glance) -> Finished | None:
    """What to read in place of a file as it is; None where it is well, or nothing of the kind.

    Raises:
        OSError: a header that leads on and on.
    """
    magic = glance.at(0, 16)
    try:
        if magic[:4] in (b"RF64", b"BW64") and magic[8:12] == b"WAVE":
            return _rf64(glance)
        if magic[:8] == b"riff\x2e\x91\xcf\x11":
            return _w64(glance)
        if magic[:4] == b"caff":
            return _caf(glance)
    except struct.error:  # it ends within its header
        pass
    return None


def _rf64(glance: Glance) -> Finished | None:
    at, sizes = 12, 0
    for _ in range(_MOST_CHUNKS):
        name, size = glance.unpack("<4sI", at)
        if name == b"ds64":
            sizes = at + 8
        elif name == b"data":
            start = at + 8
            if not sizes or size != 0xFFFFFFFF or start > _LONGEST_HEAD:
                return None
            if not is_unknown_64(glance.unpack("<Q", sizes + 8)[0]) or glance.size <= start:
                return None
            head = bytearray(glance.at(0, start))
            struct.pack_into("<QQ", head, sizes, glance.size - 8, glance.size - start)
            return Finished(bytes(head), start, glance.size)
        at += 8 + size + (size & 1)
    return None


def _w64(glance: Glance) -> Finished | None:
    at = 40
    for _ in range(_MOST_CHUNKS):
        name, size = glance.unpack("<16sq", at)
        if name[:4] == b"data":
            if not is_unknown_64(size - 24):
                return None
            found = _between_copies(glance, at + 24)
            if found is None:
                return None
            head = bytearray(found.head)
            struct.pack_into("<q", head, 16, found.size)
            struct.pack_into("<q", head, at + 16, found.stop - found.start + 24)
            return found._replace(head=bytes(head))
        at += max(24, size + (-size % 8))
    return None


def _caf(glance: Glance) -> Finished | None:
    at = 8
    for _ in range(_MOST_CHUNKS):
        name, size = glance.unpack(">4sq", at)
        if name == b"data":
            unknown = is_unknown_64(size - 4)  # the size counts a number of edits
            found = _between_copies(glance, at + 16) if unknown else None
            if found is None:
                return None
            head = bytearray(found.head)
            struct.pack_into(">q", head, at + 4, found.stop - found.start + 4)
            return found._replace(head=bytes(head))
        at += 12 + max(0, size)
    return None


def _between_copies(glance: Glance, length: int) -> Finished | None:
    """The samples without the header's copies, of which there is one at least; with the first
    header as it is."""
    if length > _LONGEST_HEAD:
        return None
    head = glance.at(0, length)

    def is_copy(at: int) -> bool:
        there = glance.at(at, length)
        # Wave64's first 16 bytes are a name; CAF's are its kind and the head of a chunk.
        return there[:_NAMES] == head[:_NAMES] and len(there) == length

    start, stop = length, glance.size
    for _ in range(_MOST_COPIES):
        if start + length <= stop and is_copy(start):
            start += length
        elif stop - length >= start and is_copy(stop - length):
            stop -= length
        else:
            break
    return None if (start, stop) == (length, glance.size) else Finished(head, start, stop)
