"""What a file's own header declares, read without decoding: the yardstick for files that end early.

Silent truncation is the common lie: decoders return what is there and say nothing. So the length
that the header declares is compared with what came out, wherever a header can be believed.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from tokenizer.audio.containers.extents import is_unknown, is_unknown_64, walk

_PLAIN = {(1, 16), (1, 24), (1, 32), (3, 32)}
"""format tags and bits that every decoder turns into the same floats"""
_BY_SAMPLE = {1, 3, 6, 7}
"""format tags whose blocks are one sample of all channels: PCM, float, A-law and mu-law"""
_FIXED_BLOCKS = {0x02: (2, 7), 0x11: (1, 4), 0x20: (0, 0), 0x31: (320, 65)}
"""Microsoft's and IMA's ADPCM, Yamaha's, GSM: samples that stand in a block's head, and bytes of
that per channel; two samples in each byte behind it"""
_EXTENSIBLE = 0xFFFE
_WAVE64 = b"riff\x2e\x91\xcf\x11"
_HIDDEN_SYNCS = tuple(
    bytes.fromhex(sync)
    for sync in ("7ffe8001", "fe7f0180", "1fffe800", "ff1f00e8", "f8724e1f", "72f81f4e")
)
"""how DTS (16 and 14 bits, both byte orders) and IEC 61937 bursts begin"""
_HIDDEN_WITHIN = 1 << 19
"""bytes from the start of a RIFF file; FFmpeg itself finds none that begins later"""


@dataclass(frozen=True, slots=True)
class WavHeader:
    """The format and data chunks of a RIFF file."""

    encoding: int
    """the format tag: 1 is PCM, 3 float; of the extensible kind the one within"""
    extensible: bool
    channels: int
    sample_rate: int
    block_align: int
    """bytes a sample of all channels takes"""
    bits: int
    """of a sample"""
    valid_bits: int
    """of those, the ones that are used; of the extensible kind alone, else as many"""
    data_bytes: int | None
    """declared size of the samples; None when the writer could not know it"""
    data_there: int
    """bytes of the file from where the samples begin"""
    swapped: bool = False
    """RIFX: all numbers are big-endian, samples too"""

    @property
    def samples(self) -> int | None:
        """Declared samples per channel; None where a block holds several, as in ADPCM."""
        if self.data_bytes is None or not self.block_align or self.encoding not in _BY_SAMPLE:
            return None
        block = max(self.block_align, self.channels * -(-self.bits // 8))
        return self.data_bytes // block

    @property
    def is_misread(self) -> bool:
        """Whether FFmpeg reads it as something else: it takes padded samples for packed ones, or
        for floats, and big-endian samples for little-endian ones."""
        return _is_padded(self.encoding, self.extensible, self.bits, self.valid_bits) or (
            self.swapped and self.encoding in (1, 3) and self.bits > 8
        )

    @property
    def is_ambiguous(self) -> bool:
        """Whether the old kind of header says the same of samples, of which no two programs then
        make the same; of 24 bits in 4 bytes, floats by a program that is known."""
        return (
            not self.extensible
            and self.encoding == 1
            and self.bits != 24
            and 0 < self.channels * -(-self.bits // 8) < self.block_align
        )

    @property
    def is_cut(self) -> bool:
        """Whether bytes of the samples are missing."""
        return self.data_bytes is not None and self.data_there < self.data_bytes

    @property
    def is_plain(self) -> bool:
        """Whether these are mono or stereo samples as any program writes them, and all of them are
        there."""
        known = (self.encoding, self.bits) in _PLAIN and self.channels in (1, 2)
        return (
            known
            and not self.extensible
            and 8 * self.block_align == self.channels * self.bits
            and 0 < (self.data_bytes or 0) <= self.data_there
        )


def read_wav_header(file: BinaryIO) -> WavHeader | None:
    """The header of a RIFF, RIFX, RF64 or BW64 file; None for anything else, or one without its
    format chunk."""
    file.seek(0)
    head = file.read(12)
    if (
        len(head) < 12
        or head[:4] not in (b"RIFF", b"RIFX", b"RF64", b"BW64")
        or head[8:] != b"WAVE"
    ):
        return None
    order = ">" if head[:4] == b"RIFX" else "<"
    facts: tuple[int, bool, int, int, int, int, int] | None = None
    long: int | None = None
    while len(chunk := file.read(8)) == 8:
        size = struct.unpack(order + "I", chunk[4:])[0]
        if chunk[:4] == b"data":
            if facts is None:
                return None
            start = file.tell()
            there = file.seek(0, os.SEEK_END) - start
            return WavHeader(*facts, _data_bytes(size, long), there, order == ">")
        if chunk[:4] not in (b"fmt ", b"ds64"):
            file.seek(size + (size & 1), os.SEEK_CUR)
            continue
        body = file.read(size)
        file.seek(size & 1, os.SEEK_CUR)
        if chunk[:4] == b"ds64" and len(body) >= 16:
            long = struct.unpack(order + "Q", body[8:16])[0]
        elif chunk[:4] == b"fmt ":
            if len(body) < 16:
                return None
            facts = _format_facts(body, order)
    return None


def is_misread_w64(file: BinaryIO) -> bool:
    """Whether a file is Wave64 of padded samples, which FFmpeg reads as it does those of WAVE."""
    file.seek(0)
    if file.read(8) != _WAVE64:
        return False
    for name, at, size in walk(file, 40, "<16sq", 0, 8):
        if name[:4] == b"fmt ":
            file.seek(at + 24)
            body = file.read(min(size, 40))
            if len(body) < 16:
                return False
            encoding, extensible, _, _, _, bits, valid = _format_facts(body, "<")
            return _is_padded(encoding, extensible, bits, valid)
        if name[:4] == b"data":
            return False
    return False


def _is_padded(encoding: int, extensible: bool, bits: int, valid: int) -> bool:
    """Whether samples take more bytes than they have bits for, as Windows records 24 bits in
    32."""
    return extensible and encoding == 1 and 0 < -(-valid // 8) < -(-bits // 8)


def _format_facts(body: bytes, order: str) -> tuple[int, bool, int, int, int, int, int]:
    """Encoding, whether it is extensible, channels, rate, bytes a block, bits and valid bits, from
    a format chunk."""
    encoding, channels, rate, _, align, bits = struct.unpack(order + "HHIIHH", body[:16])
    extensible, valid = encoding == _EXTENSIBLE, bits
    if extensible and len(body) >= 26:
        valid, encoding = struct.unpack(order + "H4xH", body[18:26])
    return encoding, extensible, channels, rate, align, bits, valid


def _data_bytes(size: int, long: int | None) -> int | None:
    """The size of the samples, from the data chunk, or from the 64-bit sizes where that points to
    them."""
    if long is not None and size == 0xFFFFFFFF:
        return None if is_unknown_64(long) else long
    return None if is_unknown(size) else size


class Blocks(NamedTuple):
    """Samples of ADPCM or GSM, of which a block holds several and the last one is filled up."""

    samples: int
    """per channel, as the fact chunk counts them: without what fills the last block"""
    each: int
    """per channel, in a block"""


def read_blocks(file: BinaryIO) -> Blocks | None:
    """How many samples the blocks of a RIFF or Wave64 file are for; None where it is cut, says
    nothing, or what cannot be: some writers count all channels, some put in a fixed number."""
    file.seek(0)
    head, end = file.read(16), file.seek(0, os.SEEK_END)
    wide = head[:8] == _WAVE64
    if not wide and (head[:4] not in (b"RIFF", b"RIFX") or head[8:12] != b"WAVE"):
        return None
    order = ">" if head[:4] == b"RIFX" else "<"
    chunks = walk(file, 40, "<16sq", 0, 8) if wide else walk(file, 12, f"{order}4sI", 8, 2)
    skipped, found, there = 24 if wide else 8, dict[bytes, bytes](), 0
    for name, at, size in chunks:
        if name[:4] == b"data":
            declared, left = size - (24 if wide else 0), end - at - skipped
            unknown = is_unknown_64(declared) if wide else is_unknown(declared)
            if not unknown and declared > left:
                return None
            there = left if unknown else declared
            break
        if name[:4] in (b"fmt ", b"fact"):
            file.seek(at + skipped)
            found[name[:4]] = file.read(min(size, 32))
    return _counted(found.get(b"fmt ", b""), found.get(b"fact", b""), there, order)


def _counted(form: bytes, fact: bytes, there: int, order: str) -> Blocks | None:
    """What a fact chunk says, where the blocks that are there are just enough for it."""
    if len(form) < 16 or len(fact) < 4:
        return None
    encoding, channels, _, _, align, _ = struct.unpack(order + "HHIIHH", form[:16])
    if encoding not in _FIXED_BLOCKS or not channels or not align:
        return None
    first, left_out = _FIXED_BLOCKS[encoding]
    each = struct.unpack(order + "H", form[18:20])[0] if len(form) >= 20 else 0
    each = each or first + 2 * (align // channels - left_out)
    samples = struct.unpack(order + "I", fact[:4])[0]
    filled = -(-there // align) * each - samples
    return Blocks(samples, each) if samples and 0 <= filled < each else None


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


def tagged_seconds(text: str) -> float:
    """A time as Matroska's tags have it, `00:00:05.008000000`; 0 when it is none."""
    try:
        hours, minutes, seconds = text.split(":")
        return 3_600 * int(hours) + 60 * int(minutes) + float(seconds)
    except ValueError:
        return 0.0
