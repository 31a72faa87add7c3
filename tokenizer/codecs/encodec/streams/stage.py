"""A stack of convolutions over signals that come in pieces: on windows, with what they need around
them.

    held from the pieces before │ new ──▶ windows ──▶ frames that are final ──▶ handed on
                            └── held for the next piece ◀──────────┘
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.codecs.encodec.streams.reach import Reach

Rows = NDArray[np.float32]
Run = Callable[[Sequence[torch.Tensor]], list[torch.Tensor]]
"""float32 `[n, channels]` each, of any lengths, to float32 `[m, out]` each"""


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """What a stage remembers of a recording."""

    rows: Rows
    """float32 `[n, channels]`: its input from frame `start` on"""
    start: int = 0
    done: int = 0
    """frames that were handed on"""


@dataclass(frozen=True, slots=True)
class Stage:
    """Layers, and how they are run."""

    run: Run
    reach: Reach
    taken: int
    """rows of input that a frame has"""
    given: int
    """rows of output"""
    window: int
    """frames that are run at a time, counted from the recording's start"""
    usual: Callable[[int], bool] = lambda rows: True
    """whether a window of so many rows is rounded as others are; one that is not gets a frame
    more"""

    def advance(
        self, held: Sequence[Held], new: Sequence[Rows], last: Sequence[bool]
    ) -> tuple[list[Held], list[torch.Tensor]]:
        """Take in what follows of each recording.

        Returns:
            What is held of each, and its frames that have become final, float32
            `[frames * given, out]`; an empty tensor for none.
        """
        joined = [
            Held(np.concatenate([one.rows, rows]), one.start, one.done)
            for one, rows in zip(held, new, strict=True)
        ]
        ready = [self._ready(one, end) for one, end in zip(joined, last, strict=True)]
        cut = [
            list(self._windows(one, upto, end))
            for one, upto, end in zip(joined, ready, last, strict=True)
        ]
        windows = [
            torch.from_numpy(
                one.rows[(lo - one.start) * self.taken : (hi - one.start) * self.taken]
            )
            for one, parts in zip(joined, cut, strict=True)
            for _, _, lo, hi in parts
        ]
        found = iter(self.run(windows))
        results = []
        for parts in cut:
            frames = [
                next(found)[(a - lo) * self.given : (b - lo) * self.given] for a, b, lo, _ in parts
            ]
            results.append(torch.cat(frames) if frames else torch.empty(0, 0))
        return [self._rest(one, upto) for one, upto in zip(joined, ready, strict=True)], results

    def known(self, held: Held) -> int:
        """Frames of a recording so far, an incomplete one among them."""
        return held.start + -(-len(held.rows) // self.taken)

    def _ready(self, held: Held, end: bool) -> int:
        """Frames from the start that are final, in whole windows, and with as many behind them as a
        window has at least: short ones are rounded differently."""
        if end:
            return self.known(held)
        whole = held.start + len(held.rows) // self.taken
        known = whole - self.reach.after - self.reach.least
        return max(known // self.window * self.window, held.done)

    def _windows(self, held: Held, ready: int, end: bool) -> Iterator[tuple[int, int, int, int]]:
        """Frames `a` to `b` from a window of frames `lo` to `hi`, for all that are new."""
        most = self.known(held) if end else held.start + len(held.rows) // self.taken
        least = self.reach.least
        for a, b in pairwise(self._edges(held.done, ready)):
            lo = min(a - self.reach.before, b + self.reach.after - least, most - least)
            lo = max(lo, held.start)
            hi = min(max(b + self.reach.after, lo + least), most)
            rows = min((hi - held.start) * self.taken, len(held.rows))
            if not self.usual(rows - (lo - held.start) * self.taken):
                lo, hi = (lo - 1, hi) if lo > held.start else (lo, min(hi + 1, most))
            yield a, b, lo, hi

    def _edges(self, done: int, ready: int) -> list[int]:
        """Of windows that begin at the same frames however a recording comes; a short last one
        shares with the one before."""
        edges = list(range(done, ready, self.window))
        if len(edges) > 1 and ready - edges[-1] < self.reach.least:
            edges[-1] = (edges[-2] + ready) // 2
        return [*edges, ready]

    def _rest(self, held: Held, ready: int) -> Held:
        start = max(ready - self.reach.before - self.reach.least, held.start)
        # In memory of its own: a view would hold all of it.
        return Held(held.rows[(start - held.start) * self.taken :].copy(), start, ready)
