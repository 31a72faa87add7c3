"""Standard output and error whose readers may go away, as in `codecshards verify OUT | head`: the
command goes on without. And a line there that says how many of so many are done."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TextIO, TypeVar, cast

from pipelines.system.words import printable
from tokenizer.errors import OutputError

_LIVE_EVERY, _LOG_EVERY = 0.2, 10.0
"""seconds, on a terminal and in a log"""

_OUTPUT = 1
"""standard output's number"""

Item = TypeVar("Item")


class OutlivedReader:
    """A text stream that ends in nothing once nobody reads it; all else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.gone = False
        """whether nobody reads it any more: what is long may stop"""

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self, error: OSError) -> None:
        """What is still in the stream's buffer goes nowhere too, so that nothing fails as the
        interpreter ends.

        Raises:
            OutputError: what was asked for cannot be written, as on a full disk.
        """
        self.gone = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        with suppress(OSError):
            self._stream.flush()
        if not isinstance(error, BrokenPipeError) and self._stream.fileno() == _OUTPUT:
            raise OutputError(f"standard output cannot be written: {error.strerror}") from error


@contextmanager
def outlived_readers() -> Iterator[None]:
    """Standard output and error outlive their readers in this block, and are flushed at its end;
    what is written to one that was closed from the beginning goes nowhere.

    Raises:
        OutputError: standard output cannot be written.
    """
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
            sys.stdout, sys.stderr = before
            for stream in reversed(wrapped):
                stream.flush()


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


def counted(
    items: Iterable[Item], total: int, what: str, *, quiet: bool, stream: TextIO | None = None
) -> Iterator[Item]:
    """Items as they pass; on a terminal the line is gone at their end.

    Args:
        items: that pass.
        total: how many there are.
        what: what is done with them, as in "exporting to new".
        quiet: say nothing.
        stream: where to; None is standard error.
    """
    if quiet:
        yield from items
        return
    stream = stream or sys.stderr
    live = stream.isatty()
    every, last = _LIVE_EVERY if live else _LOG_EVERY, time.monotonic()
    try:
        for number, item in enumerate(items, 1):
            yield item
            now = time.monotonic()
            if now - last >= every:
                last = now
                line = f"{printable(what)}: {number:,} of {total:,}"
                stream.write(f"\r\x1b[K{line[:79]}" if live else f"{line}\n")
                stream.flush()
    finally:
        if live:
            stream.write("\r\x1b[K")
            stream.flush()
