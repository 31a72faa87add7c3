"""From what is heard to segments.

What is heard falls into blocks between long pauses. A block that is too long is cut as Bain et al.
do it ("WhisperX: Time-Accurate Speech Transcription of Long-Form Audio", 2023, 2.2): in the second
half of what a segment may hold, here in the longest pause there; in the longest one before, if
there is none; and where no pause is at all, at the quietest 0.1 s. What is too short for a segment
is joined to its neighbour where the pause between is no long one, or is given silence on both sides
until it is long enough, or is joined over a long pause. What none of that helps is left out, and
named. Last, segments get their padding; a pause that is too short for the padding of both sides is
parted in the middle, so that no sample is in two segments.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from tokenizer.audio.cutting.activity import Activity, runs
from tokenizer.cuts import CutRule, Cuts

LONG_PAUSE = 2.0
"""seconds of a pause that no segment goes on over, unless one would be too short"""
_QUIET = 0.1
"""seconds over which a quiet place is looked for"""
Span = tuple[int, int]
"""first source sample, and the one after the last"""


def cut_evenly(samples: int, sample_rate: int, rule: CutRule) -> Cuts:
    """Segments of `rule.most` seconds; the last one is shorter, and shares with the one before
    where it would be too short."""
    most, least = _most(rule, sample_rate), _least(rule, sample_rate)
    if samples <= most:
        return Cuts(sample_rate, samples)
    edges = [*range(0, samples, most), samples]
    if edges[-1] - edges[-2] < least:
        edges[-2] = (edges[-3] + samples) // 2
    return Cuts(sample_rate, samples, tuple(pairwise(edges)))


def cut_in_pauses(activity: Activity, sample_rate: int, rule: CutRule) -> Cuts:
    """Segments of what is heard. Where nothing is, there are none, and all is left out."""
    total = activity.samples
    if total <= _most(rule, sample_rate):
        return Cuts(sample_rate, total)
    finder = _Finder(activity, sample_rate, rule)
    spans: list[Span] = []
    for block in finder.blocks():
        spans += finder.split(block)
    spans = finder.long_enough(spans)
    both = list(zip(spans, finder.padded(spans), strict=True))
    pieces = tuple(padded for span, padded in both if finder.is_enough(span))
    lost = tuple(span for span in spans if not finder.is_enough(span))
    left = total - sum(end - start for start, end in (*pieces, *lost))
    return Cuts(sample_rate, total, pieces, left, lost, finder.forced)


def _most(rule: CutRule, sample_rate: int) -> int:
    return max(1, int(rule.most * sample_rate + 1e-6))


def _least(rule: CutRule, sample_rate: int) -> int:
    """Never more than half of the most, however short that is in samples."""
    return min(round(rule.least * sample_rate), _most(rule, sample_rate) // 2)


class _Finder:
    """All lengths are samples of the source."""

    def __init__(self, activity: Activity, sample_rate: int, rule: CutRule) -> None:
        self._activity, self._rate = activity, sample_rate
        self._pad = min(round(rule.pad * sample_rate), _most(rule, sample_rate) // 4)
        self._room = _most(rule, sample_rate) - 2 * self._pad
        """for what is heard"""
        self._least = min(_least(rule, sample_rate), self._room // 2)
        self._long = round(LONG_PAUSE * sample_rate)
        self.forced = 0

    def blocks(self) -> list[list[Span]]:
        """Sounds between long pauses, in order."""
        at = self._activity.at
        found: list[list[Span]] = []
        for first, last in runs(self._activity.heard).tolist():
            sound = at(first), at(last)
            if found and sound[0] - found[-1][-1][1] <= self._long:
                found[-1].append(sound)
            else:
                found.append([sound])
        return found

    def split(self, sounds: list[Span]) -> list[Span]:
        """A block in parts for which there is room."""
        begin, finish = sounds[0][0], sounds[-1][1]
        pauses = [(one[1], other[0]) for one, other in pairwise(sounds)]
        parts: list[Span] = []
        next_pause = 0
        while finish - begin > self._room:
            while next_pause < len(pauses) and pauses[next_pause][0] <= begin:
                next_pause += 1
            near = []
            for pause in pauses[next_pause:]:
                if pause[0] - begin > self._room:
                    break
                near.append(pause)
            end, begin_next = self._best(near, begin, finish) or self._quietest(begin, finish)
            parts.append((begin, end))
            begin = begin_next
        return [*parts, (begin, finish)]

    def _best(self, pauses: list[Span], begin: int, finish: int) -> Span | None:
        """The pause to end a part in that begins at `begin`; None if there is none."""
        least = self._least
        fair = [p for p in pauses if p[0] - begin >= least and finish - p[1] >= least]
        late = [p for p in fair if p[0] - begin >= self._room // 2]
        return max(late or fair, key=lambda p: (p[1] - p[0], p[0]), default=None)

    def _quietest(self, begin: int, finish: int) -> Span:
        """Where to cut if there is no pause."""
        self.forced += 1
        activity = self._activity
        earliest = begin + self._room // 2
        latest = max(earliest + 1, min(begin + self._room, finish - self._least))
        wide = max(1, round(_QUIET * self._rate / activity.hop))
        first, last = activity.frame(earliest) + 1, activity.frame(latest)
        level = activity.level[max(0, first - wide // 2) : last + wide - wide // 2]
        if last <= first or len(level) < wide:
            return latest, latest
        smooth = np.convolve(level, np.full(wide, 1 / wide), "valid")[: last - first]
        # The last one of those that are equally quiet.
        quiet = first + len(smooth) - 1 - int(np.argmin(smooth[::-1]))
        place = min(max(activity.at(quiet), earliest), latest)
        return place, place

    def is_enough(self, span: Span) -> bool:
        """Whether it is no shorter than the least."""
        return span[1] - span[0] >= self._least

    def long_enough(self, spans: list[Span]) -> list[Span]:
        """Spans that are no shorter than the least, as far as they can be made so."""
        for allowed in (self._long, None):
            spans = self._widened(self._joined(spans, allowed))
        return spans

    def _joined(self, spans: list[Span], most_between: int | None) -> list[Span]:
        """Short spans joined to the nearer neighbour with which there is room for them."""
        done: list[Span] = []
        coming = list(reversed(spans))
        while coming:
            span = coming.pop()
            if self.is_enough(span):
                done.append(span)
                continue
            sides = [(span[0] - done[-1][1], -1)] if done else []
            sides += [(coming[-1][0] - span[1], 1)] if coming else []
            for between, side in sorted(sides):
                other = done[-1] if side < 0 else coming[-1]
                joined = min(other[0], span[0]), max(other[1], span[1])
                near = most_between is None or between <= most_between
                if near and joined[1] - joined[0] <= self._room:
                    (done if side < 0 else coming).pop()
                    coming.append(joined)
                    break
            else:
                done.append(span)
        return done

    def _widened(self, spans: list[Span]) -> list[Span]:
        """Short spans with silence on both sides, as far as nothing else is there."""
        done: list[Span] = []
        for number, (start, end) in enumerate(spans):
            lacking = self._least - (end - start)
            if lacking > 0:
                behind = spans[number + 1][0] if number + 1 < len(spans) else self._activity.samples
                before = done[-1][1] if done else 0
                left = min(start - before, max(lacking // 2, lacking - (behind - end)))
                right = min(behind - end, lacking - left)
                if left + right == lacking:
                    start, end = start - left, end + right
            done.append((start, end))
        return done

    def padded(self, spans: list[Span]) -> list[Span]:
        """Spans with their padding."""
        edges = [0, *(edge for span in spans for edge in span), self._activity.samples]
        pieces = []
        for number, (start, end) in enumerate(spans):
            before, behind = start - edges[2 * number], edges[2 * number + 3] - end
            if number:
                before -= before // 2  # the other half is the neighbour's
            if number + 1 < len(spans):
                behind //= 2
            pieces.append((start - min(self._pad, before), end + min(self._pad, behind)))
        return pieces
