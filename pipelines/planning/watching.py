"""A line on standard error that says how far a long list has come."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from pipelines.system.words import printable
from tokenizer.types import Recording

_LIVE_EVERY, _LOG_EVERY = 0.2, 10.0
"""seconds, on a terminal and in a log"""


SAID_EVERY = 10.0
"""seconds between messages of a run that say how far its planning is"""


def watched(
    recordings: Iterator[Recording], what: str, stream: TextIO | None = None
) -> Iterator[Recording]:
    """Recordings as they pass; the line is gone once they are at their end, or fail."""
    stream = stream or sys.stderr
    live = stream.isatty()
    every = _LIVE_EVERY if live else _LOG_EVERY
    line = f"listing {printable(what)} …"
    _say(stream, line, live)
    last, number = time.monotonic(), 0
    try:
        for number, recording in enumerate(recordings, 1):
            yield recording
            now = time.monotonic()
            if now - last >= every:
                last = now
                _say(stream, f"{line} {number:,} recordings", live)
    finally:
        if live:
            stream.write("\r\x1b[K")
            stream.flush()


def told(stream: TextIO | None = None) -> Callable[[str], None]:
    """Shows words in the same line, which `watched` takes away."""
    stream = stream or sys.stderr
    return lambda text: _say(stream, printable(text), stream.isatty())


def seldom(say: Callable[[str], None], every: float | None = None) -> Callable[[str], None]:
    """Passes on what is said at most once in so many seconds; None is as for a list."""
    least = (_LIVE_EVERY if sys.stderr.isatty() else _LOG_EVERY) if every is None else every
    last = 0.0

    def pass_on(text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= least:
            last = time.monotonic()
            say(text)

    return pass_on


def _say(stream: TextIO, text: str, live: bool) -> None:
    stream.write(f"\r\x1b[K{text[:79]}" if live else f"{text}\n")
    stream.flush()
