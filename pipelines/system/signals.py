"""Signals that ask a command to end: Ctrl-C, a scheduler's SIGTERM, and the SIGHUP of a terminal
that goes away.

The first one raises `Stopped` in the main thread, so that children and staged files are cleaned up
on the way out. More of them change nothing while that goes on, but for a second Ctrl-C, which ends
the process at once.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_WORDS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "the terminal has gone",
}
_BASE = 128
"""a shell's exit code for a signal is this much above its number"""


class Stopped(KeyboardInterrupt):
    """A signal that asked for an end."""

    def __init__(self, number: int) -> None:
        self.number = signal.Signals(number)
        super().__init__(_WORDS[self.number])

    @property
    def exit_code(self) -> int:
        return _BASE + self.number


@contextmanager
def stoppable() -> Iterator[None]:
    """Have the signals raise within the block. One that is ignored already (`nohup`) stays so;
    threads leave them alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _WORDS}
    received: list[int] = []
    stop = _raise_once(received)
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        yield
    except (
        KeyboardInterrupt
    ) as error:  # compiled code (Ray's) turns every exception of a handler into this one
        raise (Stopped(received[0]) if received else error) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def kept_signals() -> Iterator[None]:
    """Put the handlers back that a library replaces within the block; one of its own that exits
    (Ray's) raises `Stopped` too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _WORDS}
    try:
        yield
    except SystemExit as ended:
        raise (
            Stopped(ended.code) if isinstance(ended.code, int) and ended.code in before else ended
        ) from ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise_once(received: list[int]) -> Callable[[int, FrameType | None], Any]:
    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:
            raise Stopped(number)
        if number == signal.SIGINT:
            os._exit(_BASE + number)

    return stop
