"""What a file's own header declares, read without decoding: the yardstick for files that end early.

Silent truncation is the common lie: decoders return what is there and say nothing. So the length that the header declares
is compared with what came out, wherever a header can be believed.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

_STREAMING_SIZES = (0, 0xFFFFFFFF, 0x7FFFFFFF)
"""RIFF data sizes that writers put in when they cannot know the length"""
_PLAIN = {(1, 16), (1, 24), (1, 32), (3, 32)}
"""format tags and bits that every decoder turns into the same floats"""
_OGG_TAIL = 1 << 17
"""an Ogg page is at most 65,307 bytes"""
_OGG_END_OF_STREAM = 4
_HIDDEN_SYNCS = tuple(bytes.fromhex(sync) for sync in ("7ffe8001", "fe7f0180", "1fffe800", "ff1f00e8", "f8724e1f", "72f81f4e"))
"""how DTS (16 and 14 bits, both byte orders) and IEC 61937 bursts begin"""
_HIDDEN_WITHIN = 1 << 19
"""bytes from the start of a RIFF file; FFmpeg itself finds none that begins later"""
_ID3_HEADER = 10
_SIDE_INFO = {(3, False): 32, (3, True): 17, (2, False): 17, (2, True): 9, (0, False): 17, (0, True): 9}
"""bytes between an MPEG frame header and a Xing tag, by (version bits, mono)"""


@dataclass(frozen=True, slots=True)
class WavHeader:
    """The format and data chunks of a RIFF file."""

    encoding: int
    """the format tag: 1 is PCM, 3 float"""
    channels: int
    sample_rate: int
    block_align: int
    """bytes a sample of all channels takes"""
    bits: int
    """of a sample"""
    data_bytes: int | None
    """declared size of the samples; None when the writer was streaming"""
    data_there: int
    """bytes of the file from where the samples begin"""

    @property
    def samples(self) -> int | None:
        """Declared samples per channel."""
        if self.data_bytes is None or not self.block_align:
            return None
        return self.data_bytes // self.block_align

    @property
    def is_plain(self) -> bool:
        """Whether these are mono or stereo samples as any program writes them, and all of them are there."""
        known = (self.encoding, self.bits) in _PLAIN and self.channels in (1, 2)
        return known and 8 * self.block_align == self.channels * self.bits and 0 < (self.data_bytes or 0) <= self.data_there


def read_wav_header(file: BinaryIO) -> WavHeader | None:
    """The header of a RIFF or RIFX file; None for anything else, or one without its format chunk."""
    file.seek(0)
    head = file.read(12)
    if len(head) < 12 or head[:4] not in (b"RIFF", b"RIFX") or head[8:] != b"WAVE":
        return None
    order = "<" if head[:4] == b"RIFF" else ">"
    facts: tuple[int, int, int, int, int] | None = None
    while len(chunk := file.read(8)) == 8:
        size = struct.unpack(order + "I", chunk[4:])[0]
        if chunk[:4] == b"data":
            if facts is None:
                return None
            start = file.tell()
            return WavHeader(*facts, None if size in _STREAMING_SIZES else size, file.seek(0, os.SEEK_END) - start)
        if chunk[:4] == b"fmt ":
            body = file.read(size)
            if len(body) < 16:
                return None
            encoding, channels, rate, _, align, bits = struct.unpack(order + "HHIIHH", body[:16])
            facts = (encoding, channels, rate, align, bits)
            file.seek(size & 1, os.SEEK_CUR)
        else:
            file.seek(size + (size & 1), os.SEEK_CUR)
    return None


def is_plain_wav(file: BinaryIO) -> bool:
    """Whether a file is little-endian PCM or float WAVE, whole, and just what its header says."""
    header = read_wav_header(file)
    if header is None or not header.is_plain:
        return False
    file.seek(0)
    return file.read(4) == b"RIFF" and not wav_may_hide(file)


def wav_may_hide(file: BinaryIO) -> bool:
    """Whether a RIFF file may carry DTS or AC-3 that its header calls PCM, as rips of discs do."""
    file.seek(0)
    head = file.read(_HIDDEN_WITHIN)
    return any(sync in head for sync in _HIDDEN_SYNCS)


def xing_samples(file: BinaryIO) -> int | None:
    """Samples that an MPEG audio file declares in its Xing or Info frame, encoder delay included; None without one."""
    file.seek(_after_id3(file))
    frame = file.read(64)
    if len(frame) < 64 or frame[0] != 0xFF or frame[1] & 0xE0 != 0xE0:
        return None
    version, mono = frame[1] >> 3 & 3, frame[3] >> 6 == 3
    at = 4 + _SIDE_INFO.get((version, mono), 32)
    if frame[at : at + 4] not in (b"Xing", b"Info") or not frame[at + 7] & 1:
        return None
    frames: int = struct.unpack(">I", frame[at + 8 : at + 12])[0]
    return frames * (1_152 if version == 3 else 576)


def _after_id3(file: BinaryIO) -> int:
    """Where the audio starts behind an ID3v2 tag."""
    file.seek(0)
    head = file.read(_ID3_HEADER)
    if head[:3] != b"ID3" or len(head) < _ID3_HEADER:
        return 0
    size = 0
    for byte in head[6:]:
        size = size << 7 | byte & 0x7F
    return _ID3_HEADER + size


def ogg_has_ended(file: BinaryIO) -> bool:
    """Whether the last page of an Ogg file is marked as the last of its stream."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _OGG_TAIL))
    tail = file.read()
    at = tail.rfind(b"OggS")
    return at >= 0 and len(tail) > at + 5 and bool(tail[at + 5] & _OGG_END_OF_STREAM)
