"""Standard output and error whose readers may go away, as in `codecshards verify OUT | head`: the
command goes on without."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast


class OutlivedReader:
    """A text stream that ends in nothing once nobody reads it; all else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._give_up()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self) -> None:
        """What is still in the stream's buffer goes nowhere too, so that nothing fails as the
        interpreter ends."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        with suppress(OSError):
            self._stream.flush()


@contextmanager
def outlived_readers() -> Iterator[None]:
    """Standard output and error outlive their readers in this block, and are flushed at its end."""
    before = sys.stdout, sys.stderr
    wrapped = [None if stream is None else OutlivedReader(stream) for stream in before]
    sys.stdout, sys.stderr = (cast(TextIO, stream) for stream in wrapped)
    try:
        yield
    finally:
        for stream in wrapped:
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before
