"""Lengths of what consists of frames or pages: Ogg by its last page, MPEG audio by its Xing frame
or its bit rate, ADTS, AC-3 and AMR by their first frames."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import BinaryIO, cast

from tokenizer.audio.containers.glance import Glance, Length
from tokenizer.audio.containers.mpeg import before_tags, frame_bytes, read_xing

_TAIL = 1 << 16
"""an Ogg page is no longer"""
_MOST_STREAMS = 16
_FIRST = 1 << 15
"""bytes of first frames that a bit rate is taken from"""
_BEGINS_WITHIN = 1 << 12
"""bytes of something else before the first frame"""
_LEAST_FRAMES = 3
_MPEG_RATES = (44_100, 48_000, 32_000)
_ADTS_RATES = (
    *(96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000),
    *(22_050, 16_000, 12_000, 11_025, 8_000, 7_350),
)
_AMR = (13, 14, 16, 18, 20, 21, 27, 32, 6, 1, 1, 1, 1, 1, 1, 1)
_AMR_WB = (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 1, 1, 1, 1, 1, 1)
"""bytes of a frame of 20 ms, by its type"""


def ogg(glance: Glance) -> Length | None:
    """The first stream of sound, by the sample count of its last page; None for a chain, whose last
    link alone that would tell of."""
    serials: dict[int, Length | None] = {}
    sound: tuple[int, int, int, bool] | None = None
    at = 0
    for _ in range(_MOST_STREAMS):
        magic, flags, serial, segments = glance.unpack("<4sxBxxxxxxxxIxxxxxxxxB", at)
        if magic != b"OggS" or not flags & 2:
            break
        size = sum(glance.at(at + 27, segments))
        body = glance.at(at + 27 + segments, min(size, 64))
        serials[serial] = None
        facts = _stream(body)
        if sound is None and facts is not None:
            sound = (serial, *facts)
        at += 27 + segments + size
    if sound is None:
        return None
    serial, rate, before, exact = sound
    start = max(0, glance.size - _TAIL)
    tail = glance.at(start, _TAIL)
    place = len(tail)
    while (place := tail.rfind(b"OggS", 0, place)) >= 0:
        page = tail[place : place + 27]
        if len(page) < 27 or page[4]:
            continue
        granule, number = struct.unpack("<qI", page[6:18])
        if number not in serials:
            return None
        if number == serial and granule >= 0:
            return Length((granule - before) / rate, exact)
    return None


def _stream(body: bytes) -> tuple[int, int, bool] | None:
    """Rate, samples before the first one that is heard, and whether the count is what is decoded,
    by a stream's first packet."""
    if body.startswith(b"\x01vorbis"):
        return struct.unpack("<I", body[12:16])[0], 0, True
    if body.startswith(b"OpusHead"):
        return 48_000, struct.unpack("<H", body[10:12])[0], True
    if body.startswith(b"\x7fFLAC"):
        return int.from_bytes(body[27:30], "big") >> 4, 0, True
    if body.startswith(b"Speex   "):
        return struct.unpack("<I", body[36:40])[0], 0, False
    return None


def by_frames(glance: Glance, start: int) -> Length | None:
    """What begins with a frame, perhaps after a few bytes of something else."""
    head = glance.at(start, _BEGINS_WITHIN)
    if head.startswith(b"#!AMR"):
        wide = head.startswith(b"#!AMR-WB")
        sizes = _AMR_WB if wide else _AMR
        first = start + (9 if wide else 6)
        return _steady(glance, first, lambda four: (sizes[four[0] >> 3 & 15], 0.02))
    for at in range(len(head) - 8):
        two = head[at : at + 2]
        if at == 1:
            glance.at(start, _BEGINS_WITHIN + _FIRST)  # all that is looked at from here on, at once
        if two == b"\x0b\x77":
            found = _steady(glance, start + at, _ac3)
        elif two[0] == 0xFF and two[1] & 0xF6 == 0xF0:
            found = _steady(glance, start + at, _adts)
        elif two[0] == 0xFF and two[1] & 0xE0 == 0xE0 and two[1] & 6:
            xing = read_xing(cast(BinaryIO, glance.behind(start + at)))
            rate = _mpeg_rate(head[at : at + 4])
            if xing is not None and xing.samples and rate:
                return Length(xing.samples / rate, xing.exact)
            found = _vbri(glance, start + at) or _steady(glance, start + at, _mpeg)
        else:
            continue
        if found is not None:
            return found
    return None


def _steady(
    glance: Glance, start: int, frame: Callable[[bytes], tuple[int, float] | None]
) -> Length | None:
    """By the bytes a second of the first frames; None where they do not follow each other."""
    content = glance.at(start, _FIRST)
    at, seconds, count = 0, 0.0, 0
    while at + 8 <= len(content):
        found = frame(content[at : at + 8])
        if found is None or found[0] <= 0:
            break
        at, seconds, count = at + found[0], seconds + found[1], count + 1
    whole = start + at >= glance.size
    if not count or (count < _LEAST_FRAMES and not whole):
        return None
    end = before_tags(cast(BinaryIO, glance))
    return Length(seconds * max(0, end - start) / at, exact=False)


def _mpeg_rate(four: bytes) -> int:
    version, rate = four[1] >> 3 & 3, four[2] >> 2 & 3
    return 0 if version == 1 or rate == 3 else _MPEG_RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]


def _mpeg(head: bytes) -> tuple[int, float] | None:
    size, rate = frame_bytes(head, "mp3"), _mpeg_rate(head)
    if size is None or not rate:
        return None
    short = head[1] >> 1 & 3 == 1 and head[1] >> 3 & 3 != 3
    return size, (576 if short else 1_152) / rate


def _vbri(glance: Glance, at: int) -> Length | None:
    """Fraunhofer's count of frames."""
    if glance.at(at + 36, 4) != b"VBRI":
        return None
    (frames,) = glance.unpack(">I", at + 50)
    found = _mpeg(glance.at(at, 8))
    return None if found is None else Length(frames * found[1], exact=False)


def _adts(head: bytes) -> tuple[int, float] | None:
    if head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 >= len(_ADTS_RATES):
        return None
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return size, 1_024 * (1 + (head[6] & 3)) / _ADTS_RATES[head[2] >> 2 & 15]


def _ac3(head: bytes) -> tuple[int, float] | None:
    size = frame_bytes(head, "ac3")
    if size is None:
        return None
    code = head[4] >> 6
    blocks = 6
    if head[5] >> 3 > 10:  # E-AC-3
        blocks = 6 if code == 3 else (1, 2, 3, 6)[head[4] >> 4 & 3]
        if code == 3:
            code = head[4] >> 4 & 3
            return None if code == 3 else (size, 256 * blocks / ((24_000, 22_050, 16_000)[code]))
    return size, 256 * blocks / (48_000, 44_100, 32_000)[code]
