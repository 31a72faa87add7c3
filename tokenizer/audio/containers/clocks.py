"""Lengths as containers with a clock of their own have them: MP4, Matroska, ASF, AVI."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tokenizer.audio.containers.glance import Glance, Length

_MOST_BOXES = 200
_SEGMENT, _INFO, _CLUSTER = 0x18538067, 0x1549A966, 0x1F43B675
_SCALE, _DURATION = 0x2AD7B1, 0x4489
_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def _boxes(glance: Glance, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, and the place of the content of each box between two places."""
    for _ in range(_MOST_BOXES):
        if at + 8 > end:
            return
        size, name = glance.unpack(">I4s", at)
        head = 8
        if size == 1:
            (size,), head = glance.unpack(">Q", at + 8), 16
        stop = end if size == 0 else at + size
        if size and size < head:
            return
        yield name, at + head, min(stop, end)
        at = stop


def _within(glance: Glance, place: tuple[int, int], *path: bytes) -> tuple[int, int] | None:
    """The first box that a path of names leads to."""
    for name in path:
        found = next(((a, b) for box, a, b in _boxes(glance, *place) if box == name), None)
        if found is None:
            return None
        place = found
    return place


def mp4(glance: Glance) -> Length | None:
    """MP4 and QuickTime: the first sound track's edits, or its media."""
    movie = _within(glance, (0, glance.size), b"moov")
    if movie is None:
        return None
    header = _within(glance, movie, b"mvhd")
    clock, _ = (1, 0) if header is None else _times(glance, header[0])
    for name, *track in _boxes(glance, *movie):
        place = (track[0], track[1])
        handler = _within(glance, place, b"mdia", b"hdlr") if name == b"trak" else None
        if handler is None or glance.at(handler[0] + 8, 4) != b"soun":
            continue
        edits = _within(glance, place, b"edts", b"elst")
        edited = 0 if edits is None else _edited(glance, *edits)
        media = _within(glance, place, b"mdia", b"mdhd")
        rate, length = (1, 0) if media is None else _times(glance, media[0])
        if length and rate:
            whole = length / rate
            return Length(min(whole, edited / clock) if edited else whole, exact=False)
        break
    fragments = _within(glance, movie, b"mvex", b"mehd")
    if fragments is None:
        return None
    wide = glance.at(fragments[0], 1) == b"\1"
    return Length(glance.unpack(">Q" if wide else ">I", fragments[0] + 4)[0] / clock, exact=False)


def _times(glance: Glance, at: int) -> tuple[int, int]:
    """Units a second, and a length in them, of `mvhd` and `mdhd`."""
    if glance.at(at, 1) == b"\1":
        rate, length = glance.unpack(">IQ", at + 20)
        return rate, 0 if length == (1 << 64) - 1 else length
    rate, length = glance.unpack(">II", at + 12)
    return rate, 0 if length == 0xFFFFFFFF else length


def _edited(glance: Glance, at: int, end: int) -> int:
    """Length of all edits that show media, in the movie's units."""
    wide = glance.at(at, 1) == b"\1"
    (count,) = glance.unpack(">I", at + 4)
    form = ">Qqxxxx" if wide else ">Iixxxx"
    width = struct.calcsize(form)
    total = 0
    for number in range(min(count, _MOST_BOXES, (end - at - 8) // width)):
        length, start = glance.unpack(form, at + 8 + number * width)
        total += length if start >= 0 else 0
    return total


def matroska(glance: Glance) -> Length | None:
    """Matroska and WebM: the segment's length."""
    at, end = 0, glance.size
    for _ in range(_MOST_BOXES):
        name, start, stop = _element(glance, at, end)
        if name == _SEGMENT:
            at, end = start, stop
        elif name == _INFO:
            return _segment_length(glance, start, stop)
        elif name == _CLUSTER:
            return None
        else:
            at = stop
        if at >= end:
            return None
    return None


def _segment_length(glance: Glance, at: int, end: int) -> Length | None:
    scale, length = 1_000_000, 0.0
    for _ in range(_MOST_BOXES):
        if at >= end:
            break
        name, start, at = _element(glance, at, end)
        if name == _SCALE:
            scale = int.from_bytes(glance.at(start, min(8, at - start)), "big")
        elif name == _DURATION:
            (length,) = glance.unpack(">d" if at - start == 8 else ">f", start)
    return Length(length * scale / 1e9, exact=False) if length > 0 else None


def _element(glance: Glance, at: int, end: int) -> tuple[int, int, int]:
    """Name of an element of EBML, and where its content begins and ends.

    Raises:
        ValueError: there is none.
    """
    head = glance.at(at, 12)
    name = 9 - head[0].bit_length() if head[:1] != b"\0" else 9
    length = 9 - head[name].bit_length()
    if name > 4 or length > 8:
        raise ValueError("no element of EBML")
    size = int.from_bytes(head[name : name + length], "big") & (1 << 7 * length) - 1
    start = at + name + length
    unknown = size == (1 << 7 * length) - 1
    return int.from_bytes(head[:name], "big"), start, end if unknown else min(end, start + size)


def asf(glance: Glance) -> Length | None:
    """ASF (WMA): the time it plays, without what is loaded before."""
    at = 30
    for _ in range(_MOST_BOXES):
        name, size = glance.unpack("<16sQ", at)
        if name == _FILE_PROPERTIES:
            plays, _, preroll = glance.unpack("<QQQ", at + 64)
            return Length(plays / 1e7 - preroll / 1e3, exact=False)
        at += max(24, size)
    return None


def avi(glance: Glance) -> Length | None:
    """AVI: the first stream of sound."""
    head = glance.at(0, 1 << 16)
    at = head.find(b"strh")
    for _ in range(_MOST_BOXES):
        if at < 0:
            return None
        if head[at + 8 : at + 12] == b"auds":
            scale, rate, _, length = struct.unpack("<IIII", head[at + 28 : at + 44])
            return Length(length * scale / rate, exact=False) if length else None
        at = head.find(b"strh", at + 4)
    return None
