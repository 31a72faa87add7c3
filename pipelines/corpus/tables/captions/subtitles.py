"""Subtitles as metadata: SubRip (`.srt`), WebVTT (`.vtt`) and the JSON of whisper.cpp, in the form
that Whisper's own JSON has: `text`, and `segments` with `start`, `end`, `text` and, where they are
known, `words`.

WebVTT: https://www.w3.org/TR/webvtt1/. SubRip has no specification; what FFmpeg and players take is
taken: a point for the comma, no numbers, blank lines within a cue.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.corpus.tables.alignment import ERROR

_TIME = r"(?:(\d+):)?([0-5]?\d):([0-5]?\d)[.,](\d{1,3})"
_TIMES = re.compile(rf"\s*{_TIME}[ \t]*-->[ \t]*{_TIME}(?:\s.*)?")
_ARROW = "-->"
_WITHIN = re.compile(rf"<{_TIME}>")
"""a time between two words of a cue"""
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?[ \t]+([^>]+)>")
_TAG = re.compile(r"(?i)</?(?:i|b|u|s|c|v|font|lang|ruby|rt|span)(?:[.\s][^<>]*)?>|\{\\[^{}]*\}")
"""of HTML, of WebVTT, and `{\\an8}`"""
_NO_CUE = ("NOTE", "STYLE", "REGION")
_SPECIAL = re.compile(r"\[_.*\]|<\|.*\|>")
"""what is no text among the tokens of Whisper"""
_RUN = ("systeminfo", "model", "params", "result", "transcription")
"""what whisper.cpp says of itself"""


@dataclass(slots=True)
class _Cue:
    start: float
    end: float
    lines: list[str]
    wrong: str | None = None
    """what its times are, where they cannot be"""


class _BadTime(ValueError):
    """A cue's times that cannot be."""


def read_srt(text: str) -> dict[str, Any]:
    """What a SubRip file says.

    Raises:
        ValueError: it has no cue.
    """
    return _as_metadata(_srt_blocks(text.splitlines()))


def read_vtt(text: str) -> dict[str, Any]:
    """What a WebVTT file says; a line that is repeated while the next one is spoken, as YouTube's
    captions have it, once.

    Raises:
        ValueError: no WebVTT, or without a cue.
    """
    if not text.startswith("WEBVTT"):
        raise ValueError("no WebVTT: its first line is not WEBVTT")
    blocks = list(_vtt_blocks(text.splitlines()))
    return _as_metadata(_once(blocks) if _WITHIN.search(text) else blocks)


def is_whisper_cpp(values: Mapping[str, Any]) -> bool:
    """Whether a JSON object is what whisper.cpp writes (`--output-json`, `--output-json-full`)."""
    items = values.get("transcription")
    return isinstance(items, list) and all(
        isinstance(one, Mapping) and "offsets" in one and isinstance(one.get("text"), str)
        for one in items
    )


def read_whisper_cpp(values: Mapping[str, Any]) -> dict[str, Any]:
    """What it says: text, language, segments and words."""
    items = values["transcription"]
    rest = {name: value for name, value in values.items() if name not in _RUN}
    result = values.get("result")
    language = result.get("language") if isinstance(result, Mapping) else None
    if isinstance(language, str):
        rest["language"] = language
    rest["text"] = " ".join("".join(one["text"] for one in items).split())
    try:
        segments = [
            {"start": start, "end": end, "text": one["text"].strip()}
            | ({"words": words} if (words := _words_of_tokens(one)) else {})
            for one in items
            for start, end in [_offsets(one)]
        ]
    except _BadTime as error:
        return rest | {ERROR: str(error)}
    if not any("words" in one for one in segments) and all(
        len(one["text"].split()) <= 1 for one in segments
    ):
        for one in segments:
            one["words"] = [{"start": one["start"], "end": one["end"], "word": one["text"]}]
    return rest | {"segments": segments}


def _words_of_tokens(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A word begins with the token that begins with a blank."""
    words: list[dict[str, Any]] = []
    for token in item.get("tokens") or ():
        text = token.get("text") if isinstance(token, Mapping) else None
        if not isinstance(text, str) or _SPECIAL.fullmatch(text.strip()):
            continue
        start, end = _offsets(token)
        if words and not text.startswith(" "):
            words[-1]["word"] += text
            words[-1]["end"] = end
        elif text.strip():
            words.append({"start": start, "end": end, "word": text.strip()})
    return words


def _offsets(item: Mapping[str, Any]) -> tuple[float, float]:
    """Milliseconds as seconds."""
    given = item.get("offsets")
    start, end = (given.get("from"), given.get("to")) if isinstance(given, Mapping) else (None, 0)
    if not isinstance(start, int) or not isinstance(end, int) or not 0 <= start <= end:
        raise _BadTime(f"`{item['text'].strip():.40}` is at {given!r:.60}")
    return start / 1000, end / 1000


def _as_metadata(blocks: Iterable[_Cue]) -> dict[str, Any]:
    """Text and segments in the order of their times; text alone where a time is wrong."""
    cues = list(blocks)
    if not cues:
        raise ValueError("no cue in it")
    try:
        found = [one for cue in cues if (one := _segment(cue))["text"]]
    except _BadTime as error:
        text = " ".join(" ".join(_plain(line) for cue in cues for line in cue.lines).split())
        return {"text": text, ERROR: str(error)}
    if not found:
        return {}
    found.sort(key=lambda one: (one["start"], one["end"]))
    values: dict[str, Any] = {"text": " ".join(one["text"] for one in found), "segments": found}
    speakers = {one.get("speaker") for one in found}
    if len(speakers) == 1 and None not in speakers:
        values["speaker"] = speakers.pop()
    return values


def _segment(cue: _Cue) -> dict[str, Any]:
    if cue.wrong is not None:
        raise _BadTime(cue.wrong)
    said = " ".join(cue.lines)
    voices = list(dict.fromkeys(name.strip() for name in _VOICE.findall(said)))
    found: dict[str, Any] = {"start": cue.start, "end": cue.end, "text": _plain(said)}
    if len(voices) == 1:
        found["speaker"] = _plain(voices[0])
    words = list(_words_within(cue, said))
    return found | ({"words": words} if words else {})


def _words_within(cue: _Cue, said: str) -> Iterator[dict[str, Any]]:
    """Words of a cue that has times between them; those between two times share the span."""
    pieces = list(_WITHIN.finditer(said))
    if not pieces:
        return
    starts = [cue.start, *(_seconds(*piece.groups()) for piece in pieces)]
    ends = [*starts[1:], cue.end]
    texts = [said[a:b] for a, b in zip(
        [0, *(piece.end() for piece in pieces)],
        [*(piece.start() for piece in pieces), len(said)],
        strict=True,
    )]  # fmt: skip
    for start, end, text in zip(starts, ends, texts, strict=True):
        words = _plain(text).split()
        if end < start:
            raise _BadTime(f"`{_plain(text)}` ends at {end:g} s, before it begins at {start:g} s")
        each = (end - start) / max(1, len(words))
        for number, word in enumerate(words):
            first, last = start + number * each, start + (number + 1) * each
            yield {"start": round(first, 3), "end": round(last, 3), "word": word}


def _srt_blocks(lines: Sequence[str]) -> Iterator[_Cue]:
    """Cues. What follows a blank line is of the same cue,
    unless it is a number with times below it."""
    timed = [number for number, line in enumerate(lines) if _ARROW in line]
    for at, ends in zip(timed, [*timed[1:], len(lines)], strict=True):
        text = list(lines[at + 1 : ends])
        numbered = at > 0 and lines[at - 1].strip().isdigit()
        if numbered and ends < len(lines) and text and text[-1].strip().isdigit():
            text.pop()
        yield _cue(lines[at], at + 1, [line.strip() for line in text if line.strip()])


def _vtt_blocks(lines: Sequence[str]) -> Iterator[_Cue]:
    """Cues, each up to a blank line."""
    block: list[tuple[int, str]] = []
    for number, line in enumerate([*lines, ""], 1):
        if line != "":
            block.append((number, line))
            continue
        if block and not (block[0][1].split() or [""])[0].startswith(_NO_CUE):
            at = next((n for n, (_, each) in enumerate(block[:2]) if _ARROW in each), None)
            if at is not None:
                texts = [each.strip() for _, each in block[at + 1 :] if each.strip()]
                yield _cue(block[at][1], block[at][0], texts)
        block = []


def _cue(times: str, line: int, texts: list[str]) -> _Cue:
    found = _TIMES.fullmatch(times)
    if found is None:
        return _Cue(0, 0, texts, f"line {line}: `{times.strip():.60}` is no time of a cue")
    start, end = _seconds(*found.groups()[:4]), _seconds(*found.groups()[4:])
    wrong = f"line {line}: a cue ends at {end:g} s, before it begins at {start:g} s"
    return _Cue(start, end, texts, wrong if end < start else None)


def _once(blocks: Sequence[_Cue]) -> Iterator[_Cue]:
    """The same without lines that the cue before has shown."""
    shown: list[str] = []
    for block in blocks:
        plain = [_plain(line) for line in block.lines]
        lines = [line for line, text in zip(block.lines, plain, strict=True) if text not in shown]
        if lines:
            yield replace(block, lines=lines)
        shown = plain or shown


def _seconds(hours: str | None, minutes: str, seconds: str, rest: str) -> float:
    whole = int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)
    return (1000 * whole + int(rest.ljust(3, "0"))) / 1000


def _plain(text: str) -> str:
    """Text without tags, entities as what they stand for."""
    bare = _TAG.sub("", _WITHIN.sub("", text))
    return " ".join(html.unescape(bare).replace("\u200b", "").split())
