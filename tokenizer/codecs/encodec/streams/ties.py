"""Codes that rounding could have decided, found again by the reference on a stretch around them.

transformers' convolutions give a frame bit for bit what they give it in the whole recording: on a
CPU neither the place nor the length of a signal changes how they are rounded, but for very short
ones. Its LSTM does not: from the faster network's state some frames before it comes near to its own
one, and never quite there, as rounding goes on to make differences of a last bit. So a stretch
decides what was doubtful only as far as that; what is doubtful still, the recording decides, from
its start (`tokenizer.codecs.encodec.streams.beginning`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch

from tokenizer.codecs.encodec.certainty import noise, uncertain
from tokenizer.codecs.encodec.quantizer import half_squares, quantize
from tokenizer.codecs.encodec.reference import ReferenceModules, static_step
from tokenizer.codecs.encodec.streams.reach import LEAST_FRAMES, LEAST_NUMBERS
from tokenizer.codecs.encodec.streams.stack import ReferenceLstm, Stack, parts_of
from tokenizer.codecs.encodec.streams.stage import Rows, Run
from tokenizer.codecs.encodec.streams.trace import Trace

WARM = 15
"""frames of the reference's own from which its LSTM comes to a doubtful one"""
TOGETHER = 4
"""doubtful frames as near as that share a stretch"""
WIDE, NEARER, NARROW_NEARER = 64, 0.2, 0.6
"""how far rounding may move a stretch's frame, of the bound that
`tokenizer.codecs.encodec.certainty` gives, for frames of so many numbers and for narrower ones. At
full size its error was measured to be 0.023 of the bound in RMS at most, and has no direction; of
16 numbers 0.12, and a plane between two entries may take all of it. The bound of the distances
stays as it is: they are differences of large numbers, which a frame's last bit tips"""
BATCH = 8
"""stretches that go through the convolutions at once"""


@dataclass(frozen=True, slots=True, eq=False)
class Doubts:
    """Of one recording."""

    frames: list[int]
    """whose codes are to be found again, in order"""
    samples: Rows
    """float32 `[n, channels]`: all of it"""
    trace: Trace
    """the LSTM's states: before the first frame, and after each"""
    rms: float
    """of all frames that the encoder gives"""
    same: bool = False
    """whether `tokenizer.codecs.encodec.cpu.same_sums` has the bits of its convolutions"""


@dataclass(frozen=True, slots=True, eq=False)
class _Stretch:
    doubts: Doubts
    frames: list[int]
    lo: int
    hi: int
    rows: torch.Tensor


class TieBreaker:
    """Runs transformers' own encoder on stretches."""

    def __init__(
        self,
        model: Any,
        modules: ReferenceModules,
        stack: Stack,
        n_q: int,
        same: Run | None = None,
    ) -> None:
        """`stack` is that of the faster network; `same` runs `Doubts.same` through its layers
        before the LSTM."""
        before, lstm, after = parts_of(model.encoder)
        self._before = [static_step(layer) for layer in before]
        self._after = [static_step(layer) for layer in after]
        self._books = [layer.codebook.embed.detach() for layer in model.quantizer.layers[:n_q]]
        self._halves = [half_squares(book) for book in self._books]
        self._same = same
        self._lstm, self._modules, self._n_q = ReferenceLstm(lstm), modules, n_q
        self._first, self._second, self._hop = (
            stack.first.reach,
            stack.second.reach,
            stack.first.taken,
        )
        looks = self._first.before + self._first.after + self._second.before + self._second.after
        self.length = max(looks + 1 + WARM, self._first.least, LEAST_FRAMES)
        """frames of a stretch"""

    def __call__(self, doubts: Sequence[Doubts]) -> list[dict[int, torch.Tensor]]:
        """The reference's codes, int64 `[n_q]` by frame, of each recording, without those that are
        doubtful still."""
        stretches = [stretch for one in doubts for stretch in self._stretches(one)]
        codes: dict[int, dict[int, torch.Tensor]] = {id(one): {} for one in doubts}
        same = [one for one in stretches if one.doubts.same]
        if same and self._same is not None:
            hidden = self._same([one.rows for one in same])
            for one, frames in zip(same, hidden, strict=True):
                self._settle(one, frames, codes[id(one.doubts)])
        unknown = [one for one in stretches if not one.doubts.same]
        ordered = sorted(unknown, key=lambda one: len(one.rows))
        for _, group in groupby(ordered, key=lambda one: len(one.rows)):
            equal = list(group)
            for at in range(0, len(equal), BATCH):
                for one, frames in self._through_convolutions(equal[at : at + BATCH]):
                    self._settle(one, frames, codes[id(one.doubts)])
        return [codes[id(one)] for one in doubts]

    def _stretches(self, doubts: Doubts) -> list[_Stretch]:
        found, left = [], list(doubts.frames)
        end = len(doubts.trace) - 1
        while left:
            last = left[-1]
            together = [frame for frame in left if frame >= last - TOGETHER]
            left = left[: -len(together)]
            hi = min(last + 1 + self._second.after + self._first.after, end)
            lo = max(hi - self.length - (last - together[0]), 0)
            hi = min(max(hi, lo + self.length), end)
            rows = doubts.samples[lo * self._hop : hi * self._hop]
            found.append(_Stretch(doubts, together, lo, hi, torch.from_numpy(rows)))
        return found

    def _through_convolutions(
        self, stretches: Sequence[_Stretch]
    ) -> Iterator[tuple[_Stretch, torch.Tensor]]:
        """Of stretches of one length, what the LSTM is given, float32 `[frames, size]`."""
        x = torch.stack([one.rows.t() for one in stretches])
        for layer in self._before:
            x = layer(x)
        return zip(stretches, x.transpose(1, 2), strict=True)

    def _settle(
        self, stretch: _Stretch, frames: torch.Tensor, codes: dict[int, torch.Tensor]
    ) -> None:
        """Write the codes of its doubtful frames, where it decides them."""
        skipped = self._first.before if stretch.lo else 0
        (hidden,), _ = self._lstm([frames[skipped:]], [self._state(stretch, skipped)])
        # As often as torch needs to see it, to round as it does the whole recording.
        y = hidden.t()[None].repeat(LEAST_NUMBERS // hidden.numel() + 1, 1, 1)
        for layer in self._after:
            y = layer(y)
        y = y[:1]
        found = self._modules.quantize(y, self._n_q)[:, 0]
        certain = self._certain(stretch, y[0].t().contiguous())
        for frame in stretch.frames:
            place = frame - stretch.lo - skipped
            if certain[place]:
                codes[frame] = found[:, place]

    def _certain(self, stretch: _Stretch, frames: torch.Tensor) -> torch.Tensor:
        """Which frames of a stretch are decided; bool. At a recording's start its LSTM begins as
        the recording's does, and still a stretch, among others or shorter, is rounded otherwise."""
        share = NEARER if frames.shape[1] >= WIDE else NARROW_NEARER
        moved = share * noise(frames, stretch.doubts.rms)
        _, certainty = quantize(frames, self._books, self._halves, moved)
        return ~uncertain(certainty)

    def _state(self, stretch: _Stretch, skipped: int) -> Trace:
        """Before the first frame that the LSTM is given."""
        place = stretch.lo + skipped
        return stretch.doubts.trace.part(place, place + 1)
