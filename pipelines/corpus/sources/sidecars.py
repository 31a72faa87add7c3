"""Text and metadata beside a recording: `x.txt`, `x.json` and `x.TextGrid` beside `x.wav`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import Any

from pipelines.corpus.tables.alignment import ERROR
from pipelines.corpus.tables.lines import marked_encoding
from pipelines.corpus.tables.values import FIELDS, SIDECAR_ERROR, Fields, take_fields
from pipelines.corpus.tables.word_files import textgrid_tiers
from tokenizer.errors import RecordingError

READ_AS = ("txt", "json", "cls", "textgrid")
"""endings of sidecars, without the dot"""


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
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError(f"a JSON object is expected, not {type(values).__name__}")
    return values


def _tiers(text: str) -> dict[str, Any]:
    """Words, phones and what else a TextGrid has; words that cannot be read cost themselves."""
    try:
        return {"tiers": textgrid_tiers(text)}
    except ValueError as error:
        return {ERROR: f".TextGrid: {error}"}
