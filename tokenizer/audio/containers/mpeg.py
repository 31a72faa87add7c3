"""MPEG audio: what its Xing frame declares, where the tags behind it begin, and how long a frame
(also of AC-3) should be."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

_ID3_HEADER = 10
_SIDE_INFO = {
    (3, False): 32,
    (3, True): 17,
    (2, False): 17,
    (2, True): 9,
    (0, False): 17,
    (0, True): 9,
}
"""bytes between an MPEG frame header and a Xing tag, by (version bits, mono)"""
_DECODER_DELAY = 529
"""samples by which every decoder is late, which FFmpeg takes off together with the encoder's"""
_ENCODERS = (b"LAME", b"Lavf", b"Lavc")
"""those whose delays FFmpeg believes"""
_MOST_LYRICS = 5_120


@dataclass(frozen=True, slots=True)
class Xing:
    """A Xing or Info frame."""

    samples: int
    """of all frames, less what FFmpeg takes off in front and behind"""
    exact: bool
    """whether the encoder says how much that is"""
    frames: int = 0
    """as declared, without this one"""


def read_xing(file: BinaryIO) -> Xing | None:
    """The Xing or Info frame of an MPEG audio file; None without one, or without a count in it."""
    file.seek(after_id3(file))
    frame = file.read(256)
    if len(frame) < 64 or frame[0] != 0xFF or frame[1] & 0xE0 != 0xE0:
        return None
    version, mono = frame[1] >> 3 & 3, frame[3] >> 6 == 3
    at = 4 + _SIDE_INFO.get((version, mono), 32)
    if frame[at : at + 4] not in (b"Xing", b"Info") or not frame[at + 7] & 1:
        return None
    flags = frame[at + 7]
    frames = struct.unpack(">I", frame[at + 8 : at + 12])[0]
    samples = frames * (1_152 if version == 3 else 576)
    tag = at + 12 + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
    if frame[tag : tag + 4] not in _ENCODERS or len(frame) < tag + 24:
        return Xing(samples, exact=False, frames=frames)
    delays = int.from_bytes(frame[tag + 21 : tag + 24], "big")
    behind = max(0, (delays & 0xFFF) - _DECODER_DELAY)
    samples = max(0, samples - (delays >> 12) - _DECODER_DELAY - behind)
    return Xing(samples, exact=True, frames=frames)


def is_free_format(file: BinaryIO) -> bool:
    """Whether an MPEG audio file has frames of a bit rate that is in no table: 0 stands for it."""
    file.seek(after_id3(file))
    head = file.read(4)
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer, rate = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 2 & 3
    return version != 1 and layer != 0 and rate != 3 and not head[2] >> 4


def frame_bytes(frame: bytes, codec: str) -> int | None:
    """How long a frame of MPEG audio, layer 2 or 3, or of AC-3 is by its header; None where that
    does not say."""
    if len(frame) < 6:
        return None
    if codec in ("ac3", "eac3"):
        return _ac3_bytes(frame)
    layer, version = frame[1] >> 1 & 3, frame[1] >> 3 & 3
    rate_index, bit_index = frame[2] >> 2 & 3, frame[2] >> 4
    if (
        frame[0] != 0xFF
        or frame[1] & 0xE0 != 0xE0
        or layer not in (1, 2)
        or version == 1
        or rate_index == 3
        or bit_index in (0, 15)
    ):
        return None
    rate = (44_100, 48_000, 32_000)[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    kbps = (_LOW_KBPS if version != 3 else _KBPS_3 if layer == 1 else _KBPS_2)[bit_index - 1]
    samples = 576 if version != 3 and layer == 1 else 1_152
    return samples // 8 * kbps * 1_000 // rate + (frame[2] >> 1 & 1)


_KBPS_3 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBPS_2 = (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
_LOW_KBPS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_KBPS_AC3 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)


def _ac3_bytes(frame: bytes) -> int | None:
    if frame[:2] != b"\x0b\x77":
        return None
    if frame[5] >> 3 > 10:  # E-AC-3
        return 2 * ((frame[2] & 7) << 8 | frame[3]) + 2
    rate, code = frame[4] >> 6, frame[4] & 63
    if rate == 3 or code >> 1 >= len(_KBPS_AC3):
        return None
    kbps = _KBPS_AC3[code >> 1]
    return 2 * (2 * kbps, kbps * 320 // 147 + (code & 1), 3 * kbps)[rate]


def after_id3(file: BinaryIO) -> int:
    """Where the audio starts behind an ID3v2 tag."""
    file.seek(0)
    head = file.read(_ID3_HEADER)
    if head[:3] != b"ID3" or len(head) < _ID3_HEADER:
        return 0
    return _ID3_HEADER + _seven_bits(head[6:])


def before_tags(file: BinaryIO) -> int:
    """Where the audio ends before tags that stand behind it: ID3v1, APE (with pictures or without),
    Lyrics3, ID3v2.4."""
    end = file.seek(0, os.SEEK_END)
    while (found := _tag_before(file, end)) and found <= end:
        end -= found
    return end


def _tag_before(file: BinaryIO, end: int) -> int:
    """Bytes of the tag that ends at `end`; 0 when there is none."""
    if _piece(file, end, 128)[:3] == b"TAG":
        return 128 + (227 if _piece(file, end - 128, 227)[:4] == b"TAG+" else 0)
    foot = _piece(file, end, 32)
    if foot[:8] == b"APETAGEX":
        size, _, flags = struct.unpack("<III", foot[12:24])
        return int(size) + (32 if flags & 0x80000000 else 0)
    if foot[-10:-7] == b"3DI":
        return _seven_bits(foot[-4:]) + 2 * _ID3_HEADER
    if foot[-9:] == b"LYRICS200" and foot[-15:-9].isdigit():
        return int(foot[-15:-9]) + 15
    if foot[-9:] == b"LYRICSEND":
        lyrics = _piece(file, end, _MOST_LYRICS)
        at = lyrics.rfind(b"LYRICSBEGIN")
        return len(lyrics) - at if at >= 0 else 0
    return 0


def _piece(file: BinaryIO, end: int, size: int) -> bytes:
    """The `size` bytes before `end`, or what there is of them."""
    file.seek(max(0, end - size))
    return file.read(max(0, min(size, end)))


def _seven_bits(four: bytes) -> int:
    """A number of four bytes with seven bits each, as ID3v2 has them."""
    value = 0
    for byte in four:
        value = value << 7 | byte & 0x7F
    return value
