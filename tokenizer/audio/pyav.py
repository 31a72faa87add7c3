"""Decoding with PyAV, whose wheel carries FFmpeg: every common format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.error import FFmpegError
from numpy.typing import NDArray

from tokenizer.audio.headers import ogg_has_ended, read_wav_header, wav_may_hide, xing_samples
from tokenizer.audio.readers import CUT_OFF, AudioFile, SourceFacts, check_facts, opened, usual_layout
from tokenizer.errors import FailureKind, RecordingError

FORMATS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,gsm,iff,matroska,mlp,mov,mp3,mpc,mpc8,"
    "mpeg,mpegts,mxf,nistsphere,ogg,oma,qcp,rm,shn,sox,tak,truehd,tta,voc,w64,wav,webm,wv"
)
"""demuxers that may open a file; a playlist (hls, concat) would read other local files"""
_EXACT = {"aiff", "flac", "wv", "tta", "ape", "caf", "au", "w64"}
"""containers that count samples"""
_CLOSE = {"mov,mp4,m4a,3gp,3g2,mj2", "ogg", "matroska,webm", "asf", "avi"}
"""containers that time-stamp their end"""
_MP3_DELAY = 4 * 1_152
"""samples that encoders put before and behind, which a Xing frame counts and a decoder takes off"""
_JUNK_SHARE = 0.01
"""a packet with fewer bytes that are not zero is padding before or after an MPEG stream, not damaged audio"""


_SAMPLE_TYPES: dict[str, np.dtype[Any]] = {"s16": np.dtype(np.int16), "s32": np.dtype(np.int32), "flt": np.dtype(np.float32)}
"""packed sample formats, and with a `p` behind them planar ones, that numpy turns into the same floats as libswresample, for a
tenth of its cost a frame"""
_MOST_PLANES = 2
"""channels of a planar frame that are read as they are: beyond 7, PyAV's list of planes runs over its end"""


class NotOpened(Exception):
    """FFmpeg finds no audio here; another decoder may."""


class PyAVReader:
    """One file, open."""

    def __init__(self, file: AudioFile, name: str) -> None:
        """Open a file.

        Raises:
            NotOpened: it is nothing that FFmpeg knows, or has no audio.
            RecordingError: it has a header that cannot be (BAD_HEADER).
        """
        av.logging.set_level(av.logging.PANIC)
        self._name = name
        options = {"format_whitelist": FORMATS}
        with opened(file) as handle:
            self._wav = read_wav_header(handle)
            if self._wav is not None and not wav_may_hide(handle):
                # FFmpeg searches 32 packets of PCM for other codecs: 8 ms a file, ten times what a second of it takes to decode.
                options["max_probe_packets"] = "1"
        if self._wav is not None:
            check_facts(name, self._wav.sample_rate, self._wav.channels)
        try:
            self._container: Any = av.open(file, mode="r", metadata_errors="replace", options=options)
        except (FFmpegError, ValueError, OSError) as error:
            raise NotOpened(_reason(error)) from error
        try:
            self._stream = self._audio_stream()
            self.facts = self._facts(file)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._container.close()

    def _audio_stream(self) -> Any:
        streams = self._container.streams.audio
        if not streams:
            raise NotOpened("it has no audio stream")
        if streams[0].codec_context is None:
            raise NotOpened("no decoder for its audio")
        return streams[0]

    def _facts(self, file: AudioFile) -> SourceFacts:
        context, container = self._stream.codec_context, self._container.format.name
        check_facts(self._name, context.sample_rate, context.channels)
        declared, tolerance = self._declared(file, container, context.sample_rate)
        return SourceFacts(
            decoder="pyav",
            container=container,
            codec=context.name,
            sample_rate=context.sample_rate,
            layout=_names(context.layout, context.channels),
            declared=declared,
            tolerance=tolerance,
            trims=(container == "ogg" and context.name == "vorbis") or container.startswith("mov"),
        )

    def _declared(self, file: AudioFile, container: str, rate: int) -> tuple[int | None, int]:
        """Declared samples and the shortfall to accept; None where the figure is an estimate."""
        if container == "wav" and self._wav is not None:
            return self._wav.samples, 1
        if container in _EXACT:
            return self._by_time_stamps(rate), 0
        if container == "mp3":
            with opened(file) as handle:
                return xing_samples(handle), _MP3_DELAY
        if container == "ogg":
            with opened(file) as handle:
                if not ogg_has_ended(handle):
                    return CUT_OFF, 0
        if container in _CLOSE:
            return self._by_time_stamps(rate), rate // 10
        return None, 0

    def _by_time_stamps(self, rate: int) -> int | None:
        if self._stream.duration is not None and self._stream.time_base is not None:
            samples: int = round(self._stream.duration * self._stream.time_base * rate)
            return samples
        duration = self._container.duration
        return None if duration is None else round(duration * rate / 1_000_000)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """All samples, about a second at a time, float32 `[channels, n]`.

        Raises:
            RecordingError: packets that do not decode, or a rate or layout that changes on the way (DAMAGED).
        """
        gathered = _Gathered(self.facts.channels)
        try:
            for frame in self._alike():
                yield from gathered.add(frame, self.facts.sample_rate)
        except RecordingError:  # what came before it is sound, and may be all that is wanted
            yield from gathered.flush()
            raise
        yield from gathered.flush()

    def _alike(self) -> Iterator[Any]:
        """Frames of the rate and channels that the file began with."""
        rate, channels = self.facts.sample_rate, self.facts.channels
        for frame in self._frames():
            found = len(frame.layout.channels)
            if frame.sample_rate != rate or found != channels:
                raise self._damaged(f"changes from {rate} Hz and {channels} channels to {frame.sample_rate} Hz and {found}")
            yield frame

    def _frames(self) -> Iterator[Any]:
        bad, total, reason = 0, 0, ""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except FFmpegError as error:  # the container itself is broken from here on
                raise self._damaged(_reason(error)) from error
            total += 1
            try:
                yield from packet.decode()
            except FFmpegError as error:
                if not _is_padding(bytes(packet)):
                    bad, reason = bad + 1, _reason(error)
        if bad:
            raise self._damaged(f"{bad} of {total} packets do not decode ({reason})")

    def _damaged(self, what: str) -> RecordingError:
        return RecordingError(FailureKind.DAMAGED, f"{self._name}: {what}", "decode")


class _Gathered:
    """Samples of frames as they lie in memory, until there are enough of them to be worth converting."""

    def __init__(self, channels: int) -> None:
        self._channels = channels
        # `to_ndarray` on planar audio of many channels crashes the process: packed floats are always safe.
        self._packed = AudioResampler(format="flt")
        self._types = dict(_SAMPLE_TYPES)
        if channels <= _MOST_PLANES:
            self._types |= {f"{name}p": dtype for name, dtype in _SAMPLE_TYPES.items()}
        self._format = ""
        self._held: list[list[NDArray[Any]]] = []
        self._count = 0

    def add(self, frame: Any, enough: int) -> Iterator[NDArray[np.float32]]:
        """Take in a frame; yields a block where `enough` samples per channel have come together."""
        for readable in (frame,) if frame.format.name in self._types else self._packed.resample(frame):
            if readable.format.name != self._format:
                yield from self.flush()
                self._format = readable.format.name
            self._held.append(self._planes(readable))
            self._count += readable.samples
        if self._count >= enough:
            yield from self.flush()

    def flush(self) -> Iterator[NDArray[np.float32]]:
        """What has been gathered, as one block."""
        if not self._count:
            return
        rows = [np.concatenate(pieces) for pieces in zip(*self._held, strict=True)]
        block = np.empty((self._channels, self._count), np.float32)
        block[...] = rows[0].reshape(-1, self._channels).T if len(rows) < self._channels else rows
        scale = 1.0 if rows[0].dtype.kind == "f" else 2.0 ** (1 - 8 * rows[0].dtype.itemsize)
        self._held, self._count = [], 0
        yield block if scale == 1.0 else np.multiply(block, np.float32(scale), out=block)

    def _planes(self, frame: Any) -> list[NDArray[Any]]:
        """Views of a frame's memory: one of all samples in turn, or one a channel."""
        dtype = self._types[self._format]
        if self._format in _SAMPLE_TYPES:
            return [np.frombuffer(frame.planes[0], dtype, frame.samples * self._channels)]
        return [np.frombuffer(plane, dtype, frame.samples) for plane in frame.planes]


def _names(layout: Any, channels: int) -> tuple[str, ...]:
    names = tuple(channel.name for channel in layout.channels)
    return names if len(names) == channels and "NONE" not in names else usual_layout(channels)


def _is_padding(packet: bytes) -> bool:
    return len(packet) - packet.count(0) <= len(packet) * _JUNK_SHARE


def _reason(error: BaseException) -> str:
    log = getattr(error, "log", None)
    if log and "whitelist" in log[2]:
        return f"a {log[1]} file is no container of audio"
    if log:
        return str(log[2]).strip() or type(error).__name__
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
