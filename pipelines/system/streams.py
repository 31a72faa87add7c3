"""Standard output and error whose readers may go away, as in `codecshards verify OUT | head`: the
command goes on without."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TextIO, cast


class OutlivedReader:
    """A text stream that ends in nothing once nobody reads it; all else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.gone = False
        """whether nobody reads it any more: what is long may stop"""

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
        self.gone = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        with suppress(OSError):
            self._stream.flush()


@contextmanager
def outlived_readers() -> Iterator[None]:
    """Standard output and error outlive their readers in this block, and are flushed at its end;
    what is written to one that was closed from the beginning goes nowhere."""
    _keep_standard_numbers()
    before = sys.stdout, sys.stderr
    with ExitStack() as made:
        wrapped = [
            OutlivedReader(made.enter_context(_nowhere()) if stream is None else stream)
            for stream in cast(tuple[TextIO | None, ...], before)
        ]
        sys.stdout, sys.stderr = (cast(TextIO, stream) for stream in wrapped)
        try:
            yield
        finally:
            for stream in wrapped:
                stream.flush()
            sys.stdout, sys.stderr = before


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123


def _keep_standard_numbers() -> None:
    """Open 0, 1 and 2 where the shell has closed them (`>&-`): the next file or pipe would get the
    number, and a child that is started with it would take it for its standard output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            os.set_inheritable(number, True)
