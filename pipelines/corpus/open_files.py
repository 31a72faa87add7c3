"""Files that the child process has open: one at a time, and those of the last segments, which are
fetched, hashed and decoded once for all segments of them that come in order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.corpus.sources.base import Source
from tokenizer.audio.readers.shared import SharedFile
from tokenizer.audio.tags import read_tags
from tokenizer.types import Recording

MOST_OPEN = 2
"""files of segments: two, since the sides of a dialogue may be two files, and take turns"""
_HASH_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file that is there, with what is known of it."""

    audio: str | BinaryIO | SharedFile
    name: str
    """what errors call it"""
    sha256: str
    """of its bytes"""
    tags: Mapping[str, Any] = field(default_factory=dict)
    """`tokenizer.audio.tags`, where they are wanted"""


class OpenFiles:
    """Opens recordings' files, and keeps those of segments for the next ones."""

    def __init__(self, source: Source, beat: Callable[[], None], tags: bool = False) -> None:
        """`beat` is called again and again while something takes long; `tags` reads those too."""
        self._source, self._beat, self._tags = source, beat, tags
        self._kept: dict[object, OpenFile] = {}
        """by what tells files apart, the one that was used last at the end"""

    @contextmanager
    def opened(self, recording: Recording) -> Iterator[OpenFile]:
        """The file of a recording.

        Raises:
            RecordingError: as `Source.open`.
        """
        file = self._opened(recording)
        try:
            yield file
        finally:
            if not isinstance(file.audio, SharedFile):
                _close(file)

    def _opened(self, recording: Recording) -> OpenFile:
        place = _place(recording)
        if (place, ()) in self._kept:  # it has no path: what was fetched is what there was
            return self._use((place, ()))
        opened = self._source.open(recording)
        key = (place, _version(opened))
        if key in self._kept:
            return self._use(key)
        try:
            digest, name = self._sha256(opened), name_of(recording)
            tags = read_tags(opened) if self._tags else {}
        except BaseException:
            _close_handle(opened)
            raise
        if (recording.start, recording.end, recording.channel) == (None, None, None):
            return OpenFile(opened, name, digest, tags)
        while len(self._kept) >= MOST_OPEN:
            _close(self._kept.pop(next(iter(self._kept))))
        again = recording.start is None and recording.end is None  # whole, for a channel of it
        shared = SharedFile(opened, name, self._beat, again)
        self._kept[key] = OpenFile(shared, name, digest, tags)
        return self._kept[key]

    def _use(self, key: object) -> OpenFile:
        self._kept[key] = self._kept.pop(key)
        return self._kept[key]

    def _sha256(self, file: str | BinaryIO) -> str:
        digest = hashlib.sha256()
        handle = Path(file).open("rb") if isinstance(file, str) else file  # noqa: SIM115
        try:
            while block := handle.read(_HASH_BLOCK):
                digest.update(block)
                self._beat()
        finally:
            if isinstance(file, str):
                handle.close()
            else:
                handle.seek(0)
        return digest.hexdigest()


def reading_order(recordings: Sequence[Recording]) -> list[Recording]:
    """Recordings as they are best read: files as they first come, and within a file by start, so
    that it is gone through once."""
    first: dict[tuple[str, str], int] = {}
    keys = []
    for number, recording in enumerate(recordings):
        place = first.setdefault(_place(recording), number)
        keys.append((place, recording.start or 0.0, number))
    return [recordings[number] for _, _, number in sorted(keys)]


def _place(recording: Recording) -> tuple[str, str]:
    """Which file it is of."""
    return recording.uri, json.dumps(dict(recording.locator), sort_keys=True)


def _version(file: str | BinaryIO) -> tuple[int, ...]:
    """What changes when a file is written anew, where it has a path."""
    if not isinstance(file, str):
        return ()
    status = Path(file).stat()
    return (status.st_size, status.st_mtime_ns)


def name_of(recording: Recording) -> str:
    """What errors call it."""
    member = recording.locator.get("member")
    return f"{recording.uri}/{member}" if member else recording.uri


def _close(file: OpenFile) -> None:
    audio = file.audio
    if isinstance(audio, SharedFile):
        audio.close()
        audio = audio.file
    _close_handle(audio)


def _close_handle(file: str | BinaryIO) -> None:
    if not isinstance(file, str):
        with suppress(OSError):
            file.close()
