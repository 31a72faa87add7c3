"""A recording and its cuts to the rows that it becomes, each with the words that are said in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipelines.corpus.tables.alignment import ALIGNMENT, ALIGNMENTS, are_times, within
from tokenizer.cuts import CUT_FROM, Cuts
from tokenizer.types import Recording

_SEGMENTS = "segments"
"""key of `meta`: sentences with their times, as Whisper has them"""


def segments(recording: Recording, cuts: Cuts, truncated: bool = False) -> Iterator[Recording]:
    """Rows `ID#0001`, `ID#0002` … for the segments of recording `ID`, in order; the recording
    itself where it is not cut.

    A segment has the recording's speaker, language and metadata, and of its words those whose
    middle lies in it. Where the recording has no times of words, a segment has no text: the whole
    one would be wrong.

    Args:
        recording: what was cut.
        cuts: where.
        truncated: the file ends early. The segment there is then read up to the end, in order that
            it is flagged.
    """
    rate = cuts.sample_rate
    if not cuts.pieces:
        yield recording if recording.end else replace(recording, seconds=cuts.samples / rate)
        return
    first = round((recording.start or 0.0) * rate)
    digits = max(4, len(str(len(cuts.pieces))))
    for number, (start, end) in enumerate(cuts.pieces, 1):
        reaches = truncated and end == cuts.samples
        yield replace(
            recording,
            id=f"{recording.id}#{number:0{digits}d}",
            start=(first + start) / rate,
            end=recording.end if reaches else (first + end) / rate,
            seconds=(end - start) / rate,
            **_said(recording, start / rate, end / rate, end == cuts.samples),
        )


def _said(recording: Recording, start: float, end: float, last: bool) -> dict[str, Any]:
    """Text, speaker and metadata of a segment; times are seconds of the recording."""
    meta = dict(recording.meta)
    until = None if last else end
    for kind, items in [*_timed(meta)]:
        if kind is None:
            meta[ALIGNMENT] = _shortened(within(items, start, until), end - start)
        else:
            cut = _shortened(within(items, start, until), end - start)
            meta[ALIGNMENTS] = {**meta[ALIGNMENTS], kind: cut}
    if _are_sentences(meta.get(_SEGMENTS)):
        meta[_SEGMENTS] = _sentences(meta[_SEGMENTS], start, end)
    meta[CUT_FROM] = recording.id
    words = meta.get(ALIGNMENT)
    if words is None:
        return {"text": None, "meta": meta}
    speakers = {word[3] for word in words if len(word) > 3}
    speaker = next(iter(speakers)) if len(speakers) == 1 else None
    return {
        "text": " ".join(word[2] for word in words) or None,
        "speaker": recording.speaker or speaker,
        "meta": meta,
    }


def _timed(meta: Mapping[str, Any]) -> Iterator[tuple[str | None, Sequence[Sequence[Any]]]]:
    """Lists of what has times, by what they are; None is words."""
    if meta.get(ALIGNMENT) is not None:
        yield None, meta[ALIGNMENT]
    others = meta.get(ALIGNMENTS)
    for kind, items in others.items() if isinstance(others, Mapping) else ():
        if are_times(items):
            yield kind, items


def _shortened(words: list[list[Any]], length: float) -> list[list[Any]]:
    """Words that end no later than the segment."""
    end = round(length, 6)
    return [[min(word[0], end), min(word[1], end), *word[2:]] for word in words]


def _are_sentences(given: Any) -> bool:
    """Whether they have times; what else a corpus calls segments stays what it is."""
    return isinstance(given, list) and any(
        isinstance(each, Mapping)
        and all(isinstance(each.get(edge), int | float) for edge in ("start", "end"))
        for each in given
    )


def _sentences(given: list[Any], start: float, end: float) -> list[Any]:
    """Those sentences that lie in a segment, in its time: what is cut through is in none."""
    return [
        {**each, "start": round(each["start"] - start, 6), "end": round(each["end"] - start, 6)}
        for each in given
        if _are_sentences([each]) and start <= each["start"] and each["end"] <= end
    ]
