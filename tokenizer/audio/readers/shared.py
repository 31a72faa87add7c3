"""One file for many segments: decoded once for all that come in order of their start, where it
cannot be entered in the middle.

Every segment gets the blocks that it would get if it were read alone, which begins at the file's
first sample; those before it are passed over either way. So whoever reads a segment again, alone,
hears the same.
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

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
MOST_ON_DISK = 4 << 30
"""bytes of samples before those, where they will be wanted once more: three hours of the same"""

_ENTERED = {"mp3", "flac", "wav", "w64", "aiff", "au", "caf"}
"""containers that may have a way into their middle, if not for one segment then for another"""


class SharedFile:
    """A file that is open for one segment after the other; `close` when there are no more."""

    def __init__(
        self,
        file: AudioFile,
        name: str,
        beat: Callable[[], None] = lambda: None,
        again: bool = False,
    ) -> None:
        """`beat` is called again and again while a decoder is on its way to a segment; `again` says
        that it is wanted from its beginning several times, as for each of its channels."""
        self.file, self.name = file, name
        self._beat, self._again = beat, again
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
            self._tape = _Tape(reader, self._beat, self._again)
        return self._tape.reader(start)

    def close(self) -> None:
        """Close the decoder, and not the file."""
        if self._tape is not None:
            self._tape.close()
        self._tape = None


@dataclass(frozen=True, slots=True)
class _Kept:
    """A block, and what the reader knew when it gave it."""

    start: int
    samples: NDArray[np.float32] | None
    """None: they are on disk"""
    facts: SourceFacts
    gaps: int
    place: int = 0
    shape: tuple[int, ...] = ()
    """of what is on disk: its first byte, and `[channels, n]`"""


class _Disk:
    """Blocks that have no place in memory, one after the other."""

    def __init__(self) -> None:
        self._file: Any = tempfile.TemporaryFile(prefix="codecshards-samples-")  # noqa: SIM115
        self._end = 0

    def put(self, kept: _Kept) -> _Kept:
        """Write a block.

        Raises:
            OSError: there is no room.
        """
        samples = kept.samples
        if samples is None or self._end + samples.nbytes > MOST_ON_DISK:
            raise OSError("no room for more samples")
        self._file.seek(self._end)
        self._file.write(np.ascontiguousarray(samples).data)
        self._file.flush()
        place, self._end = self._end, self._end + samples.nbytes
        return replace(kept, samples=None, place=place, shape=samples.shape)

    def get(self, kept: _Kept) -> NDArray[np.float32]:
        """Read one back."""
        self._file.seek(kept.place)
        count = int(np.prod(kept.shape))
        content = self._file.read(4 * count)
        return np.frombuffer(content, np.float32, count).reshape(kept.shape)

    def close(self) -> None:
        self._file.close()


class _Tape:
    """A reader on its way through a file, and the last blocks that it gave."""

    def __init__(
        self, source: PyAVReader | ChainReader, beat: Callable[[], None], again: bool
    ) -> None:
        self.source = source
        self._again = again
        self._disk: _Disk | None = None
        self._on_disk = 0
        """of the blocks that are kept, the first ones"""
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

    def close(self) -> None:
        self.source.close()
        self._forget()

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

    def block(self, number: int) -> tuple[_Kept, NDArray[np.float32]] | None:
        """A block by its number, and its samples; None behind the last.

        Raises:
            RecordingError: the file goes no further, as it did for whoever came there first.
        """
        while number >= self._first + len(self._kept):
            if self.error is not None:
                raise self.error
            if self._ended:
                return None
            self._pull()
        kept = self._kept[number - self._first]
        if kept.samples is None and self._disk is not None:
            self._beat()
            return kept, self._disk.get(kept)
        return kept, cast("NDArray[np.float32]", kept.samples)

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
        while self._bytes > MOST_KEPT and len(self._kept) - self._on_disk > 1:
            self._make_room()

    def _make_room(self) -> None:
        """Put the oldest block in memory on disk, or forget it and all before it."""
        oldest = self._kept[self._on_disk]
        self._bytes -= 0 if oldest.samples is None else oldest.samples.nbytes
        if self._again:
            try:
                self._disk = self._disk or _Disk()
                self._kept[self._on_disk] = self._disk.put(oldest)
                self._on_disk += 1
                return
            except OSError:  # whoever wants it again decodes it again
                self._again = False
        for _ in range(self._on_disk + 1):
            self._kept.popleft()
        self._first += self._on_disk + 1
        self._forget()

    def _forget(self) -> None:
        """What is on disk."""
        self._on_disk = 0
        if self._disk is not None:
            self._disk.close()
            self._disk = None


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
        while (found := self._tape.block(self._number)) is not None:
            kept, samples = found
            self.facts, self._gaps = kept.facts, kept.gaps
            self._number += 1
            yield samples
        self.facts, self._gaps = self._tape.facts, self._tape.gaps
