"""Whether a container holds as many bytes of samples as it declares: what tells a file that was
cut, whatever its codec.

Bytes say it where samples cannot: ADPCM and GSM are counted in blocks, some writers count neither.
A size that a writer put in because it could not know better (it wrote to a pipe, or was ended) says
nothing; the samples then reach to the file's end.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO

_NEAR = 1 << 13
"""bytes by which a size may miss a round number, when it was derived from that: headers, whole
blocks"""
_UNKNOWN_64 = 1 << 60
_PLACEHOLDERS = (0x7F000000, 0x7FFFFFFF, 0xFFFFFFFF)
"""SoX in AIFF; most writers by signed and by unsigned numbers: 0x7FFFF000, 0x80000000 and
0xFFFFFFDB are near these"""
_MOST_CHUNKS = 1 << 20
_HEAD = 1 << 16
"""bytes in which ASF has its properties"""
_ASF = bytes.fromhex("3026b2758e66cf11")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_BROADCAST = 1
_FARTHEST = 1 << 62
"""bytes into a file; places beyond cannot be sought"""


def is_unknown(size: int) -> bool:
    """Whether a size of 32 bits is what writers put in that cannot know it."""
    return size == 0 or any(abs(size - number) <= _NEAR for number in _PLACEHOLDERS)


def is_unknown_64(size: int) -> bool:
    """The same of 64 bits."""
    return size <= 0 or size >= _UNKNOWN_64 or size == 0xFFFFFFFF


def is_cut(file: BinaryIO) -> bool:
    """Whether a file ends before the samples that its container declares; False for what declares
    no size, and for WAVE.

    WAVE has a reader of its own: `tokenizer.audio.containers.headers.read_wav_header`.
    """
    file.seek(0)
    head = file.read(16)
    for magic, judge in _JUDGES:
        if re.match(magic, head, re.DOTALL):
            return judge(file, file.seek(0, os.SEEK_END))
    return False


def is_unmeasured(file: BinaryIO) -> bool:
    """Whether AVI or ASF was written to a pipe: its header then has no length, and FFmpeg makes
    one up."""
    file.seek(0)
    head = file.read(_HEAD)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return is_unknown(struct.unpack("<I", head[4:8])[0])
    at = head.find(_ASF_PROPERTIES) if head.startswith(_ASF) else -1
    return at >= 0 and bool(head[at + 88 : at + 89] and head[at + 88] & _BROADCAST)


def walk(
    file: BinaryIO, at: int, head: str, counted: int, aligned: int = 1
) -> Iterator[tuple[bytes, int, int]]:
    """Chunks that follow each other: the name of each, where it begins, and its size.

    Args:
        file: to read the heads of.
        at: where the first chunk begins.
        head: name and size, as `struct` has them.
        counted: bytes of the head that the size leaves out.
        aligned: bytes at a multiple of which a chunk ends, from its own beginning.
    """
    length = struct.calcsize(head)
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        found = file.read(length)
        if len(found) < length:
            return
        name, size = struct.unpack(head, found)
        yield name, at, size
        if size + counted < length or at + size > _FARTHEST:
            return
        at += size + counted + (-(size + counted) % aligned)


def _iff(file: BinaryIO, end: int) -> bool:
    """AIFF, AIFF-C and Amiga's 8SVX: chunks with big-endian sizes."""
    return _goes_beyond(file, end, 12, ">4sI", (b"SSND", b"BODY"))


def _avi(file: BinaryIO, end: int) -> bool:
    """AVI: the list `movi` of each RIFF."""
    for name, at, size in walk(file, 0, "<4sI", 8, 2):
        if name != b"RIFF" or at + 12 > end:
            return False
        if _goes_beyond(file, end, at + 12, "<4sI", (b"LIST",)):
            return True
        if is_unknown(size):
            return False
    return False


def _goes_beyond(file: BinaryIO, end: int, at: int, head: str, wanted: tuple[bytes, ...]) -> bool:
    """Whether a chunk of those names goes beyond the file's end."""
    for name, start, size in walk(file, at, head, 8, 2):
        if name in wanted and (is_unknown(size) or start + 8 + size > end):
            return not is_unknown(size)
    return False


def _caf(file: BinaryIO, end: int) -> bool:
    for name, at, size in walk(file, 8, ">4sq", 12):
        if name == b"data":
            return not is_unknown_64(size) and at + 12 + size > end
    return False


def _w64(file: BinaryIO, end: int) -> bool:
    """Sony Wave64: names of 16 bytes, sizes of 64 bits that count the head of the chunk, each
    aligned to 8 bytes."""
    for name, at, size in walk(file, 40, "<16sq", 0, 8):
        if name[:4] == b"data":
            return not is_unknown_64(size - 24) and at + size > end
    return False


def _au(file: BinaryIO, end: int) -> bool:
    file.seek(4)
    start, size = struct.unpack(">II", file.read(8).ljust(8, b"\0"))
    return not is_unknown(size) and start + size > end


def _nist(file: BinaryIO, end: int) -> bool:
    """NIST sphere: text that counts samples per channel; packed ones have no size."""
    file.seek(0)
    head = file.read(1024).decode("latin-1")
    lines = head.split("\n")
    start = int(lines[1]) if len(lines) > 1 and lines[1].strip().isdigit() else 1024
    found = dict(re.findall(r"(?m)^(\w+) -\S+ (.+?)\s*$", head))
    if "embedded" in found.get("sample_coding", ""):
        return False
    counts = [found.get(name, default) for name, default in _NIST_COUNTS]
    if not all(count.isdigit() for count in counts):
        return False
    samples, channels, width = map(int, counts)
    return not is_unknown(samples) and start + samples * channels * width > end


_NIST_COUNTS = (("sample_count", "?"), ("channel_count", "1"), ("sample_n_bytes", "2"))


def _voc(file: BinaryIO, end: int) -> bool:
    """Creative's VOC: blocks of sound, each with its size; one of 0 ends the file."""
    file.seek(20)
    at = struct.unpack("<H", file.read(2).ljust(2, b"\0"))[0]
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        head = file.read(4)
        if len(head) < 4 or head[0] == 0:
            return False
        size = int.from_bytes(head[1:], "little")
        if head[0] in (1, 2, 9) and at + 4 + size > end:
            return size < 0xFFFFFF - _NEAR
        at += 4 + size
    return False


def _matroska(file: BinaryIO, end: int) -> bool:
    """Matroska and WebM: the segment's size; what is streamed has none."""
    at = 0
    for _ in range(8):
        file.seek(at)
        head = file.read(16)
        name = _width(head[:1])
        length = _width(head[name : name + 1])
        if not name or not length or len(head) < name + length:
            return False
        size = int.from_bytes(head[name : name + length], "big") & (1 << 7 * length) - 1
        if head[:4] == b"\x18\x53\x80\x67":
            return size not in (0, (1 << 7 * length) - 1) and at + name + length + size > end
        at += name + length + size
    return False


def _width(first: bytes) -> int:
    """Bytes of a number of EBML that begins with this one; 0 when there is none."""
    return 9 - first[0].bit_length() if first and first[0] else 0


def _boxes(file: BinaryIO, end: int) -> bool:
    """MP4 and QuickTime: boxes at the top."""
    at = 0
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            return False
        size = struct.unpack(">I", head[:4])[0]
        if size == 1 and len(head) == 16:
            size = struct.unpack(">Q", head[8:])[0]
        if size < 8:  # 0: to the end of the file
            return False
        if at + size > end:
            return head[4:8] in (b"mdat", b"moof", b"moov")
        at += size
    return False


_ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")


def _asf(file: BinaryIO, end: int) -> bool:
    for name, at, size in walk(file, 0, "<16sQ", 0):
        if name == _ASF_DATA:  # a broadcast declares its head alone
            return 50 < size < _UNKNOWN_64 and at + size > end
    return False


_JUDGES: tuple[tuple[bytes, Callable[[BinaryIO, int], bool]], ...] = (
    (rb"FORM....(AIF[FC]|8SVX|16SV)", _iff),
    (rb"RIFF....AVI ", _avi),
    (rb"caff", _caf),
    (rb"riff\x2e\x91\xcf\x11", _w64),
    (rb"\.snd", _au),
    (rb"NIST_1A", _nist),
    (rb"Creative Voice ", _voc),
    (rb"\x1a\x45\xdf\xa3", _matroska),
    (rb"....(ftyp|moov|mdat|wide|free|skip|pnot|styp)", _boxes),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _asf),
)
