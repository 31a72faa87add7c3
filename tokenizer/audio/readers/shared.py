"""One file for many segments: decoded once for all that come in order of their start, where it
cannot be entered in the middle.

Every segment gets the blocks that it would get if it were read alone, which begins at the file's
first sample; those before it are passed over either way. So whoever reads a segment again, alone,
hears the same.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from tokenizer.audio.readers.base import AudioFile, Reader, SourceFacts
from tokenizer.audio.readers.chain import ChainReader, Part
from tokenizer.audio.readers.jumping import Jumps
from tokenizer.audio.readers.opening import SEEK_SECONDS, open_reader
from tokenizer.audio.readers.pyav import PyAVReader
from tokenizer.audio.timeline import Gap
from tokenizer.errors import RecordingError

MOST_KEPT = 64 << 20
"""bytes of samples behind the place that has been reached, for segments that overlap: three minutes
of stereo at 44.1 kHz"""

_ENTERED = {"mp3", "flac", "wav", "w64", "aiff", "au", "caf"}
"""containers that may have a way into their middle, if not for one segment then for another"""


class SharedFile:
    """A file that is open for one segment after the other; `close` when there are no more."""

    def __init__(self, file: AudioFile, name: str, beat: Callable[[], None] = lambda: None) -> None:
        """`beat` is called again and again while a decoder is on its way to a segment."""
        self.file, self.name = file, name
        self._beat = beat
        self._jumps = Jumps()
        self._tape: _Tape | None = None
        self._settings: tuple[bool, int | None] = (False, None)
        self._cannot_seek = False

    def handle(self) -> AudioFile:
        """The file for one reader: handles have a place, and each reader needs its own."""
        if isinstance(self.file, str):
            return self.file
        return cast(AudioFile, Part(self.file, 0, self.file.seek(0, os.SEEK_END)))

    def open(
        self, start: float, end: float | None, allow_damaged: bool, stream: int | None = None
    ) -> tuple[Reader, int]:
        """As `tokenizer.audio.readers.opening.open_reader`.

        Raises:
            RecordingError: as there.
        """
        if self._settings != (allow_damaged, stream):
            self.close()
            self._settings = (allow_damaged, stream)
            self._jumps, self._cannot_seek = Jumps(), False
        if start <= SEEK_SECONDS or self._cannot_seek:
            tape = self._tape
            if tape is not None and tape.reaches(start):
                return tape.reader(start)
        reader, first = open_reader(
            self.handle(), self.name, start, allow_damaged, stream, end=end, jumps=self._jumps
        )
        if first or not isinstance(reader, PyAVReader | ChainReader):
            return reader, first
        self._cannot_seek = start > SEEK_SECONDS and reader.facts.container not in _ENTERED
        if self._tape is not None and self._tape.reaches(start):
            reader.close()
        else:
            self.close()
            self._tape = _Tape(reader, self._beat)
        return self._tape.reader(start)

    def close(self) -> None:
        """Close the decoder, and not the file."""
        if self._tape is not None:
            self._tape.source.close()
        self._tape = None


@dataclass(frozen=True, slots=True)
class _Kept:
    """A block, and what the reader knew when it gave it."""

    start: int
    samples: NDArray[np.float32]
    facts: SourceFacts
    gaps: int


class _Tape:
    """A reader on its way through a file, and the last blocks that it gave."""

    def __init__(self, source: PyAVReader | ChainReader, beat: Callable[[], None]) -> None:
        self.source = source
        self.opened = self.facts = source.facts
        self.gaps = 0
        self.error: RecordingError | None = None
        self._blocks = source.blocks()
        self._beat = beat
        self._kept: deque[_Kept] = deque()
        self._bytes = 0
        self._first = 0
        """number of the first block that is kept"""
        self._at = 0
        self._ended = self._spoilt = False

    def reaches(self, start: float) -> bool:
        """Whether what begins at `start` (seconds) is still to come, or kept."""
        if self._spoilt:
            return False
        return not self._kept or self._kept[0].start <= round(start * self.facts.sample_rate)

    def reader(self, start: float) -> tuple[Reader, int]:
        """A reader of what begins at `start`, and the sample that its first block begins with."""
        wanted = round(start * self.facts.sample_rate)
        number = len(self._kept)
        while number and self._kept[number - 1].start > wanted:
            number -= 1
        number = max(0, number - 1)
        first = self._kept[number].start if self._kept else 0
        return _Shared(self, self._first + number), first

    def block(self, number: int) -> _Kept | None:
        """A block by its number; None behind the last.

        Raises:
            RecordingError: the file goes no further, as it did for whoever came there first.
        """
        while number >= self._first + len(self._kept):
            if self.error is not None:
                raise self.error
            if self._ended:
                return None
            self._pull()
        return self._kept[number - self._first]

    def _pull(self) -> None:
        self._beat()
        try:
            samples = next(self._blocks, None)
        except RecordingError as error:
            self.error, samples = error, None
        except BaseException:  # of this machine: whoever comes next begins anew
            self._spoilt = True
            raise
        self.facts, self.gaps = self.source.facts, len(self.source.gaps)
        if samples is None:
            self._ended = True
            return
        self._kept.append(_Kept(self._at, samples, self.facts, self.gaps))
        self._at += samples.shape[1]
        self._bytes += samples.nbytes
        while self._bytes > MOST_KEPT and len(self._kept) > 1:
            self._bytes -= self._kept.popleft().samples.nbytes
            self._first += 1


class _Shared:
    """A reader of a tape, for one segment: it knows what one of its own would know by then."""

    def __init__(self, tape: _Tape, number: int) -> None:
        self._tape, self._number = tape, number
        self.facts = tape.opened
        self._gaps = 0

    @property
    def gaps(self) -> list[Gap]:
        return self._tape.source.gaps[: self._gaps]

    def close(self) -> None:
        """Leave the tape where it is."""

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """As every reader."""
        while (kept := self._tape.block(self._number)) is not None:
            self.facts, self._gaps = kept.facts, kept.gaps
            self._number += 1
            yield kept.samples
        self.facts, self._gaps = self._tape.facts, self._tape.gaps
