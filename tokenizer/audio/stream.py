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

from tokenizer.audio.channels import apply_mapping, mapping_matrix
from tokenizer.audio.check import check_samples
from tokenizer.audio.meter import SignalMeter
from tokenizer.audio.readers.base import CUT_OFF, AudioFile, Reader, trimmed
from tokenizer.audio.readers.opening import open_reader, require_regular_file
from tokenizer.audio.readers.second import SecondReader
from tokenizer.errors import FailureKind, RecordingError
from tokenizer.types import Waveform

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
    """of "silent", "antiphase", "clipped", "truncated", "damaged", "other_tracks" """
    gaps: tuple[tuple[float, float], ...] = ()
    """where something is missing or wrong, as seconds from the first sample that was used to the
    end of the silence that stands there; the two are equal where nobody knows how much it is"""
    tracks: int = 1
    """of sound in the file, of which one was read"""


class AudioStream:
    """An open recording: iterate it once for blocks float32 `[channels, n]`, then read `report`."""

    def __init__(
        self,
        file: str | os.PathLike[str] | BinaryIO,
        sample_rate: int | None,
        channels: int | None,
        *,
        start: float | None = None,
        end: float | None = None,
        downmix: bool = False,
        allow_truncated: bool = False,
        allow_damaged: bool = False,
        name: str | None = None,
        second: bool = False,
    ) -> None:
        source: AudioFile = os.fspath(file) if isinstance(file, str | os.PathLike) else file
        self.name = name or (
            source if isinstance(source, str) else str(getattr(source, "name", "audio"))
        )
        self._start, self._end = start, end
        self._allow_truncated = allow_truncated or second
        if isinstance(source, str):
            require_regular_file(source)
        self._reader: Reader
        self._reader, self._skipped = open_reader(
            source, self.name, 0.0 if second else start or 0.0, allow_damaged
        )
        if second:
            self._reader = SecondReader(source, self.name, self._reader)
        facts = self._reader.facts
        self.sample_rate = sample_rate or facts.sample_rate
        self.channels = channels or facts.channels
        self._matrix = mapping_matrix(self.name, facts.layout, self.channels, downmix)
        self._copies = self.channels if facts.channels == 1 else 1
        self._meter = SignalMeter(self._copies)
        self.listener: Callable[[NDArray[np.float32], int], None] | None = None
        """is given the samples that are used, block by block, and their rate, which is the
        source's: its one or two channels, or what more are mixed down to"""
        self._truncated = False
        self._used = 0
        self._given = 0
        self._report: AudioReport | None = None

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
            yield _transposed(stream.resample_chunk(_transposed(block)))
        yield _transposed(stream.resample_chunk(np.zeros((0, channels), np.float32), last=True))

    def _mapped(self) -> Iterator[NDArray[np.float32]]:
        for block in self._gathered():
            check_samples(block, self.name)
            mapped = block if self._copies > 1 else apply_mapping(block, self._matrix)
            self._meter.add(mapped)
            if self.listener is not None:
                heard = block if block.shape[0] <= 2 else mapped
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
                yield _joined(held)
                held, count = [], 0
        if held:
            yield _joined(held)

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
        return trimmed(self._reader.blocks(), facts.declared)

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
        if (
            self._first(facts.sample_rate) >= whole
        ):  # begins behind the end, wherever that is: there is nothing to keep
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
        )

    def _marks(self) -> Iterator[str]:
        """Flags that come from the file and not from its sound."""
        if self._truncated:
            yield "truncated"
        if self._gaps():
            yield "damaged"
        if self._reader.facts.tracks > 1:
            yield "other_tracks"

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
    file: str | os.PathLike[str] | BinaryIO,
    sample_rate: int | None = None,
    channels: int | None = None,
    *,
    start: float | None = None,
    end: float | None = None,
    downmix: bool = False,
    allow_truncated: bool = False,
    allow_damaged: bool = False,
    name: str | None = None,
    second: bool = False,
) -> AudioStream:
    """Open a recording for reading in bounded memory, however long it is.

    Args:
        file: local path, or a seekable binary file.
        sample_rate: Hz to resample to; None keeps the source's.
        channels: 1 or 2; None keeps the source's. Mono goes to both as it is, stereo to its mean.
        start: seconds of the source to begin at, rounded to its samples.
        end: seconds of the source to end at.
        downmix: mix more than two channels down (ITU-R BS.775) instead of refusing them.
        allow_truncated: keep what is there of a file that ends before its header says; its report
            has the flag "truncated".
        allow_damaged: keep a file in which something is missing or does not decode: silence stands
            for what is missing, where its length is known, and the report has the flag "damaged"
            and the places.
        name: what errors call the file.
        second: read it by another way, to hold the first against it; lengths and damage are then
            not judged.

    A file of several tracks of sound gives the one that it calls its default, or else the first.
    Samples begin with the first one of the track, also where the track begins later than the file's
    other ones, and `start` and `end` count from there.

    Raises:
        RecordingError: here or while iterating; its kind says why.
    """
    return AudioStream(
        file,
        sample_rate,
        channels,
        start=start,
        end=end,
        downmix=downmix,
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
    allow_truncated: bool = False,
    allow_damaged: bool = False,
    name: str | None = None,
) -> Waveform:
    """Read a recording whole: the same samples as `stream_audio`, which see for arguments and
    errors."""
    stream = stream_audio(
        file,
        sample_rate,
        channels,
        start=start,
        end=end,
        downmix=downmix,
        allow_truncated=allow_truncated,
        allow_damaged=allow_damaged,
        name=name,
    )
    return Waveform(np.concatenate(list(stream), axis=1), stream.sample_rate)


def _joined(blocks: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)


def _transposed(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """`[a, b]` to `[b, a]` without gaps, one of the two being a few channels: row by row is the
    fast way."""
    result = np.empty(block.shape[::-1], np.float32)
    if block.shape[0] < block.shape[1]:
        for i, row in enumerate(block):
            result[:, i] = row
    else:
        for i, row in enumerate(result):
            row[:] = block[:, i]
    return result
