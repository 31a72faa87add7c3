"""Values of data sets, as a recording carries them: strings that every format can store, and
metadata that is strict JSON."""

from __future__ import annotations

import datetime
import decimal
import math
import pathlib
import re
import uuid
from collections.abc import Mapping
from typing import Any, TypedDict

from pipelines.corpus.tables.alignment import with_alignment

FIELDS = ("text", "language", "speaker")
DEEPEST = 50
"""levels of lists and objects that metadata may have"""
REPAIRED = "repaired"
"""key in `meta` that names the values which could not be kept as they were"""
SIDECAR_ERROR = "sidecar_error"
"""key in `meta`: why a file beside the audio is not in it"""
_SURROGATES = re.compile("[\ud800-\udfff]")
_AS_TEXT = (
    datetime.date,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    pathlib.PurePath,
    uuid.UUID,
)
_MISSING = object()


class Fields(TypedDict):
    """A recording's own fields, as arguments of `Recording`: the names in `FIELDS`."""

    text: str | None
    language: str | None
    speaker: str | None


def take_fields(values: Mapping[str, Any]) -> tuple[Fields, dict[str, Any]]:
    """Split loose values into a recording's own fields (as strings) and the rest, which goes to
    `meta`, words with their times as `meta["alignment"]`.

    Raises:
        ValueError: a field that is a list, an object, a boolean or bytes: it names the field.
    """
    repaired: list[str] = []
    values = with_alignment(values)
    own = {name: _text(name, values.get(name), repaired) for name in FIELDS}
    rest: dict[str, Any] = {}
    for key, value in values.items():
        if key in FIELDS or value is None:
            continue
        kept = _strict(value, 0, key := str(key), repaired)
        if kept is not _MISSING and not (kept is None and isinstance(value, float)):
            rest[_whole(key, key, repaired)] = kept
    if repaired:
        rest[REPAIRED] = list(dict.fromkeys(_SURROGATES.sub("\ufffd", name) for name in repaired))
    return Fields(text=own["text"], language=own["language"], speaker=own["speaker"]), rest


def plain(value: Any) -> Any:
    """A value as strict JSON can hold it; None where it cannot."""
    kept = _strict(value, 0, "", [])
    return None if kept is _MISSING else kept


def clean(text: str) -> str:
    """A string without halves of surrogate pairs, which UTF-8 cannot hold."""
    return _SURROGATES.sub("\ufffd", text)


def _text(name: str, value: Any, repaired: list[str]) -> str | None:
    value = value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, bool | list | tuple | Mapping | bytes) or hasattr(value, "__array__"):
        raise ValueError(f"`{name}` is a {type(value).__name__}, a string is expected")
    return _whole(str(value).strip(), name, repaired)


def _whole(text: str, name: str, repaired: list[str]) -> str:
    if _SURROGATES.search(text):
        repaired.append(name)
        return clean(text)
    return text


def _strict(value: Any, depth: int, name: str, repaired: list[str]) -> Any:
    """The value as JSON; `_MISSING` for bytes and objects, which are no metadata (a picture,
    another recording)."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return _whole(value, name, repaired)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return _strict(value.item(), depth, name, repaired)
    if isinstance(value, Mapping | list | tuple):
        if depth >= DEEPEST:
            repaired.append(name)
            return None
        if isinstance(value, Mapping):
            items = (
                (_whole(str(key), name, repaired), _strict(item, depth + 1, name, repaired))
                for key, item in value.items()
            )
            return {key: item for key, item in items if item is not _MISSING}
        kept = (_strict(item, depth + 1, name, repaired) for item in value)
        return [None if item is _MISSING else item for item in kept]
    if hasattr(value, "tolist"):  # an array of numbers
        return _strict(value.tolist(), depth, name, repaired)
    return str(value) if isinstance(value, _AS_TEXT) else _MISSING
