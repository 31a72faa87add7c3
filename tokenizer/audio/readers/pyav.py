"""Decoding with PyAV, whose wheel carries FFmpeg: every common format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from av.stream import Disposition
from numpy.typing import NDArray

from tokenizer.audio.containers.digest import FlacDigest
from tokenizer.audio.containers.extents import is_cut, is_unmeasured
from tokenizer.audio.containers.headers import (
    is_misread_w64,
    read_blocks,
    read_wav_header,
    tagged_seconds,
    wav_may_hide,
)
from tokenizer.audio.containers.mpeg import Xing, before_tags, frame_bytes, read_xing
from tokenizer.audio.containers.ogg import Link
from tokenizer.audio.readers.base import (
    CUT_OFF,
    PADDING,
    AudioFile,
    SourceFacts,
    check_facts,
    opened,
    reason_of,
    require_track,
)
from tokenizer.audio.readers.formats import (
    CLOSE,
    EXACT,
    FORMATS,
    FRAMED,
    TOGETHER,
    UNTIMED,
    set_up,
)
from tokenizer.audio.readers.gathering import Gathered, layout_of
from tokenizer.audio.timeline import Clock, Decoded, Gap, Nothing, PageCounts, Timestamps, Untimed
from tokenizer.errors import FailureKind, RecordingError

_CUT_PACKET = "a packet is cut"
_XING_FRAMES = 2 * 1_152
"""samples by which encoders that do not say what they put before and behind may miscount"""
_AVI_PACKET = 8_192
"""samples by which AVI, which counts packets, may take a last one for too long: one of FLAC"""
_LONGEST_SILENCE = 3_600
"""seconds of a gap; beyond, time stamps are wrong and nothing is missing"""
_MOST_GAPS = 1_000
"""places of a recording that are noted; the rest is silence all the same"""
_JUNK_SHARE = 0.01
"""a packet with fewer bytes that are not zero is padding before or after an MPEG stream, not
damaged audio"""


class NotOpened(Exception):
    """FFmpeg finds no audio here; another decoder may."""


class PyAVReader:
    """One file, open."""

    def __init__(
        self,
        file: AudioFile,
        name: str,
        *,
        allow_damaged: bool = False,
        link: Link | None = None,
        origin: int = 0,
        stream: int | None = None,
    ) -> None:
        """Open a file.

        Args:
            file: to read.
            name: what errors call it.
            allow_damaged: fill what is missing with silence, and keep note of it in `gaps`.
            link: what the pages of an Ogg file say.
            origin: byte of that file where `file` begins.
            stream: the track of sound, from 0; None is the one that the file calls its default.

        Raises:
            NotOpened: it is nothing that FFmpeg knows, or has no audio.
            RecordingError: it has a header that cannot be (BAD_HEADER), or no such track
                (CHANNELS).
        """
        av.logging.set_level(av.logging.PANIC)
        self._name = name
        self._allow_damaged, self._link, self._origin = allow_damaged, link, origin
        self.tags_at: int | None = None
        self.xing: Xing | None = None
        self._packets: Iterator[Any] | None = None
        self._begin = 0
        self.gaps: list[Gap] = []
        options = {"format_whitelist": FORMATS}
        with opened(file) as handle:
            self._wav, self._blocks = read_wav_header(handle), read_blocks(handle)
            if self._wav is not None and not wav_may_hide(handle):
                # FFmpeg searches 32 packets of PCM for other codecs: 8 ms a file, ten times what a
                # second of it takes to decode.
                options["max_probe_packets"] = "1"
            self._cut, self._unmeasured = is_cut(handle), is_unmeasured(handle)
            wav = self._wav
            self.is_misread = is_misread_w64(handle) if wav is None else wav.is_misread
            """whether it is WAVE that FFmpeg reads as something else"""
        if self._wav is not None:
            check_facts(name, self._wav.sample_rate, self._wav.channels)
            if self._wav.is_ambiguous:
                what = f"its header declares samples of {self._wav.bits} bits in more bytes"
                message = f"{name}: {what}"
                raise RecordingError(FailureKind.BAD_HEADER, message, "open")
        try:
            self._container: Any = av.open(
                file, mode="r", metadata_errors="replace", options=options
            )
        except (FFmpegError, ValueError, OSError) as error:
            raise NotOpened(reason_of(error)) from error
        try:
            self._stream = self._audio_stream(stream)
            self.facts = self._facts(file)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._container.close()

    @property
    def length(self) -> int | None:
        """Samples that FFmpeg takes it to have."""
        return self._by_time_stamps(self.facts.sample_rate)

    def use(self, link: Link) -> None:
        """Judge by what the pages of this Ogg file say; before the first block."""
        self._link = link
        if link.cut:
            self.facts = replace(self.facts, declared=CUT_OFF, tolerance=0)
        elif not self.facts.trims:  # FFmpeg's figure is wrong where counts begin at any number
            self.facts = replace(self.facts, declared=None)

    def packets_from(self, byte: int | None) -> Iterator[Any]:
        """Packets from this byte of the file on, where the container can be entered anywhere."""
        if byte is not None:
            self._container.seek(byte, any_frame=True, unsupported_byte_offset=True)
        packets: Iterator[Any] = self._container.demux(self._stream)
        return packets

    def begin_at(self, packets: Iterator[Any], samples: int) -> None:
        """Read these packets, before which so many samples are passed over; before the first
        block."""
        self._packets, self._begin = packets, samples

    def _audio_stream(self, wanted: int | None) -> Any:
        """The track that was asked for, or the one that players choose: the first one that the file
        calls a default, else the first."""
        streams = self._container.streams.audio
        if not streams:
            raise NotOpened("it has no audio stream")
        require_track(self._name, wanted, len(streams))
        asked = streams if wanted is None else [streams[wanted]]
        readable = [stream for stream in asked if stream.codec_context is not None]
        if not readable:
            which = "" if wanted is None else f" track {wanted}"
            raise NotOpened(f"no decoder for its audio{which}")
        chosen = next(
            (stream for stream in readable if stream.disposition & Disposition.default), readable[0]
        )
        set_up(chosen.codec_context, self._container.format.name)
        return chosen

    def _facts(self, file: AudioFile) -> SourceFacts:
        context, container = self._stream.codec_context, self._container.format.name
        layout = layout_of(context)
        check_facts(self._name, context.sample_rate, len(layout))
        declared, tolerance = self._declared(file, container, context.sample_rate)
        return SourceFacts(
            decoder="pyav",
            container=container,
            codec=context.name,
            sample_rate=context.sample_rate,
            layout=layout,
            declared=declared,
            tolerance=tolerance,
            trims=(container == "ogg" and context.name == "vorbis")
            or container.startswith("mov")
            or self._blocks is not None
            or (container == "mp3" and declared is not None and tolerance < _XING_FRAMES),
            tracks=len(self._container.streams.audio),
            padding=PADDING if self._blocks is None else self._blocks.each,
            track=[one.index for one in self._container.streams.audio].index(self._stream.index),
        )

    def _declared(self, file: AudioFile, container: str, rate: int) -> tuple[int | None, int]:
        """Declared samples and the shortfall to accept; None where the figure is an estimate."""
        if container == "mp3":
            return self._declared_by_xing(file, rate)
        if self._blocks is not None:
            return self._blocks
        if container in ("wav", "w64") and self._wav is not None:
            samples = self._wav.samples
            return (CUT_OFF, 0) if samples is None and self._wav.is_cut else (samples, 1)
        if self._cut:
            return CUT_OFF, 0
        if self._unmeasured:
            return None, 0
        if container in EXACT:
            return self._by_time_stamps(rate), 0
        if container in CLOSE:
            counted = _AVI_PACKET if container == "avi" else 0
            return self._by_time_stamps(rate), max(rate // 10, counted)
        if container in TOGETHER:
            return self._by_its_own_duration(rate), rate // 10
        return None, 0

    def _declared_by_xing(self, file: AudioFile, rate: int) -> tuple[int | None, int]:
        with opened(file) as handle:
            self.xing = xing = read_xing(handle)
            self.tags_at = before_tags(handle)
        if xing is None:
            return None, 0
        return xing.samples, rate // 100 if xing.exact else _XING_FRAMES

    def _by_its_own_duration(self, rate: int) -> int | None:
        """Of a container that times all tracks together: what this one's DURATION tag says, or the
        file when it has no other.

        A track may begin late; its samples begin with its first one all the same, as FFmpeg's
        command line gives them, and so do `start` and `end` count. Some writers measure the tag
        from there and some from the file's beginning: the lesser counts.
        """
        late = (
            float(self._stream.start_time * self._stream.time_base)
            if self._stream.start_time
            else 0.0
        )
        tags = self._stream.metadata.items()
        if tagged := tagged_seconds(
            next((value for key, value in tags if key.upper().startswith("DURATION")), "")
        ):
            return max(0, round((tagged - max(0.0, late)) * rate))
        if len(self._container.streams) > 1:
            return None
        length = self._by_time_stamps(rate)
        return None if length is None else max(0, length - round(max(0.0, late) * rate))

    def _by_time_stamps(self, rate: int) -> int | None:
        if self._stream.duration is not None and self._stream.time_base is not None:
            samples: int = round(self._stream.duration * self._stream.time_base * rate)
            return samples
        duration: int | None = self._container.duration
        if duration is None or len(self._container.streams) > 1:  # the longest of all tracks
            return None
        return round(duration * rate / 1_000_000)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """All samples, about a second at a time, float32 `[channels, n]`, with silence for what is
        missing where that is allowed.

        Raises:
            RecordingError: packets that do not decode or are missing, unless that is allowed, or a
                rate or layout that changes on the way (DAMAGED).
        """
        gathered = Gathered(self.facts.channels)
        try:
            for found in self._alike():
                if isinstance(found, Gap):
                    yield from gathered.flush()
                    yield from self._filled(found)
                else:
                    yield from gathered.add(found, self.facts.sample_rate)
        except RecordingError:  # what came before it is sound, and may be all that is wanted
            yield from gathered.flush()
            raise
        yield from gathered.flush()

    def _filled(self, gap: Gap) -> Iterator[NDArray[np.float32]]:
        """Silence for a gap."""
        rate = self.facts.sample_rate
        missing = f", {gap.samples / rate:.3f} s are missing" if gap.samples else ""
        what = f"damaged at {gap.start / rate:.3f} s ({gap.reason}{missing})"
        if gap.samples > _LONGEST_SILENCE * rate:
            raise self._damaged(what)
        if not self._allow_damaged:
            raise self._damaged(
                f"{what}; --allow-damaged (allow_damaged=True) keeps it, with silence there"
            )
        if len(self.gaps) < _MOST_GAPS:
            self.gaps.append(gap)
        left = gap.samples
        while left:
            yield np.zeros((self.facts.channels, min(left, rate)), np.float32)
            left -= min(left, rate)

    def _alike(self) -> Iterator[Any | Gap]:
        """Frames of the rate and channels that the file began with, and gaps; not those behind all
        that was declared."""
        rate, channels = self.facts.sample_rate, self.facts.channels
        last: Gap | None = None
        digest = (
            FlacDigest.of(self._stream.codec_context.extradata)
            if self.facts.container == "flac"
            else None
        )
        for found in self._clock().frames(self._decoded()):
            if last is not None:
                yield last
                last = None
            if isinstance(found, Gap):
                last = found
                continue
            there = len(found.layout.channels)
            if found.sample_rate != rate or there != channels:
                raise self._damaged(
                    f"changes from {rate} Hz and {channels} channels to {found.sample_rate} Hz and "
                    f"{there}"
                )
            if digest is not None:
                digest.add(found)
            yield found
        cut = last is not None and last.reason == _CUT_PACKET and not last.samples
        if cut and self.facts.declared is None:
            self.facts = replace(self.facts, declared=CUT_OFF)
        elif last is not None and not self._is_behind(last):
            yield self._to_the_end(last)
        elif digest is not None and not self.gaps and digest.is_wrong:
            yield Gap(0, 0, "its samples are not those of its MD5")

    def _to_the_end(self, gap: Gap) -> Gap:
        """The last thing that was found, with nothing behind it: what was declared says how much is
        missing."""
        declared = self.facts.declared
        if gap.samples or declared is None or declared == CUT_OFF:
            return gap
        return replace(gap, samples=max(0, declared - gap.start))

    def _is_behind(self, gap: Gap) -> bool:
        """Whether only what stands behind the sound does not decode, or what is left of a packet
        that is cut."""
        declared = self.facts.declared
        return (
            not gap.samples
            and declared is not None
            and (declared == CUT_OFF or gap.start >= declared - self.facts.tolerance)
        )

    def _clock(self) -> Clock:
        if self._link is not None:
            return PageCounts(self._link, self.facts.sample_rate, self._origin)
        if self.facts.container in UNTIMED:
            return Untimed()
        return Timestamps(self.facts.sample_rate, self._begin)

    def _decoded(self) -> Iterator[Decoded]:
        packets = self._packets or self.packets_from(None)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except FFmpegError as error:  # the container itself is broken from here on
                yield Decoded(Nothing(), (), reason_of(error))
                return
            if self.tags_at is not None and packet.size and (packet.pos or 0) >= self.tags_at:
                continue
            yield self._decode(packet)

    def _decode(self, packet: Any) -> Decoded:
        try:
            frames = tuple(packet.decode())
        except FFmpegError as error:
            padding = _is_padding(bytes(packet))
            return Decoded(
                packet, (), None if padding else f"a packet does not decode: {reason_of(error)}"
            )
        cut = (packet.is_corrupt and self.facts.container not in UNTIMED) or self._is_short(packet)
        return Decoded(packet, frames, _CUT_PACKET if cut else None)

    def _is_short(self, packet: Any) -> bool:
        """Whether a frame breaks off, which decoders make up for."""
        codec = self.facts.codec
        if codec not in FRAMED or not packet.size:
            return False
        size = frame_bytes(bytes(packet)[:6], codec)
        return size is not None and packet.size < size

    def _damaged(self, what: str) -> RecordingError:
        return RecordingError(FailureKind.DAMAGED, f"{self._name}: {what}", "decode")


def _is_padding(packet: bytes) -> bool:
    return len(packet) - packet.count(0) <= len(packet) * _JUNK_SHARE
