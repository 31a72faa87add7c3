"""Chained Ogg: streams one after the other, as `cat` and internet radio make them. Each is read as
a file of its own."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from tokenizer.audio.containers.ogg import Link
from tokenizer.audio.readers.base import CUT_OFF, AudioFile, trimmed
from tokenizer.audio.readers.pyav import NotOpened, PyAVReader
from tokenizer.audio.timeline import Gap
from tokenizer.errors import FailureKind, RecordingError


class Part(io.RawIOBase):
    """Some bytes of a file, as a file. Nothing else may read from a handle at the same time."""

    def __init__(self, file: AudioFile, start: int, stop: int) -> None:
        self._file: BinaryIO = Path(file).open("rb") if isinstance(file, str) else file  # noqa: SIM115
        self._own = isinstance(file, str)
        self._start, self._stop, self._at = start, stop, start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at - self._start

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: self._start, os.SEEK_CUR: self._at, os.SEEK_END: self._stop}[whence]
        self._at = max(self._start, base + offset)
        return self.tell()

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._stop - self._at)
        self._file.seek(self._at)
        content = self._file.read(left if size < 0 else min(size, left))
        self._at += len(content)
        return content

    def readinto(self, buffer: Any) -> int:
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        if self._own:
            self._file.close()
        super().close()


class ChainReader:
    """All links of a chain, one after the other."""

    def __init__(
        self,
        file: AudioFile,
        name: str,
        links: Sequence[Link],
        allow_damaged: bool,
        stream: int | None = None,
    ) -> None:
        """Open the first link.

        Raises:
            NotOpened: it has no sound that can be decoded.
            RecordingError: it has a header that cannot be (BAD_HEADER), or no such track of sound
                (CHANNELS).
        """
        self._file, self._name, self._allow_damaged = file, name, allow_damaged
        self._track = stream
        self._links = list(links)
        self._part: Part | None = None
        self._reader = self._open(self._links[0])
        cut = self._links[-1].cut
        self.facts = replace(
            self._reader.facts, declared=CUT_OFF if cut else None, tolerance=0, trims=False
        )
        self._before: list[Gap] = []
        """gaps of the links that have been read"""
        self._begin = 0
        """samples before the current link"""

    @property
    def gaps(self) -> list[Gap]:
        """What was found missing so far."""
        return self._before + [
            replace(gap, start=self._begin + gap.start) for gap in self._reader.gaps
        ]

    def close(self) -> None:
        self._reader.close()
        if self._part is not None:
            self._part.close()

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Blocks float32 `[channels, n]`.

        Raises:
            RecordingError: as of each link, or a link with another rate or other channels than the
                first (DAMAGED).
        """
        at = 0
        for number, link in enumerate(self._links):
            if number:
                self._before = self.gaps
                self._begin += at
                self.close()
                self._reader = self._next(link, number)
            at = 0
            for block in self._link_blocks():
                at += block.shape[1]
                yield block
            if link.cut and number < len(self._links) - 1:
                if not self._allow_damaged:
                    raise self._damaged(
                        f"stream {number + 1} of {len(self._links)} in it breaks off; "
                        "--allow-damaged keeps it"
                    )
                self._reader.gaps.append(Gap(at, 0, "a stream breaks off"))

    def _link_blocks(self) -> Iterator[NDArray[np.float32]]:
        facts = self._reader.facts
        if not facts.trims or facts.declared is None or facts.declared == CUT_OFF:
            return self._reader.blocks()
        return trimmed(self._reader.blocks(), facts.declared)

    def _open(self, link: Link) -> PyAVReader:
        self._part = Part(self._file, link.start, link.stop)
        part = cast(BinaryIO, self._part)
        return PyAVReader(
            part,
            self._name,
            allow_damaged=self._allow_damaged,
            link=link,
            origin=link.start,
            stream=self._track,
        )

    def _next(self, link: Link, number: int) -> PyAVReader:
        try:
            reader = self._open(link)
        except NotOpened as error:
            raise self._damaged(
                f"stream {number + 1} of {len(self._links)} in it cannot be read ({error})"
            ) from error
        first, now = self.facts, reader.facts
        if (now.sample_rate, now.channels) != (first.sample_rate, first.channels):
            raise self._damaged(
                f"changes from {first.sample_rate} Hz and {first.channels} channels to "
                f"{now.sample_rate} Hz and {now.channels}"
            )
        return reader

    def _damaged(self, what: str) -> RecordingError:
        return RecordingError(FailureKind.DAMAGED, f"{self._name}: {what}", "decode")
