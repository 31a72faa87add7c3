"""Codes that rounding could have decided, found again by the reference on a stretch around them.

transformers' modules give a frame bit for bit what they give it in the whole recording, where all
that it is made of is the same: on a CPU neither the place nor the length of a signal changes how
its convolutions are rounded, but for very short ones, and its LSTM goes on from a state as if it
had not stopped. Only that state is not the reference's own: it is the faster network's, off by
rounding, some frames before. An LSTM forgets that within these frames, down to the last bit of a
few numbers, which is a hundred times less than what makes a code doubtful.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch

from tokenizer.codecs.encodec.reference import ReferenceModules
from tokenizer.codecs.encodec.streams.reach import LEAST_FRAMES
from tokenizer.codecs.encodec.streams.stack import ReferenceLstm, Stack, parts_of
from tokenizer.codecs.encodec.streams.stage import Rows
from tokenizer.codecs.encodec.streams.trace import Trace

WARM = 15
"""frames of the reference's own from which its LSTM comes to a doubtful one"""
TOGETHER = 4
"""doubtful frames as near as that share a stretch"""
BATCH = 8
"""stretches that go through the convolutions at once"""


@dataclass(frozen=True, slots=True, eq=False)
class Doubts:
    """Of one recording."""

    frames: list[int]
    """whose codes are to be found again, counted from the recording's start, in order"""
    samples: Rows
    """float32 `[n, channels]` from frame `start` on"""
    start: int
    end: int
    """frames that are there, counted from the recording's start"""
    trace: Trace
    """the LSTM's states, as far as they are known"""
    traced: int
    """the frame after the last of these"""


@dataclass(frozen=True, slots=True, eq=False)
class _Stretch:
    doubts: Doubts
    frames: list[int]
    lo: int
    hi: int
    rows: torch.Tensor


class TieBreaker:
    """Runs transformers' own encoder on stretches."""

    def __init__(self, model: Any, modules: ReferenceModules, stack: Stack, n_q: int) -> None:
        """`stack` is that of the faster network."""
        self._before, lstm, self._after = parts_of(model.encoder)
        self._lstm, self._modules, self._n_q = ReferenceLstm(lstm), modules, n_q
        self._first, self._second, self._hop = (
            stack.first.reach,
            stack.second.reach,
            stack.first.taken,
        )
        looks = self._first.before + self._first.after + self._second.before + self._second.after
        self.length = max(looks + 1 + WARM, self._first.least, LEAST_FRAMES)
        """frames of a stretch"""

    def __call__(self, doubts: Sequence[Doubts]) -> list[torch.Tensor]:
        """The reference's codes, int64 `[n_q, doubtful frames]` of each recording."""
        stretches = [stretch for one in doubts for stretch in self._stretches(one)]
        codes: dict[int, dict[int, torch.Tensor]] = {id(one): {} for one in doubts}
        ordered = sorted(stretches, key=lambda one: len(one.rows))
        for _, group in groupby(ordered, key=lambda one: len(one.rows)):
            equal = list(group)
            for at in range(0, len(equal), BATCH):
                self._settle(equal[at : at + BATCH], codes)
        return [
            torch.stack([codes[id(one)][frame] for frame in one.frames], dim=1) for one in doubts
        ]

    def _stretches(self, doubts: Doubts) -> list[_Stretch]:
        found, left = [], sorted(doubts.frames)
        while left:
            last = left[-1]
            together = [frame for frame in left if frame >= last - TOGETHER]
            left = left[: -len(together)]
            hi = min(last + 1 + self._second.after + self._first.after, doubts.end)
            lo = max(hi - self.length - (last - together[0]), doubts.start)
            hi = min(max(hi, lo + self.length), doubts.end)
            begin = (lo - doubts.start) * self._hop
            rows = doubts.samples[begin : begin + (hi - lo) * self._hop]
            found.append(_Stretch(doubts, together, lo, hi, torch.from_numpy(rows)))
        return found

    def _settle(
        self, stretches: Sequence[_Stretch], codes: dict[int, dict[int, torch.Tensor]]
    ) -> None:
        x = torch.stack([one.rows.t() for one in stretches])
        for layer in self._before:
            x = layer(x)
        for frames, one in zip(x, stretches, strict=True):
            skipped = self._first.before if one.lo else 0
            (hidden,), _ = self._lstm([frames.t()[skipped:]], [self._state(one, skipped)])
            y = hidden.t()[None]
            for layer in self._after:
                y = layer(y)
            found = self._modules.quantize(y, self._n_q)[:, 0]
            for frame in one.frames:
                codes[id(one.doubts)][frame] = found[:, frame - one.lo - skipped]

    def _state(self, stretch: _Stretch, skipped: int) -> Trace:
        """Before the first frame that the LSTM is given."""
        place = len(stretch.doubts.trace) - (stretch.doubts.traced - (stretch.lo + skipped)) - 1
        return stretch.doubts.trace.part(place, place + 1)
