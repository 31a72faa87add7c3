"""Where the frames of an MPEG audio file begin, from their headers alone: what makes it possible to
decode one stretch of a long file."""

from __future__ import annotations

from array import array
from typing import BinaryIO

from tokenizer.audio.containers.mpeg import frame_bytes

RESERVOIR = 511
"""bytes of earlier frames that a frame of layer 3 may use at most (`main_data_begin`, 9 bits)"""
LEAST_BEFORE = 10
"""frames to decode before the first one that is wanted: the transform overlaps by one, and the
filter bank remembers less than one"""
MOST_BEFORE = 600
_EVERY = 64
"""frames between those whose place is kept"""
_BLOCK = 1 << 20
_HEADER, _CRC = 4, 2


class FrameIndex:
    """Places of frames that follow each other without anything between them, all of one version,
    layer, rate and number of channels; read as far as it is asked.

    Eight bytes are kept for every 64th frame: 40 kB an hour.
    """

    def __init__(self, first: int, head: bytes) -> None:
        """`first` is the byte at which the first frame begins, `head` its first four bytes.

        Raises:
            ValueError: no frame of layer 3 whose length its header says.
        """
        if len(head) < _HEADER or frame_bytes(head.ljust(6, b"\0"), "mp3") is None:
            raise ValueError("no frame of MPEG audio")
        self._second, self._mono = head[1], head[3] >> 6 == 3
        version = head[1] >> 3 & 3
        self.samples = 1_152 if version == 3 else 576
        """of a frame"""
        side = {(3, False): 32, (3, True): 17, (2, False): 17, (0, False): 17}
        self._overhead = _HEADER + _CRC + side.get((version, self._mono), 9)
        rate_bits = head[2] & 0b1100
        self._sizes = [
            (frame_bytes(bytes((0xFF, head[1], third, 0, 0, 0)), "mp3") or 0)
            if third & 0b1100 == rate_bits
            else 0
            for third in range(256)
        ]
        """of a frame by its third byte; 0 for a header that is not like the first"""
        self._kept = array("q", [first])
        self._known, self._at, self._broken = 0, first, False
        """frames before `_at`, and whether what stands there is none"""

    def place(self, file: BinaryIO, number: int) -> tuple[int, int] | None:
        """From where to decode so that frame `number` comes out as it does when all are decoded:
        the frame's number and its byte. None where frames do not follow each other up to there."""
        self._walk(file, number + 1)
        if self._known <= number:
            return None
        begin = max(0, (number - MOST_BEFORE) // _EVERY)
        at, places = self._kept[begin], array("q")
        file.seek(at)
        content = file.read(_EVERY * 1_500 + self._kept[number // _EVERY] - at)
        while begin * _EVERY + len(places) < number:
            places.append(at)
            at += self._sizes[content[at - self._kept[begin] + 2]]
        main = 0
        for back in range(1, len(places) + 1):
            size = (places[-back + 1] if back > 1 else at) - places[-back]
            main += max(0, size - self._overhead)
            if back >= LEAST_BEFORE and main > RESERVOIR:
                # One more: what it needs of the reservoir is then there, whole.
                back = min(len(places), back + LEAST_BEFORE)
                return number - back, places[-back]
        return (number - len(places), places[0]) if begin == 0 and places else None

    def count(self, file: BinaryIO, end: int) -> int | None:
        """Frames of the whole file, whose tags begin at byte `end`; None where something else
        stands between or behind them."""
        while not self._broken and self._at < end:
            self._walk(file, self._known + _BLOCK, end)
        return self._known if self._at == end else None

    def _walk(self, file: BinaryIO, frames: int, end: int | None = None) -> None:
        """Read headers until so many frames are known."""
        sizes, second, mono = self._sizes, self._second, self._mono
        while self._known < frames and not self._broken and self._at != end:
            start = self._at
            file.seek(start)
            content = file.read(_BLOCK)
            at, known, last = 0, self._known, min(len(content), (end or 1 << 62) - start) - _HEADER
            if last < 0:
                self._broken = True
            while at <= last and known < frames:
                size = sizes[content[at + 2]]
                if (
                    not size
                    or content[at] != 0xFF
                    or content[at + 1] != second
                    or (content[at + 3] >= 0xC0) != mono
                ):
                    self._broken = True
                    break
                at += size
                known += 1
                if known % _EVERY == 0:
                    self._kept.append(start + at)
            self._known, self._at = known, start + at
