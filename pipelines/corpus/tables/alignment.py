"""When which word is said, in the forms that corpora have, as `meta["alignment"]` holds it: a list
of `[start, end, text]`, or `[start, end, text, speaker]` where several speak; seconds from the
recording's beginning."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

ALIGNMENT = "alignment"
"""key in `meta`"""
ALIGNMENTS = "alignments"
"""key in `meta`: times of other things than words, such as phones, by what they are called"""
ERROR = "alignment_error"
"""key in `meta`: why words that the source has times of are not in it"""
Word = tuple[float, float, str, str | None]
"""start, end, text, speaker"""
_WORDS = re.compile(r"(?i)(?:(?P<speaker>.+?)[ _-]+)?(?:words?|wrd|ctm|ort-mau)")
"""what times of words are called among times of other things: `words`, `ann - words`"""
SILENCE = frozenset(("", "<eps>", "sil", "SIL", "<sil>", "sp", "spn", "<silence>", "<p:>"))
"""what aligners write where nothing is said"""
_START, _END = ("start", "start_time", "begin", "xmin"), ("end", "end_time", "stop", "xmax")
_LENGTH, _TEXT = ("duration", "dur"), ("word", "text", "symbol", "label", "token")
_PAIR = ("timestamp", "timestamps")
_KEYS = (ALIGNMENT, ALIGNMENTS, "word_timestamps", "words", "word_segments", "tiers")
"""what metadata may call it"""
_SEGMENTS = ("segments", "chunks")
"""what holds words where metadata is what Whisper writes: each with its own words, or each one"""
RELATED = frozenset((*_KEYS, *_SEGMENTS))
_DROPPED = frozenset(("words", "tokens", "seek"))
"""what is not kept of a segment of Whisper's: its words are in the alignment, and the others mean
nothing without the model"""

Timed = tuple[Any, Any, Any, str | None]
"""start and end as they come, text, speaker"""


class BadWords(ValueError):
    """Words with times that cannot be."""


def with_alignment(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Metadata with its words' times, if it has some, under `ALIGNMENT` in the form of `stored`;
    with a text made of them where it has none, and the reason under `ERROR` where they cannot
    be."""
    if RELATED.isdisjoint(values):
        return values
    values = dict(values)
    try:
        words, values = take_alignment(values)
    except BadWords as error:
        key = _key_of(values)
        text = _texts(key, values)
        values = _slim({name: value for name, value in values.items() if name != key})
        return values | ({} if values.get("text") else {"text": text}) | {ERROR: str(error)}
    if not words:
        return _without_others(values)
    missing = {name: value for name, value in said(words).items() if not values.get(name)}
    return values | missing


def take_alignment(values: Mapping[str, Any]) -> tuple[list[Word], dict[str, Any]]:
    """The words that metadata tells the times of, and the rest of it. What is no list of words with
    times stays there.

    Raises:
        BadWords: times that cannot be.
    """
    key = _key_of(values)
    if key is None:
        return [], dict(values)
    rest = {name: value for name, value in values.items() if name != key or name == "segments"}
    words, others = _by_kind(_kinds(key, values[key]))
    if others:
        rest[ALIGNMENTS] = others
    if key != "word_segments":
        rest.pop("word_segments", None)
    if key == "tiers":  # how long the file is, as MFA's JSON has it
        rest = {name: value for name, value in rest.items() if name not in ("start", "end")}
    return words, _slim(rest)


def _texts(key: str | None, values: Mapping[str, Any]) -> str | None:
    """What is said in words whose times are wrong, in the order in which they stand."""
    kinds = _kinds(key, values[key]) if key is not None else {}
    items = next((items for kind, items in kinds.items() if _WORDS.fullmatch(kind.strip())), None)
    said = [text for _, _, text, _ in _parsed(_plain(items)) or () if isinstance(text, str)]
    return " ".join(" ".join(text for text in said if text not in SILENCE).split()) or None


def _key_of(values: Mapping[str, Any]) -> str | None:
    """What words' times are called in metadata; None where there are none."""
    there = (key for key in (*_KEYS, *_SEGMENTS) if key in values)
    return next((key for key in there if _kinds(key, values[key])), None)


def _by_kind(kinds: Mapping[str, Any]) -> tuple[list[Word], dict[str, Any]]:
    """Words, and what else has times. Of several tiers of words each is a speaker's."""
    words: list[Word] = []
    others = dict(kinds)
    for kind, items in kinds.items():
        found = _WORDS.fullmatch(kind.strip())
        if found is None:
            others[kind] = times(items) or items
            continue
        del others[kind]
        for start, end, text, speaker in read_words(items) or ():
            if text not in SILENCE:
                words.append((start, end, text, speaker or found["speaker"]))
    return words, others


def _kinds(key: str, given: Any) -> dict[str, Any]:
    """Lists of things with times by what they are; those of words are `words` where it is not
    said."""
    given = _plain(given)
    if key in _SEGMENTS:
        inner = _inside_segments(given) or (given if _are_chunks(given) else [])
        return {"words": inner} if inner else {}
    if isinstance(given, Mapping) and not _listed_apart(given):
        kinds = {str(kind): _entries(_plain(items)) for kind, items in given.items()}
        return kinds if any(_parsed(items) for items in kinds.values()) else {}
    return {"words": given} if _parsed(given) else {}


def _entries(given: Any) -> Any:
    """A tier as JSON has it: `{"type": "interval", "entries": […]}`."""
    return given["entries"] if isinstance(given, Mapping) and "entries" in given else given


def _plain(given: Any) -> Any:
    """A value as Python's own; JSON within a cell is unpacked."""
    if hasattr(given, "tolist"):
        return given.tolist()
    if isinstance(given, str) and given.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(given)
        except (ValueError, RecursionError):
            return given
    return given


def _inside_segments(given: Any) -> list[Any]:
    """Words that lie in segments, which tell where one is that has no times of its own."""
    words: list[Any] = []
    if not _is_list(given):
        return words
    for segment in given:
        own = segment.get("words") if isinstance(segment, Mapping) else None
        if not _is_list(own):
            continue
        start, end = segment.get("start"), segment.get("end")
        filled = _between(_parsed(own) or [], start, end)
        words += [{"start": s, "end": e, "word": w, "speaker": who} for s, e, w, who in filled]
    return words


def _is_whisper(given: Any) -> bool:
    """Whether these are segments, which hold words or tokens."""
    return any(isinstance(item, Mapping) and not _DROPPED.isdisjoint(item) for item in given)


def _are_chunks(given: Any) -> bool:
    """Whether these are what transformers' speech recognition gives, and each is one word."""
    return _is_list(given) and all(
        isinstance(each, Mapping)
        and "timestamp" in each
        and isinstance(each.get("text"), str)
        and len(each["text"].split()) <= 1
        for each in given
    )


def _slim(values: dict[str, Any]) -> dict[str, Any]:
    """Metadata with segments of Whisper's without what is elsewhere; their text, where there is no
    other."""
    segments = values.get("segments")
    if not _is_list(segments) or not _is_whisper(segments):
        return values
    kept = [
        {name: value for name, value in each.items() if name not in _DROPPED}
        for each in segments
        if isinstance(each, Mapping)
    ]
    values = {**values, "segments": kept}
    if not values.get("text"):
        texts = [str(each["text"]).strip() for each in kept if isinstance(each.get("text"), str)]
        values["text"] = " ".join(texts)
    return values


def _without_others(values: dict[str, Any]) -> dict[str, Any]:
    """Metadata in which nothing that is no list of words is called so."""
    values = _slim(values)
    if ALIGNMENT in values:
        given = values.pop(ALIGNMENT)
        if given is not None and given != [] and given != "":
            values |= {f"{ALIGNMENT}_as_given": given}
            values[ERROR] = f"`{ALIGNMENT}` is no list of [start, end, word]"
    return values


def read_words(given: Any) -> list[Word] | None:
    """Words with their times; None where it is nothing of the kind. A word without times stands
    between its neighbours.

    Args:
        given: a list of `[start, end, text]`, of `[text, start, end]`, of moshi's
            `[text, [start, end], speaker]`, or of objects with such names.

    Raises:
        BadWords: times that are none, or end before they begin.
    """
    parsed = _parsed(_plain(given))
    if parsed is None:
        return None
    words = []
    for number, (start, end, text, speaker) in enumerate(_between(parsed), 1):
        place = f"word {number} ({text})"
        if not isinstance(text, str):
            raise BadWords(f"word {number} is {text!r:.40}, a string is expected")
        begins, ends = _time(start, place), _time(end, place)
        if ends < begins:
            raise BadWords(f"{place} ends at {ends:g} s, before it begins at {begins:g} s")
        if text.strip():
            words.append((begins, ends, text.strip(), speaker))
    return words


def times(given: Any) -> list[list[Any]]:
    """`[start, end, text]` of things that are no words; empty where they cannot be."""
    try:
        words = read_words(given)
    except BadWords:
        return []
    return [[start, end, text] for start, end, text, _ in words or ()]


def are_times(items: Any) -> bool:
    """Whether these are what `times` gives."""
    return _is_list(items) and all(
        _is_list(item) and len(item) == 3 and isinstance(item[0], float) for item in items
    )


def stored(words: Iterable[Word]) -> list[list[Any]]:
    """Words as `meta["alignment"]` has them, in the order of their times."""
    ordered = sorted(words, key=lambda word: word[:2])
    speakers = {word[3] for word in ordered}
    return [list(word if len(speakers) > 1 else word[:3]) for word in ordered]


def said(words: Iterable[Word]) -> dict[str, Any]:
    """What words with times say of a recording: its text, its speaker if there is one, and when."""
    words = sorted(words, key=lambda word: word[:2])
    speakers = {word[3] for word in words}
    values: dict[str, Any] = {"text": " ".join(word[2] for word in words), ALIGNMENT: stored(words)}
    if len(speakers) == 1:
        values["speaker"] = next(iter(speakers))
    return values


def within(words: Iterable[Sequence[Any]], start: float, end: float | None) -> list[list[Any]]:
    """Those of `stored` words whose middle lies in a part of a recording, in the part's time."""
    last = math.inf if end is None else end
    return [
        [round(max(0.0, word[0] - start), 6), round(min(word[1], last) - start, 6), *word[2:]]
        for word in words
        if start <= (word[0] + word[1]) / 2 < last
    ]


def _parsed(given: Any) -> list[Timed] | None:
    """Items as they come; None where they are not about times at all, or not one has some."""
    if isinstance(given, Mapping):
        apart = _listed_apart(given)
        return apart or None
    if not _is_list(given):
        return None
    found = [_of_object(each) if isinstance(each, Mapping) else _of_list(each) for each in given]
    timed = [each for each in found if each is not None and (each[0], each[1]) != (None, None)]
    if not timed:
        return None
    return [each or (None, None, given[number], None) for number, each in enumerate(found)]


def _listed_apart(given: Mapping[str, Any]) -> list[Timed]:
    """Items of `{"word": […], "start": […], "end": […]}`, as data sets of the Hub have them."""
    columns = [
        next((given[name] for name in names if _is_list(given.get(name))), None)
        for names in (_START, _END, _TEXT)
    ]
    starts, ends, texts = (column or () for column in columns)
    if not (starts and len(starts) == len(ends) == len(texts)):
        return []
    return [(start, end, text, None) for start, end, text in zip(starts, ends, texts, strict=True)]


def _between(items: Sequence[Timed], start: Any = None, end: Any = None) -> list[Timed]:
    """Items, of which those without times begin where the one before ends, and end where the next
    one begins: aligners give none to what is no word of theirs, such as numbers."""
    filled: list[Timed] = []
    for number, (first, last, text, speaker) in enumerate(items):
        if first is None:
            first = filled[-1][1] if filled else start
        if last is None:
            following = (each[0] for each in items[number + 1 :] if each[0] is not None)
            last = next(following, end)
        filled.append((first, last, text, speaker))
    return [
        (last if first is None else first, first if last is None else last, text, speaker)
        for first, last, text, speaker in filled
    ]


def _of_list(item: Any) -> Timed | None:
    if not _is_list(item) or len(item) < 2:
        return None
    if isinstance(item[0], str) and _is_list(item[1]) and len(item[1]) == 2:
        speaker = item[2] if len(item) > 2 and isinstance(item[2], str) else None
        return item[1][0], item[1][1], item[0], speaker
    if len(item) not in (3, 4):
        return None
    speaker = item[3] if len(item) == 4 and isinstance(item[3], str) else None
    if isinstance(item[0], str) and not _is_time(item[0]):
        return item[1], item[2], item[0], speaker
    return (item[0], item[1], item[2], speaker) if isinstance(item[2], str) else None


def _of_object(item: Mapping[str, Any]) -> Timed | None:
    start, end, length, text = (_first(item, names) for names in (_START, _END, _LENGTH, _TEXT))
    pair = _first(item, _PAIR)
    if start is None and end is None and _is_list(pair) and len(pair) == 2:
        start, end = pair
    if end is None and _is_time(start) and _is_time(length):
        end = float(start) + float(length)
    speaker = item.get("speaker")
    if text is None:
        return None
    return start, end, text, speaker if isinstance(speaker, str) else None


def _first(item: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((item[name] for name in names if item.get(name) is not None), None)


def _time(value: Any, place: str) -> float:
    if not _is_time(value) or float(value) < 0:
        raise BadWords(f"{place} is at {value!r:.40}, seconds from 0 are expected")
    return float(value)


def _is_time(value: Any) -> bool:
    """Whether a value is a number of seconds, or is written as one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    try:
        return math.isfinite(float(value))
    except (ValueError, OverflowError):
        return False


def _is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
