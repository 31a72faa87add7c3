"""Words' times of a corpus's recordings: brought to each recording's own time, and counted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipelines.corpus.tables.alignment import ALIGNMENT, ALIGNMENTS, ERROR, are_times
from pipelines.corpus.tables.values import SIDECAR_ERROR
from pipelines.system.words import many
from tokenizer.types import Recording

LOOSE = 0.25
"""seconds that words may begin before, and end behind, what they are said in: aligners round, and
segments are cut closely"""
OUTSIDE = "words_outside"
"""flag of a row whose words were said to be where its audio has none"""
_MOST_HELD = 10_000
"""segments that are held until one tells in whose time words are"""


class SegmentTimes:
    """Brings the words of a table's segments to the segments' own time.

    A table may tell them in seconds of the file or of the segment. The first row that only one of
    both fits decides for all of them; where none does, they are the file's. Words that do not fit
    then cost themselves.
    """

    def __init__(self) -> None:
        self._of_file: bool | None = None
        self._held: list[Recording] = []
        self.own: set[str] = set()
        """ids of rows whose words are known to be in their own time"""

    def settle(self, recordings: Iterable[Recording]) -> Iterator[Recording]:
        """The recordings, in their order."""
        for recording in recordings:
            if not (self._held or ALIGNMENT in recording.meta):
                yield recording
            elif self._of_file is None:
                self._held.append(recording)
                self._of_file = None if recording.id in self.own else _decide(recording)
                if self._of_file is None and (
                    len(self._held) < _MOST_HELD and any(map(_asks, self._held[:1]))
                ):
                    continue
                yield from self._flush()
            else:
                yield self._settled(recording)
        yield from self._flush()

    def _flush(self) -> Iterator[Recording]:
        held, self._held = self._held, []
        for recording in held:
            if self._of_file is None and len(held) >= _MOST_HELD:
                self._of_file = True
            yield self._settled(recording)

    def _settled(self, recording: Recording) -> Recording:
        words = recording.meta.get(ALIGNMENT)
        if not words or (recording.start is None and recording.end is None):
            return recording
        if recording.id in self.own:
            self.own.remove(recording.id)
            return recording
        start = recording.start or 0.0
        shift = start if self._of_file in (None, True) else 0.0
        if not _fits(words, shift, _length(recording)):
            meta = without_words(recording.meta, _outside(words, shift, recording))
            return replace(recording, meta=meta)
        return replace(recording, meta=moved(recording.meta, shift))


def moved(meta: Mapping[str, Any], shift: float) -> dict[str, Any]:
    """Metadata with its times so many seconds earlier."""
    meta = dict(meta)
    if ALIGNMENT in meta:
        meta[ALIGNMENT] = _earlier(meta[ALIGNMENT], shift)
    if shift and isinstance(meta.get(ALIGNMENTS), Mapping):
        meta[ALIGNMENTS] = {
            kind: _earlier(items, shift) if are_times(items) else items
            for kind, items in meta[ALIGNMENTS].items()
        }
    return meta


def _earlier(items: Sequence[Sequence[Any]], shift: float) -> list[list[Any]]:
    return [
        [max(0.0, round(item[0] - shift, 6)), max(0.0, round(item[1] - shift, 6)), *item[2:]]
        for item in items
    ]


def without_words(meta: Mapping[str, Any], why: str) -> dict[str, Any]:
    """Metadata without times of words, and why."""
    return {name: value for name, value in meta.items() if name != ALIGNMENT} | {ERROR: why}


def _asks(recording: Recording) -> bool:
    """Whether it matters for a row in whose time its words are."""
    return bool(recording.start) and bool(recording.meta.get(ALIGNMENT))


def _decide(recording: Recording) -> bool | None:
    """Whether a row's words are in the file's time; None where it does not tell."""
    if not _asks(recording):
        return None
    words, length = recording.meta[ALIGNMENT], _length(recording)
    of_file, own = _fits(words, recording.start or 0.0, length), _fits(words, 0.0, length)
    return None if of_file == own else of_file


def _length(recording: Recording) -> float:
    return math.inf if recording.end is None else recording.end - (recording.start or 0.0)


def _fits(words: Sequence[Sequence[Any]], shift: float, length: float) -> bool:
    return all(word[0] - shift >= -LOOSE and word[1] - shift <= length + LOOSE for word in words)


def _outside(words: Sequence[Sequence[Any]], shift: float, recording: Recording) -> str:
    first, last = min(word[0] for word in words), max(word[1] for word in words)
    length = _length(recording)
    whose = "the file's" if shift else "the recording's"
    return (
        f"words are said from {first:g} to {last:g} s of {whose} time, and it goes from {shift:g} "
        f"to {'its end' if math.isinf(length) else f'{shift + length:g} s'}"
    )


def beyond(meta: Mapping[str, Any], seconds: float) -> str | None:
    """Why words cannot be those of a recording that is so long; None where they can."""
    words = meta.get(ALIGNMENT)
    if not isinstance(words, list) or not words:
        return None
    last = max(word[0] for word in words)
    if last < seconds + LOOSE:
        return None
    return f"a word begins at {last:g} s of a recording of {seconds:.6g} s"


class WordCount:
    """Counts recordings with times of words, those whose words cannot be used, and those beside
    which something cannot be read."""

    def __init__(self) -> None:
        self._timed = self._others = self._wrong = self._unread = 0
        self._first_unread = ""
        self._names: dict[str, None] = {}
        self._first = ""

    def watch(self, recordings: Iterable[Recording]) -> Iterator[Recording]:
        for recording in recordings:
            meta = recording.meta
            self._timed += ALIGNMENT in meta
            if isinstance(meta.get(ALIGNMENTS), Mapping):
                self._others += 1
                self._names |= dict.fromkeys(meta[ALIGNMENTS])
            if ERROR in meta:
                self._wrong += 1
                self._first = self._first or f"{recording.id}: {meta[ERROR]}"
            if SIDECAR_ERROR in meta:
                self._unread += 1
                first = f"{recording.id}: {meta[SIDECAR_ERROR]}"
                self._first_unread = self._first_unread or first
            yield recording

    def notes(self) -> Iterator[str]:
        if self._timed:
            yield f"times of words in {many(self._timed, 'recording')} (meta.{ALIGNMENT})"
        if self._others:
            names = [*self._names]
            shown = ", ".join(names[:3]) + (" …" if names[3:] else "")
            yield f"times of {shown} in {many(self._others, 'recording')} (meta.{ALIGNMENTS})"
        if self._wrong:
            yield (
                f"times of words that cannot be used in {many(self._wrong, 'recording')}, which "
                f"stay without; the first is {self._first}"
            )
        if self._unread:
            yield (
                f"what lies beside {many(self._unread, 'recording')} cannot be read "
                f"(meta.{SIDECAR_ERROR}); the first is {self._first_unread}"
            )
