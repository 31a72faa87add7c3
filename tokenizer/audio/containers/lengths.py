"""How long a recording is by its file's header: a few reads, nothing decoded.

What a header says is taken with care: it may be damaged, or made to harm. Whatever is wrong with
it gives no length, and no reader here reads more than a bounded part of a file.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import BinaryIO, cast

from tokenizer.audio.containers.clocks import asf, avi, matroska, mp4
from tokenizer.audio.containers.extents import is_unknown, is_unknown_64
from tokenizer.audio.containers.framed import by_frames, ogg
from tokenizer.audio.containers.glance import Glance, Length
from tokenizer.audio.containers.headers import read_blocks, read_wav_header
from tokenizer.audio.containers.mpeg import after_id3
from tokenizer.audio.containers.unfinished import finish

__all__ = ["Length", "length_of"]

_LEAST_BYTES_A_SECOND = 20.0
"""of any codec, silence included; what says to be longer than that lies"""
_ALWAYS = 60.0
_MOST_CHUNKS = 200
_MOST_TAGS = 4


def length_of(file: BinaryIO | Glance) -> Length | None:
    """How long the recording in a file is; None where its header does not say.

    Exact for whole WAV, AIFF, AU, CAF and Wave64 files of PCM, FLAC, WavPack, TTA, Ogg Vorbis,
    Opus and FLAC, and MP3 with the counts of LAME or FFmpeg. An estimate for MP4, Matroska, ASF,
    AVI, and whatever consists of frames alone. The file's position is not kept.
    """
    glance = file if isinstance(file, Glance) else Glance.at_file(file)
    try:
        finished = finish(glance)
        glance = glance if finished is None else finished.over(glance)
        found = _measured(glance)
    except (ArithmeticError, LookupError, OSError, ValueError, struct.error):
        return None
    if found is None or not 0 < found.seconds <= _ALWAYS + glance.size / _LEAST_BYTES_A_SECOND:
        return None
    return found


def _measured(glance: Glance) -> Length | None:
    head = glance.at(0, 16)
    for magic, reader in _READERS:
        if re.match(magic, head, re.DOTALL):
            return reader(glance)
    start = 0
    for _ in range(_MOST_TAGS):
        tag = after_id3(cast(BinaryIO, glance.behind(start)))
        start += tag
        if not tag:
            break
    if glance.at(start, 4) == b"fLaC":
        return _flac(glance, start)
    return by_frames(glance, start)


def _wav(glance: Glance) -> Length | None:
    header = read_wav_header(cast(BinaryIO, glance))
    if header is None or header.sample_rate <= 0:
        return None
    there = header.data_there if header.data_bytes is None else header.data_bytes
    there = min(there, header.data_there)
    if header.samples is not None or (header.data_bytes is None and header.encoding in (1, 3)):
        return Length(there // header.block_align / header.sample_rate, not header.is_cut)
    return _wav_of_blocks(glance, there, header.sample_rate)


def _wav_of_blocks(glance: Glance, there: int, rate: int) -> Length | None:
    """Where a block holds several samples: by the count in the fact chunk, or by the bytes a
    second."""
    blocks = read_blocks(cast(BinaryIO, glance))
    if blocks is not None:
        return Length(blocks.samples / rate, exact=False)
    number = ">I" if glance.at(0, 4) == b"RIFX" else "<I"
    form = glance.at(0, 4096).find(b"fmt ")
    return Length(there / glance.unpack(number, form + 16)[0], exact=False)


def _flac(glance: Glance, start: int = 0) -> Length | None:
    packed = int.from_bytes(glance.at(start + 18, 8), "big")
    samples, rate = packed & (1 << 36) - 1, packed >> 44
    return Length(samples / rate, exact=True) if samples else None


def _aiff(glance: Glance) -> Length | None:
    at, facts = 12, None
    for _ in range(_MOST_CHUNKS):
        head = glance.at(at, 8)
        if len(head) < 8:
            return None
        name, size = struct.unpack(">4sI", head)
        if name == b"COMM":
            channels, frames, bits = glance.unpack(">hIh", at + 8)
            kind = glance.at(at + 26, 4) if size >= 22 else b"NONE"
            facts = channels * -(-bits // 8), frames, _extended(glance.at(at + 16, 10)), kind
        elif name == b"SSND" and facts is not None:
            width, frames, rate, kind = facts
            if kind not in (b"NONE", b"sowt", b"twos", b"fl32", b"FL32", b"in24", b"in32"):
                return Length(frames * (64 if kind == b"ima4" else 1) / rate, exact=False)
            there = (glance.size - at - 16) // width
            unknown = frames == 0 or is_unknown(size)
            return Length((there if unknown else min(frames, there)) / rate, frames <= there)
        at += 8 + size + (size & 1)
    return None


def _extended(ten: bytes) -> float:
    """A number of 80 bits."""
    exponent, mantissa = struct.unpack(">HQ", ten)
    return float(mantissa) * float(2.0 ** (min(exponent & 0x7FFF, 17_000) - 16_383 - 63))


_AU_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}


def _au(glance: Glance) -> Length | None:
    start, size, encoding, rate, channels = glance.unpack(">IIIII", 4)
    width = _AU_WIDTHS[encoding] * channels
    there = glance.size - start
    return Length((there if is_unknown(size) else min(size, there)) // width / rate, exact=True)


def _w64(glance: Glance) -> Length | None:
    at, facts = 40, None
    for _ in range(_MOST_CHUNKS):
        name, size = glance.unpack("<16sQ", at)
        if name[:4] == b"fmt ":
            facts = glance.unpack("<HHIIHH", at + 24)
        elif name[:4] == b"data" and facts is not None:
            encoding, _, rate, bytes_a_second, align, _ = facts
            there = glance.size - at - 24
            there = there if is_unknown_64(size - 24) else min(size - 24, there)
            if encoding in (1, 3, 6, 7, 0xFFFE):
                return Length(there // align / rate, exact=True)
            return Length(there / bytes_a_second, exact=False)
        at += max(24, size + (-size % 8))
    return None


def _caf(glance: Glance) -> Length | None:
    at, facts = 8, None
    for _ in range(_MOST_CHUNKS):
        name, size = glance.unpack(">4sq", at)
        if name == b"desc":
            facts = glance.unpack(">d4sIII", at + 12)
        elif name == b"pakt" and facts is not None:
            return Length(glance.unpack(">q", at + 20)[0] / facts[0], exact=False)
        elif name == b"data" and facts is not None and facts[3]:
            there = glance.size - at - 16
            there = there if is_unknown_64(size) else min(size - 4, there)
            return Length(there // facts[3] * facts[4] / facts[0], facts[1] == b"lpcm")
        at += 12 + max(0, size)
    return None


def _nist(glance: Glance) -> Length | None:
    head = glance.at(0, 1024).decode("latin-1")
    found = dict(re.findall(r"(?m)^(\w+) -i (\d{1,18})\s*$", head))
    return Length(int(found["sample_count"]) / int(found["sample_rate"]), exact=False)


_WAVPACK_RATES = (
    *(6_000, 8_000, 9_600, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100),
    *(48_000, 64_000, 88_200, 96_000, 192_000),
)


def _wavpack(glance: Glance) -> Length | None:
    high, samples, flags = glance.unpack("<xBIxxxxxxxxI", 10)
    if samples == 0xFFFFFFFF or flags >> 31:
        return None
    return Length((samples + (high << 32)) / _WAVPACK_RATES[flags >> 23 & 15], exact=True)


def _tta(glance: Glance) -> Length | None:
    rate, samples = glance.unpack("<II", 10)
    return Length(samples / rate, exact=True)


def _ape(glance: Glance) -> Length | None:
    version, length = glance.unpack("<HxxI", 4)
    if version < 3980:
        return None
    block, last, frames, rate = glance.unpack("<IIIxxxxI", length + 4)
    return Length(((frames - 1) * block + last) / rate, exact=False)


def _dsf(glance: Glance) -> Length | None:
    rate, samples = glance.unpack("<IxxxxQ", 56)
    return Length(samples / rate, exact=False)


_READERS: tuple[tuple[bytes, Callable[[Glance], Length | None]], ...] = (
    (rb"(RIFF|RIFX|RF64|BW64)....WAVE", _wav),
    (rb"fLaC", _flac),
    (rb"OggS", ogg),
    (rb"....(ftyp|moov|mdat|wide|free|skip|pnot|styp)", mp4),
    (rb"\x1a\x45\xdf\xa3", matroska),
    (rb"FORM....AIF[FC]", _aiff),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", asf),
    (rb"RIFF....AVI ", avi),
    (rb"wvpk", _wavpack),
    (rb"caff", _caf),
    (rb"riff\x2e\x91\xcf\x11", _w64),
    (rb"\.snd", _au),
    (rb"NIST_1A", _nist),
    (rb"TTA1", _tta),
    (rb"MAC ", _ape),
    (rb"DSD ", _dsf),
)
"""by a file's first bytes"""
