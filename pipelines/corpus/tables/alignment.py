"""When which word is said, in the forms that corpora have, as `meta["alignment"]` holds it: a list
of `[start, end, text]`, or `[start, end, text, speaker]` where several speak; seconds from the
recording's beginning."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

ALIGNMENT = "alignment"
"""key in `meta`"""
Word = tuple[float, float, str, str | None]
"""start, end, text, speaker"""
_START, _END = ("start", "start_time", "begin", "xmin"), ("end", "end_time", "stop", "xmax")
_LENGTH, _TEXT = ("duration", "dur"), ("word", "text", "symbol", "label", "token")
_KEYS = (ALIGNMENT, "alignments", "word_timestamps", "words")
"""what metadata may call it"""


def take_alignment(values: Mapping[str, Any]) -> tuple[list[Word], dict[str, Any]]:
    """The words that metadata tells the times of, and the rest of it. What is no list of words with
    times stays there."""
    for key in _KEYS:
        given = values.get(key)
        words = read_words(given) if isinstance(given, Sequence) else None
        if words:
            return words, {name: value for name, value in values.items() if name != key}
    return [], dict(values)


def read_words(given: Any) -> list[Word] | None:
    """Words with their times; None where it is nothing of the kind.

    Args:
        given: a list of `[start, end, text]`, of `[text, start, end]`, of moshi's
            `[text, [start, end], speaker]`, or of objects with such names.
    """
    if isinstance(given, str) or not isinstance(given, Sequence):
        return None
    words = []
    for each in given:
        word = _of_object(each) if isinstance(each, Mapping) else _of_list(each)
        if word is None or not (math.isfinite(word[0]) and math.isfinite(word[1])):
            return None
        words.append(word)
    return words


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


def _of_list(item: Any) -> Word | None:
    if isinstance(item, str) or not isinstance(item, Sequence) or len(item) < 2:
        return None
    if isinstance(item[0], str) and isinstance(item[1], list | tuple) and len(item[1]) == 2:
        speaker = item[2] if len(item) > 2 and isinstance(item[2], str) else None
        return _word(item[1][0], item[1][1], item[0], speaker)
    if len(item) not in (3, 4):
        return None
    speaker = item[3] if len(item) == 4 and isinstance(item[3], str) else None
    if isinstance(item[0], str):
        return _word(item[1], item[2], item[0], speaker)
    return _word(item[0], item[1], item[2], speaker)


def _of_object(item: Mapping[str, Any]) -> Word | None:
    start, end, length, text = (_first(item, names) for names in (_START, _END, _LENGTH, _TEXT))
    if end is None and _is_time(start) and _is_time(length):
        end = start + length
    speaker = item.get("speaker")
    return _word(start, end, text, speaker if isinstance(speaker, str) else None)


def _first(item: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((item[name] for name in names if item.get(name) is not None), None)


def _word(start: Any, end: Any, text: Any, speaker: str | None) -> Word | None:
    if not (_is_time(start) and _is_time(end) and isinstance(text, str)) or end < start:
        return None
    return float(start), float(end), text, speaker


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
