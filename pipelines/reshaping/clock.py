"""Words of progress, now and then."""

from __future__ import annotations

import time

from pipelines.tokenizing.progress import Display

EVERY = 10.0
"""seconds between two words of progress"""


class Clock:
    """Says something now and then."""

    def __init__(self, display: Display) -> None:
        self._display, self._last = display, time.monotonic()

    def say(self, words: str) -> None:
        if time.monotonic() - self._last >= EVERY:
            self._last = time.monotonic()
            self._display.message(words)
