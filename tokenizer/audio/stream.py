"""One recording, from file to blocks at a codec's rate: open, decode, cut, check, map, resample,
measure.

file ──reader──▶ source blocks ──cut──▶ start..end ──check, map, meter──▶ ──soxr──▶ blocks
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import soxr
from numpy.typing import NDArray

from tokenizer.audio.arguments import require_arguments
from tokenizer.audio.blocks import joined, transposed
from tokenizer.audio.channels import apply_mapping, mapping_matrix, picked_channel
from tokenizer.audio.check import check_samples
from tokenizer.audio.meter import SignalMeter
from tokenizer.audio.readers.base import CUT_OFF, AudioFile, Reader, SourceFacts, trimmed
from tokenizer.audio.readers.opening import open_reader, require_regular_file
from tokenizer.audio.readers.second import SecondReader
from tokenizer.audio.readers.shared import SharedFile
from tokenizer.errors import FailureKind, RecordingError
from tokenizer.types import LEFT, MIX, RIGHT, Waveform

BLOCK_SECONDS = 1.0
"""of audio that is gathered before it is worked on"""
_QUALITY = "HQ"


@dataclass(frozen=True, slots=True)
class AudioReport:
    """What was found, known once a stream has ended."""

    source_sample_rate: int
    source_channels: int
    source_samples: int
    """samples per channel that were used, at the source's rate"""
    num_samples: int
    """samples per channel at the target rate"""
    container: str
    codec: str
    decoder: str
    """ "pyav" or "soundfile"; of a second reading, which way that was
    (`tokenizer.audio.readers.second`)"""
    flags: tuple[str, ...]
    """of "silent", "antiphase", "clipped", "truncated", "damaged", "other_tracks", "mono" """
    gaps: tuple[tuple[float, float], ...] = ()
    """where something is missing or wrong, as seconds from the first sample that was used to the
    end of the silence that stands there; the two are equal where nobody knows how much it is"""
    tracks: int = 1
    """of sound in the file, of which one was read"""
    track: int = 0
    """the one that was read"""
    channel: int | None = None
    """the one channel of the source that was read, from 0; None is all of them"""


class AudioStream:
    """An open recording: iterate it once for blocks float32 `[channels, n]`, then read `report`."""

    def __init__(
        self,
        file: str | os.PathLike[str] | BinaryIO | SharedFile,
        sample_rate: int | None,
        channels: int | None,
        *,
        start: float | None = None,
        end: float | None = None,
        downmix: bool = False,
        channel: int | str | None = None,
        stream: int | None = None,
        allow_truncated: bool = False,
        allow_damaged: bool = False,
        name: str | None = None,
        second: bool = False,
    ) -> None:
        shared = file if isinstance(file, SharedFile) else None
        own = file.handle() if isinstance(file, SharedFile) else file
        source: AudioFile = os.fspath(own) if isinstance(own, str | os.PathLike) else own
        self.name = name or (
            source if isinstance(source, str) else str(getattr(source, "name", "audio"))
        )
        self._start, self._end = start, end
        self._allow_truncated = allow_truncated or second
        if isinstance(source, str):
            require_regular_file(source)
        begins = 0.0 if second else start or 0.0
        self._reader: Reader
        if shared is not None and not second:
            self._reader, self._skipped = shared.open(begins, end, allow_damaged, stream)
        else:
            self._reader, self._skipped = open_reader(
                source, self.name, begins, allow_damaged, stream, end=end
            )
        if second:
            self._reader = SecondReader(source, self.name, self._reader)
        facts = self._reader.facts
        self.sample_rate = int(sample_rate or facts.sample_rate)
        self._chosen, self._channel = channel, picked_channel(self.name, facts.layout, channel)
        single = self._channel is not None or channel == MIX
        self.channels = int(channels or (1 if single else facts.channels))
        self._copies = self.channels if single or facts.channels == 1 else 1
        there = facts.layout if self._channel is None else ("FC",)
        self._matrix = mapping_matrix(self.name, there, self.channels // self._copies, downmix)
        self._meter = SignalMeter(self._copies)
        self.listener: Callable[[NDArray[np.float32], int], None] | None = None
        """is given the samples that are used, block by block, and their rate, which is the
        source's: its one or two channels, the one that was chosen, or what they are mixed to"""
        self._truncated = False
        self._used = 0
        self._given = 0
        self._report: AudioReport | None = None

    @property
    def facts(self) -> SourceFacts:
        """What is known of the file before it is read."""
        return self._reader.facts

    @property
    def report(self) -> AudioReport:
        """What was found.

        Raises:
            RuntimeError: the stream has not ended yet.
        """
        if self._report is None:
            raise RuntimeError("an AudioStream has its report once it was iterated to the end")
        return self._report

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Blocks at the target rate, about a second each.

        Raises:
            RecordingError: see `stream_audio`.
        """
        try:
            for block in self._resampled():
                if block.shape[1]:
                    self._given += block.shape[1]
                    yield block
        finally:
            self._reader.close()
        self._conclude()

    def close(self) -> None:
        """Close the file of a stream that is not read to its end."""
        self._reader.close()

    def _first(self, sample_rate: int) -> int:
        """The first sample that is wanted."""
        return round((self._start or 0.0) * sample_rate)

    def _resampled(self) -> Iterator[NDArray[np.float32]]:
        # Equal channels are resampled once: soxr treats each alone.
        for block in self._at_rate(self.channels // self._copies):
            yield block if self._copies == 1 else np.repeat(block, self._copies, axis=0)

    def _at_rate(self, channels: int) -> Iterator[NDArray[np.float32]]:
        rate = self._reader.facts.sample_rate
        if rate == self.sample_rate:
            yield from self._mapped()
            return
        # Bit-equal to resampling the whole at once, whatever the blocks.
        stream: Any = soxr.ResampleStream(
            rate, self.sample_rate, channels, dtype="float32", quality=_QUALITY
        )
        for block in self._mapped():
            yield transposed(stream.resample_chunk(transposed(block)))
        yield transposed(stream.resample_chunk(np.zeros((0, channels), np.float32), last=True))

    def _mapped(self) -> Iterator[NDArray[np.float32]]:
        for block in self._gathered():
            chosen = block if self._channel is None else block[self._channel : self._channel + 1]
            check_samples(chosen, self.name)
            mapped = apply_mapping(chosen, self._matrix)
            self._meter.add(mapped)
            if self.listener is not None:
                own = chosen.shape[0] <= 2 and self._chosen != MIX
                heard = chosen if own else mapped
                self.listener(heard, self._reader.facts.sample_rate)
            yield mapped

    def _gathered(self) -> Iterator[NDArray[np.float32]]:
        """Blocks of about a second: decoders hand out a few hundred samples at a time."""
        enough = int(BLOCK_SECONDS * self._reader.facts.sample_rate)
        held: list[NDArray[np.float32]] = []
        count = 0
        for block in self._cut():
            held.append(block)
            count += block.shape[1]
            if count >= enough:
                yield joined(held)
                held, count = [], 0
        if held:
            yield joined(held)

    def _cut(self) -> Iterator[NDArray[np.float32]]:
        """The samples from `start` to `end`."""
        rate = self._reader.facts.sample_rate
        first = self._first(rate)
        last = None if self._end is None else round(self._end * rate)
        at = self._skipped
        for block in self._trimmed():
            wanted = block[:, max(0, first - at) : None if last is None else max(0, last - at)]
            at += block.shape[1]
            if wanted.shape[1]:
                self._used += wanted.shape[1]
                yield wanted
            if last is not None and at >= last:
                return
        self._judge_length(at, last)

    def _trimmed(self) -> Iterator[NDArray[np.float32]]:
        """Without the padding that some decoders leave behind the declared end."""
        facts = self._reader.facts
        if not facts.trims or facts.declared is None or facts.declared == CUT_OFF:
            return self._reader.blocks()
        return trimmed(self._reader.blocks(), facts.declared - self._skipped, facts.padding)

    def _judge_length(self, samples: int, wanted: int | None) -> None:
        """The file has ended after `samples`: is that where it, or the segment, should have
        ended?"""
        facts = self._reader.facts
        short = facts.declared is not None and samples < facts.declared - facts.tolerance
        rounding = max(facts.tolerance, facts.sample_rate // 10)
        missing = wanted is not None and samples < wanted - rounding
        if not short and not missing:
            return
        if short and not missing and any(not gap.samples for gap in self._reader.gaps):
            return  # it lacks what did not decode, which its report says
        whole = facts.declared if short and facts.declared is not None else samples
        # What begins behind the end, wherever that is, has nothing to keep.
        if self._first(facts.sample_rate) >= whole:
            return
        self._truncated = True
        if self._allow_truncated:
            return
        seconds = samples / facts.sample_rate
        if short and facts.declared == CUT_OFF:
            detail = f"breaks off after {seconds:.3f} s, its end is missing"
        elif short and facts.declared is not None:
            detail = (
                f"breaks off after {seconds:.3f} of {facts.declared / facts.sample_rate:.3f} s "
                "that its header declares"
            )
        else:
            detail = f"ends after {seconds:.3f} s, before the segment's end at {self._end} s"
        message = (
            f"{self.name}: {detail}; --allow-truncated (allow_truncated=True) keeps what is there"
        )
        raise RecordingError(FailureKind.TRUNCATED, message, "decode")

    def _conclude(self) -> None:
        facts = self._reader.facts
        if not self._given:
            what = (
                "no samples"
                if self._start is None and self._end is None
                else f"no samples from {self._start} to {self._end} s"
            )
            raise RecordingError(FailureKind.EMPTY, f"{self.name}: {what} in it", "decode")
        self._report = AudioReport(
            source_sample_rate=facts.sample_rate,
            source_channels=facts.channels,
            source_samples=self._used,
            num_samples=self._given,
            container=facts.container,
            codec=facts.codec,
            decoder=facts.decoder,
            flags=(*self._meter.flags(), *self._marks()),
            gaps=self._gaps(),
            tracks=facts.tracks,
            track=facts.track,
            channel=self._channel,
        )

    def _marks(self) -> Iterator[str]:
        """Flags that come from the file and not from its sound."""
        if self._truncated:
            yield "truncated"
        if self._gaps():
            yield "damaged"
        if self._reader.facts.tracks > 1:
            yield "other_tracks"
        if self._chosen in (LEFT, RIGHT) and self._reader.facts.channels == 1:
            yield "mono"

    def _gaps(self) -> tuple[tuple[float, float], ...]:
        """Those within what was used; one of unknown length before it may have shifted all of
        it."""
        rate = self._reader.facts.sample_rate
        first = self._first(rate)
        found = []
        for gap in self._reader.gaps:
            start, end = gap.start - first, gap.start + gap.samples - first
            if start <= self._used and (end > 0 or not gap.samples):
                found.append(
                    (round(max(0, start) / rate, 4), round(max(0, min(end, self._used)) / rate, 4))
                )
        return tuple(found)


def stream_audio(
    file: str | os.PathLike[str] | BinaryIO | SharedFile,
    sample_rate: int | None = None,
    channels: int | None = None,
    *,
    start: float | None = None,
    end: float | None = None,
    downmix: bool = False,
    channel: int | str | None = None,
    stream: int | None = None,
    allow_truncated: bool = False,
    allow_damaged: bool = False,
    name: str | None = None,
    second: bool = False,
) -> AudioStream:
    """Open a recording for reading in bounded memory, however long it is.

    Args:
        file: local path, a seekable binary file, or a file that is open for several segments.
        sample_rate: Hz to resample to; None keeps the source's.
        channels: 1 or 2; None keeps the source's, or 1 where `channel` asks for one. Mono goes to
            both as it is, stereo to its mean.
        start: seconds of the source to begin at, rounded to its samples.
        end: seconds of the source to end at.
        downmix: mix more than two channels down (ITU-R BS.775) instead of refusing them.
        channel: the one channel of the source to read, from 0; "left" or "right", which a mono file
            stands for itself; "mix", all of them mixed to one; None is all.
        stream: which of the file's tracks of sound to read, from 0 (FFmpeg's `-map 0:a:N`); None is
            the first one that the file calls its default, or else the first.
        allow_truncated: keep what is there of a file that ends before its header says; its report
            has the flag "truncated".
        allow_damaged: keep a file in which something is missing or does not decode: silence stands
            for what is missing, where its length is known, and the report has the flag "damaged"
            and the places.
        name: what errors call the file.
        second: read it by another way, to hold the first against it; lengths and damage are then
            not judged.

    Samples begin with the first one of the track, also where the track begins later than the file's
    other ones, and `start` and `end` count from there.

    Raises:
        RecordingError: here or while iterating; its kind says why. A channel or track that is not
            there is CHANNELS.
        ShapeError: an argument that cannot be.
    """
    require_arguments(file, sample_rate, channels, start, end, stream)
    return AudioStream(
        file,
        sample_rate,
        channels,
        start=start,
        end=end,
        downmix=downmix,
        channel=channel,
        stream=stream,
        allow_truncated=allow_truncated,
        allow_damaged=allow_damaged,
        name=name,
        second=second,
    )


def read_audio(
    file: str | os.PathLike[str] | BinaryIO,
    sample_rate: int | None = None,
    channels: int | None = None,
    *,
    start: float | None = None,
    end: float | None = None,
    downmix: bool = False,
    channel: int | str | None = None,
    stream: int | None = None,
    allow_truncated: bool = False,
    allow_damaged: bool = False,
    name: str | None = None,
) -> Waveform:
    """Read a recording whole: the same samples as `stream_audio`, which see for arguments and
    errors; `channel` is one channel of the source, `stream` one track of sound."""
    found = stream_audio(
        file,
        sample_rate,
        channels,
        start=start,
        end=end,
        downmix=downmix,
        channel=channel,
        stream=stream,
        allow_truncated=allow_truncated,
        allow_damaged=allow_damaged,
        name=name,
    )
    return Waveform(np.concatenate(list(found), axis=1), found.sample_rate)
