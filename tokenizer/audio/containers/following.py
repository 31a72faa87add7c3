"""Whether sound may follow behind what a header counts, as where files were joined byte for byte:
FFmpeg reads on there, and libsndfile does not, or reads another header as sound."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from tokenizer.audio.containers.extents import walk

GOING_ON = {"flac", "au", "w64"}
"""containers of which that is asked, as FFmpeg and libsndfile call them"""
_FLAC = tuple(b"fLaC" + bytes((last, 0, 0, 34)) for last in (0, 0x80))
"""how a stream of FLAC begins: its first block describes it"""
_BLOCK = 1 << 20


def may_go_on(file: BinaryIO) -> bool:
    """Whether more than what the header counts stands in a file of FLAC, AU or Wave64; other
    containers say where they end, to every decoder. FLAC is read to its end for that."""
    file.seek(0)
    head = file.read(12)
    end = file.seek(0, os.SEEK_END)
    if head.startswith(b".snd"):
        start, size = struct.unpack(">II", head[4:])
        return bool(size != 0xFFFFFFFF and start + size < end)
    if head.startswith(b"riff\x2e\x91\xcf\x11"):
        return any(
            name[:4] == b"data" and at + size + 8 <= end
            for name, at, size in walk(file, 40, "<16sq", 0, 8)
        )
    return _streams(file) > 1


def _streams(file: BinaryIO) -> int:
    """Streams of FLAC that begin in a file."""
    file.seek(0)
    count, left = 0, b""
    while block := file.read(_BLOCK):
        text = left + block
        if b"fLaC" in text:
            count += sum(text.count(start) for start in _FLAC)
        left = text[-len(_FLAC[0]) + 1 :]
    return count
