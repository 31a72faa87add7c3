"""What an Ogg file says of itself, page by page: links of a chain, checksums, sample counts, and
whether its end is there.

Every page has a checksum, a number, and the count of samples up to its end (granule). FFmpeg drops
a page whose checksum is wrong and goes on behind it without a word, so the count is the yardstick
for what was decoded.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

_CAPTURE = b"OggS"
_HEADER = 27
_SEARCH = 1 << 16
_CONTINUED, _FIRST, _LAST = 1, 2, 4
_MIRRORED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
_AUDIO = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"Speex   ")
"""how the first packet of a stream of sound begins"""


@dataclass(frozen=True, slots=True)
class Page:
    """One page whose checksum is right."""

    offset: int
    size: int
    flags: int
    granule: int
    """samples up to the end of the last packet that ends here; -1 when none does"""
    serial: int
    sequence: int
    complete: bool
    """whether its last packet ends with it"""
    head: bytes
    """first bytes of its body"""


@dataclass(slots=True)
class Link:
    """One stream of sound of a chain, with what is multiplexed with it."""

    start: int
    """byte of the file where its first page begins"""
    stop: int = 0
    """byte where the next link begins, or the file ends"""
    nominal: int = 0
    """samples by which granules run ahead of what is decoded: Opus' pre-skip"""
    offsets: array[int] = field(default_factory=lambda: array("q"))
    """of the pages of sound, in the file"""
    granules: array[int] = field(default_factory=lambda: array("q"))
    continued: bytearray = field(default_factory=bytearray)
    """whether a page begins in the middle of a packet"""
    missing: bytearray = field(default_factory=bytearray)
    """whether pages before this one are missing, by their numbers"""
    cut: bool = False
    """its end is missing: a page that breaks off, a packet that goes on, damage behind the last
    page"""
    strange: bool = False
    """pages of a stream whose beginning is missing"""

    @property
    def last_granule(self) -> int:
        return next((granule for granule in reversed(self.granules) if granule >= 0), 0)


class _Builder:
    """Collects pages into links."""

    def __init__(self, track: int) -> None:
        self._track, self._tracks = track, 0
        self.links: list[Link] = []
        self._sound: int | None = None
        self._serials: set[int] = set()
        self._first = True
        """whether only first pages of streams have come in this link"""
        self._number = 0
        self._ended = self._complete = True
        self._end = 0
        """byte behind the last whole page"""
        self._torn = False
        """whether bytes that are no page came behind the last page of sound"""

    def add(self, page: Page) -> None:
        if page.flags & _FIRST:
            self._begin(page)
        elif not self.links:
            return
        else:
            self._first = False
        self._end = page.offset + page.size
        link = self.links[-1]
        if page.serial not in self._serials:
            link.strange = True
        elif page.serial == self._sound:
            self._count(link, page)

    def tear(self) -> None:
        """Bytes that are no page: one of any track is lost there."""
        self._torn = True

    def _begin(self, page: Page) -> None:
        if not self.links or not self._first:
            self.close(page.offset, broken=False)
            self.links.append(Link(page.offset))
            self._sound, self._serials, self._first = None, set(), True
            self._tracks, self._torn = 0, False
            self._ended = self._complete = True
        self._serials.add(page.serial)
        if not page.head.startswith(_AUDIO):
            return
        self._tracks += 1
        if self._tracks == self._track + 1:
            self._sound, self._number = page.serial, page.sequence - 1
            if page.head.startswith(b"OpusHead") and len(page.head) >= 12:
                self.links[-1].nominal = struct.unpack("<H", page.head[10:12])[0]

    def _count(self, link: Link, page: Page) -> None:
        link.offsets.append(page.offset)
        link.granules.append(page.granule)
        link.continued.append(page.flags & _CONTINUED)
        link.missing.append(page.sequence != (self._number + 1) & 0xFFFFFFFF)
        self._number, self._torn = page.sequence, False
        self._complete = page.complete
        self._ended = bool(page.flags & _LAST)

    def close(self, stop: int, broken: bool) -> None:
        """The file, or the link, ends at `stop`; `broken` when there is more than whole pages
        before it."""
        if self.links:
            link = self.links[-1]
            link.stop = stop
            torn = broken or self._torn or not self._complete or self._end < stop
            link.cut = not self._ended and torn


def read_links(file: BinaryIO, track: int = 0) -> list[Link]:
    """The links of an Ogg file, in order, with the pages of one of its tracks of sound; empty when
    no page is whole. Reads the file once; holds 18 bytes a page."""
    builder, broken = _Builder(track), False
    end = 0
    for page in pages(file):
        if page is None:
            broken = True
            builder.tear()
        else:
            broken = False
            builder.add(page)
            end = page.offset + page.size
    builder.close(max(end, file.seek(0, 2)), broken)
    return builder.links


def pages(file: BinaryIO) -> Iterator[Page | None]:
    """All pages whose checksums are right; None where bytes between them are none."""
    at = 0
    while True:
        page = _page_at(file, at)
        if page is not None:
            yield page
            at = page.offset + page.size
            continue
        found = _search(file, at + 1)
        if found is None:
            if file.seek(0, 2) > at:
                yield None
            return
        yield None
        at = found


def checksum(page: bytes) -> int:
    """The checksum that an Ogg page should have: CRC-32 most significant bit first, which zlib
    computes on mirrored bytes."""
    blank = page[:22] + b"\0\0\0\0" + page[26:]
    mirrored = zlib.crc32(blank.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def _page_at(file: BinaryIO, at: int) -> Page | None:
    file.seek(at)
    head = file.read(_HEADER)
    if len(head) < _HEADER or head[:4] != _CAPTURE:
        return None
    flags, granule, serial, sequence, found, segments = struct.unpack("<BqIIIB", head[5:])
    lacing = file.read(segments)
    size = sum(lacing)
    body = file.read(size)
    if len(lacing) < segments or len(body) < size or checksum(head + lacing + body) != found:
        return None
    complete = not lacing or lacing[-1] < 255
    return Page(
        at, _HEADER + segments + size, flags, granule, serial, sequence, complete, body[:16]
    )


def _search(file: BinaryIO, at: int) -> int | None:
    """Where the next page may begin."""
    while True:
        file.seek(at)
        block = file.read(_SEARCH)
        found = block.find(_CAPTURE)
        if found >= 0:
            return at + found
        if len(block) < _SEARCH:
            return None
        at += len(block) - len(_CAPTURE) + 1
