"""Text and metadata beside a recording: `x.txt`, `x.json`, `x.TextGrid` and subtitles beside
`x.wav`."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import Any
from unicodedata import normalize

from pipelines.corpus.tables.alignment import ERROR
from pipelines.corpus.tables.captions.subtitles import (
    is_whisper_cpp,
    read_srt,
    read_vtt,
    read_whisper_cpp,
)
from pipelines.corpus.tables.lines import marked_encoding
from pipelines.corpus.tables.values import FIELDS, SIDECAR_ERROR, Fields, take_fields
from pipelines.corpus.tables.word_files import textgrid_tiers
from tokenizer.errors import RecordingError

READ_AS = ("srt", "vtt", "txt", "json", "cls", "textgrid")
"""endings of sidecars, without the dot; of what several say the last counts"""
_SUBTITLES = ("srt", "vtt")
_TAGGED = re.compile(r"(.+)\.([A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*)")
"""`x.en`, `x.pt-BR`"""


def read_sidecars(
    names: dict[str, Callable[[], bytes]], encoding: str | None = None
) -> tuple[Fields, dict[str, Any]]:
    """Fields and metadata from sidecars.

    Args:
        names: for each ending that is there, how to read it.
        encoding: of those that are plain text; None is UTF-8.

    Returns:
        The recording's fields (text, language, speaker) and its meta. A sidecar that cannot be
        read, or a field in it that is no string, is named in `meta["sidecar_error"]`: it never
        stops a run and is never ignored in silence.
    """
    values: dict[str, Any] = {}
    errors = []
    for ending in READ_AS:
        if ending not in names:
            continue
        try:
            found = _parse(ending, names[ending](), encoding)
        except RecursionError:
            errors.append(f".{ending}: nested too deeply")
            continue
        except (OSError, ValueError, RecordingError) as error:
            errors.append(f".{ending}: {str(error).splitlines()[0]}")
            continue
        for name in [name for name in FIELDS if name in found]:
            try:
                take_fields({name: found[name]})
            except ValueError as error:
                errors.append(f".{ending}: {error}")
                del found[name]
        values.update(found)
    fields, meta = take_fields(values)
    if errors:
        meta[SIDECAR_ERROR] = "; ".join(errors)
    return fields, meta


def gathered(names: Iterable[str], audio: Iterable[str]) -> dict[str, list[str]]:
    """Sidecars by the audio's name without its ending: `x.txt`, and of `x.mp3` also `x.mp3.srt`, as
    whisper.cpp calls it, `x.en.vtt`, as yt-dlp does, and one in another Unicode form, as copies
    from a Mac leave it, if it is the only one of its kind."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    files = {*audio}
    stems = {_stem(name) for name in files}
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for stem in stems:
        alike[normalize("NFC", stem)].append(stem)
    other: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for name in names:
        stem, ending = _stem(name), _ending(name)
        tagged = _TAGGED.fullmatch(stem) if ending in _SUBTITLES else None
        if stem in stems:
            found[stem].append(name)
        elif stem in files:
            other[_stem(stem), ending].append(name)
        elif tagged is not None and tagged[1] in stems:
            other[tagged[1], ending].append(name)
        elif len(same := alike[normalize("NFC", stem)]) == 1:
            other[same[0], ending].append(name)
        else:
            found[stem].append(name)
    for (stem, ending), given in other.items():
        is_one = len(given) == 1 and ending not in map(_ending, found[stem])
        for name in given:
            found[stem if is_one else _stem(name)].append(name)
    return found


def apart(sidecars: Iterable[str], audio: Iterable[str]) -> dict[str, str]:
    """TextGrids that lie in a folder of their own, as aligners write them, by the audio that each
    is about: the only one with its name, and with its folder's too where names repeat."""
    grids = [name for name in sidecars if name.lower().endswith(".textgrid")]
    if not grids:
        return {}
    audio = list(audio)
    beside = {PurePosixPath(name).with_suffix("") for name in audio}
    left = [name for name in grids if PurePosixPath(name).with_suffix("") not in beside]
    found: dict[str, str] = {}
    for parts in (2, 1):
        theirs = _by_tail(audio, parts)
        for tail, names in _by_tail(left, parts).items():
            if len(names) == 1 and len(theirs.get(tail, ())) == 1:
                found.setdefault(theirs[tail][0], names[0])
        left = [name for name in left if name not in found.values()]
    return found


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _ending(name: str) -> str:
    return PurePosixPath(name).suffix.lower().lstrip(".")


def _by_tail(names: Iterable[str], parts: int) -> dict[tuple[str, ...], list[str]]:
    """Names by their last parts, without the ending."""
    found: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in names:
        path = PurePosixPath(name).with_suffix("").parts
        if len(path) >= parts:
            found[path[-parts:]].append(name)
    return found


def _parse(ending: str, content: bytes, encoding: str | None) -> dict[str, Any]:
    known = marked_encoding(content) or (None if ending == "json" else encoding)
    text = content.decode(known or "utf-8-sig")
    if ending == "txt":
        return {"text": text.strip()}
    if ending == "cls":
        return {"cls": text.strip()}
    if ending == "textgrid":
        return _tiers(text)
    if ending in _SUBTITLES:
        return _named(ending, read_srt(text) if ending == "srt" else read_vtt(text))
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError(f"a JSON object is expected, not {type(values).__name__}")
    return _named(ending, read_whisper_cpp(values)) if is_whisper_cpp(values) else values


def _named(ending: str, values: dict[str, Any]) -> dict[str, Any]:
    """The same, with the file that words could not be read of."""
    return values | {ERROR: f".{ending}: {values[ERROR]}"} if ERROR in values else values


def _tiers(text: str) -> dict[str, Any]:
    """Words, phones and what else a TextGrid has; words that cannot be read cost themselves."""
    try:
        return {"tiers": textgrid_tiers(text)}
    except ValueError as error:
        return {ERROR: f".TextGrid: {error}"}
