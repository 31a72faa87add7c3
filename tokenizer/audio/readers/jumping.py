"""MP3 from the middle: the same samples as when all is decoded, without decoding what is before.

A frame of layer 3 needs at most 511 bytes of the frames before it, overlaps with one of them, and
FFmpeg's decoder remembers nothing else. So decoding begins a few frames early, at a frame whose
place the headers tell, and what comes out of those few is thrown away. Where anything but frames
of one kind stands before the place, or the file's end is not where its Xing frame says, there is no
jump, and all is decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from av.error import FFmpegError

from tokenizer.audio.containers.frames import FrameIndex
from tokenizer.audio.readers.base import PADDING, AudioFile, opened
from tokenizer.audio.readers.pyav import PyAVReader

JUMPED = {"mp3float", "mp3"}
"""codecs that remember so little; in AAC, AC-3 and Opus noise or filters depend on all before"""
_NEAR_THE_END = 2.0
"""seconds before the declared end from which that must be where frames end"""


class Jumps:
    """What is known about the frames of one file, for all segments of it."""

    def __init__(self) -> None:
        self._index: FrameIndex | None = None
        self._late = 0
        """samples that FFmpeg takes off in front"""
        self._step = 0
        """time units of a frame"""
        self._never = False
        self.goes_on: bool | None = None
        """whether sound may follow behind what the header counts, where somebody has looked"""

    def jump(
        self, reader: PyAVReader, file: AudioFile, start: float, end: float | None
    ) -> int | None:
        """Let a reader that has just been opened begin before `start` (seconds).

        Returns:
            Samples before the first that it gives, at most those before `start`; None where there
            is no way but to decode all, by another reader: this one is no longer at its beginning.
        """
        if self._never or reader.facts.codec not in JUMPED or reader.facts.container != "mp3":
            return None
        if self._index is None and not self._look(reader, file):
            self._never = True
            return None
        index = self._index
        rate = reader.facts.sample_rate
        if index is None or not self._ends_as_declared(reader, file, index, end):
            return None
        wanted = (round(start * rate) + self._late) // index.samples
        with opened(file) as handle:
            place = index.place(handle, wanted)
        if place is None:
            return None
        number, byte = place
        try:
            packets = reader.packets_from(byte)
            first = next(packets, None)
        except FFmpegError:
            return None
        if first is None or first.pos != byte or first.duration != self._step:
            return None
        reader.begin_at(
            self._decoded_from(wanted, number, first, packets),
            wanted * index.samples - self._late,
        )
        return wanted * index.samples - self._late

    def _look(self, reader: PyAVReader, file: AudioFile) -> bool:
        """Find the first frame, and what FFmpeg takes off in front."""
        for packet in reader.packets_from(None):
            try:
                frames = packet.decode()
            except FFmpegError:
                return False
            if self._index is None:
                if packet.pos is None or packet.pts != 0 or not packet.duration:
                    return False
                with suppress(ValueError):
                    self._index = FrameIndex(packet.pos, bytes(packet)[:4])
                if self._index is None:
                    return False
                self._step = packet.duration
            if frames:
                late = frames[0].pts * frames[0].time_base * reader.facts.sample_rate
                self._late = round(late)
                return bool(late == self._late)
        return False

    def _ends_as_declared(
        self, reader: PyAVReader, file: AudioFile, index: FrameIndex, end: float | None
    ) -> bool:
        """Whether a segment ends well before the file does, or the file where it says: only then
        is it known what FFmpeg would take off at the end."""
        facts, xing = reader.facts, reader.xing
        if xing is None or not xing.exact or facts.declared is None:
            return True
        if end is not None and end < facts.declared / facts.sample_rate - _NEAR_THE_END:
            return True
        with opened(file) as handle:
            found = index.count(handle, reader.tags_at or 0)
        behind = xing.frames * index.samples - self._late - facts.declared
        return found == xing.frames and 0 <= behind <= PADDING

    def _decoded_from(
        self, wanted: int, number: int, first: Any, packets: Iterator[Any]
    ) -> Iterator[Any]:
        """Packets from frame `wanted` on, with the times that they have when all are read; those
        from `number` up to it are decoded before."""
        packet: Any = first
        while packet is not None and packet.size:
            packet.pts = packet.dts = number * self._step
            if number < wanted:
                with suppress(FFmpegError):
                    packet.decode()
            else:
                yield packet
            packet, number = next(packets, None), number + 1
        if packet is not None:
            yield packet
