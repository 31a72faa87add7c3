"""A file as its writer would have finished it, for decoders."""

from __future__ import annotations

import os
from typing import cast

from tokenizer.audio.containers.glance import Glance
from tokenizer.audio.containers.unfinished import Finished, finish
from tokenizer.audio.readers.base import AudioFile, opened
from tokenizer.audio.readers.chain import Part


class FinishedFile(Part):
    """Another head, then some bytes of a file. Nothing else may read from a handle meanwhile."""

    def __init__(self, file: AudioFile, finished: Finished) -> None:
        super().__init__(file, finished.start, finished.stop)
        self._head, self._place, self._size = finished.head, 0, finished.size

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def read(self, size: int = -1) -> bytes:
        stop = self._size if size < 0 else min(self._size, self._place + size)
        content = self._head[self._place : stop]
        wanted = stop - self._place - len(content)
        if wanted > 0:
            super().seek(self._place + len(content) - len(self._head))
            content += super().read(wanted)
        self._place += len(content)
        return content


def finished_file(file: AudioFile) -> AudioFile:
    """The file itself, or what it should hold where its writer could not finish it."""
    with opened(file) as handle:
        try:
            found = finish(Glance.at_file(handle))
        except OSError:
            found = None
    return file if found is None else cast(AudioFile, FinishedFile(file, found))
