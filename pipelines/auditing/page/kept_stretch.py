"""The stretch of a source that a page plays, kept from a stream before anyone knows which stretch
it will be."""

from __future__ import annotations

from collections import deque

import numpy as np

from pipelines.auditing.measure.pairs import Block


class KeptStretch:
    """Keeps `most` segments around the worst one so far; holds three times as many at the most.

    . . . [ most before the worst ][W][ most after it ] . . . [ the latest: a worse may come ]
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._latest: deque[Block] = deque(maxlen=most)
        self._around: list[Block] = []
        self._first = 0
        """segment that `_around` begins with"""
        self._middle = 0
        """the worst segment, or the first one while none is bad at all"""
        self._badness: tuple[float, ...] | None = None
        self._count = 0

    @property
    def worst(self) -> int | None:
        """The worst segment, the first of several that are as bad; None while no segment has a
        value."""
        return None if self._badness is None else self._middle

    def add(self, segment: Block, badness: tuple[float, ...] | None) -> None:
        """Take in the next segment, float32 `[channels, n]`, and how bad it is, as a tuple; None
        where nothing is known."""
        self._latest.append(segment)
        if badness is not None and (self._badness is None or badness > self._badness):
            self._badness, self._middle = badness, self._count
            self._around = list(self._latest)
            self._first = self._count + 1 - len(self._around)
        elif self._count < self._middle + self._most:
            self._around.append(segment)
        self._count += 1

    def stretch(self, first: int) -> Block | None:
        """`most` segments from `first` on, or as many as there are; None for what is not kept."""
        start = first - self._first
        stop = min(first + self._most, self._count) - self._first
        if start < 0 or stop > len(self._around) or start >= stop:
            return None
        return np.concatenate(self._around[start:stop], axis=1)
