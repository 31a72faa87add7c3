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


_PACKED_SCALE = {"s16": 2.0**-15, "s32": 2.0**-31, "flt": 1.0}
"""packed sample formats that numpy turns into the same floats as libswresample, for a tenth of its cost a frame"""


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
        """Every frame as float32 `[channels, n]`.

        Raises:
            RecordingError: packets that do not decode, or a rate or layout that changes on the way (DAMAGED).
        """
        # `to_ndarray` on planar audio of many channels crashes the process: always through packed floats.
        packed = AudioResampler(format="flt")
        channels = self.facts.channels
        for frame in self._frames():
            if frame.sample_rate != self.facts.sample_rate or len(frame.layout.channels) != channels:
                raise self._damaged(
                    f"changes from {self.facts.sample_rate} Hz and {channels} channels to "
                    f"{frame.sample_rate} Hz and {len(frame.layout.channels)}"
                )
            if frame.format.name in _PACKED_SCALE:
                yield _floats(frame, channels)
                continue
            for flat in packed.resample(frame):
                yield _floats(flat, channels)

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


def _floats(frame: Any, channels: int) -> NDArray[np.float32]:
    """A packed frame as float32 `[channels, n]`."""
    samples = np.ascontiguousarray(frame.to_ndarray().reshape(-1, channels).T).astype(np.float32, copy=False)
    scale = _PACKED_SCALE[frame.format.name]
    return samples if scale == 1.0 else np.multiply(samples, np.float32(scale), out=samples)


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
