"""The short way for rows of a table that hold nothing unusual: what their columns are is found out
once for all rows that have the same ones.

Strings, finite numbers and nothing are usual; so is a whole file with or without a length.
Everything else (segments, words with times, lists, halves of surrogate pairs, NaN …) is left to the
long way, which comes to the same for usual rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipelines.corpus.tables.alignment import RELATED
from pipelines.corpus.tables.columns import (
    LANGUAGE_COLUMNS,
    PATH_COLUMNS,
    SPEAKER_COLUMNS,
    TEXT_COLUMNS,
    pick,
)
from pipelines.corpus.tables.spans import MILLISECONDS, OWN_SPANS, present
from pipelines.corpus.tables.values import clean
from pipelines.corpus.tables.word_files import CTM_COLUMNS

_MOST_SHAPES = 1_000
_OF_FIELDS = {"text": TEXT_COLUMNS, "language": LANGUAGE_COLUMNS, "speaker": SPEAKER_COLUMNS}
_EXACT = 1 << 53
"""integers below are floats too"""


class PlainRow(NamedTuple):
    """What a row says."""

    path: str
    id: str
    seconds: float | None
    text: str | None
    language: str | None
    speaker: str | None
    meta: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Shape:
    """Which columns are what."""

    path: str
    length: str | None
    factor: float
    text: str | None
    language: str | None
    speaker: str | None
    has_id: bool
    meta: tuple[str, ...]


class _Unusual(Exception):
    """A value that the long way reads."""


class PlainRows:
    """Reads the usual rows of one table, for which the user named no columns."""

    def __init__(self) -> None:
        self._shapes: dict[tuple[str, ...], _Shape | None] = {}

    def read(self, row: Mapping[str, Any]) -> PlainRow | None:
        """What a row says; None where something in it is unusual."""
        names = tuple(row)
        try:
            shape = self._shapes[names]
        except KeyError:
            shape = _shape(names)
            if len(self._shapes) < _MOST_SHAPES:
                self._shapes[names] = shape
        if shape is None:
            return None
        try:
            return _read(row, shape)
        except _Unusual:
            return None


def _shape(names: tuple[str, ...]) -> _Shape | None:
    """What columns are for; None where some of them ask for the long way."""
    path, spans = pick(names, PATH_COLUMNS), present(names)
    if path is None or any(clean(name) != name for name in names):
        return None
    if not RELATED.isdisjoint(names) or not {*CTM_COLUMNS}.isdisjoint(names):
        return None
    if any(spans[field] for field in spans if field != "duration") or len(spans["duration"]) > 1:
        return None
    length = next(iter(spans["duration"]), None)
    fields = {field: pick(names, usual) for field, usual in _OF_FIELDS.items()}
    gone = {*fields.values(), *fields, "id", *OWN_SPANS, path, length}
    return _Shape(
        path=path,
        length=length,
        factor=1000.0 if length and length.endswith(MILLISECONDS) else 1.0,
        has_id="id" in names,
        meta=tuple(name for name in names if name not in gone),
        **fields,
    )


def _read(row: Mapping[str, Any], shape: _Shape) -> PlainRow:
    path = _string(row[shape.path])
    if not path:
        raise _Unusual
    meta = {}
    for name in shape.meta:
        value = row[name]
        kind = type(value)
        if kind is str:
            if not value.isascii() and clean(value) != value:
                raise _Unusual
        elif value is None:
            continue
        elif kind is float:
            if not math.isfinite(value):
                raise _Unusual
        elif kind is not int and kind is not bool:
            raise _Unusual
        meta[name] = value
    text = _stripped(row, shape.text)
    return PlainRow(
        path,
        (_string(row["id"]) if shape.has_id else None) or path,
        None if shape.length is None else _seconds(row[shape.length], shape.factor),
        text,
        _stripped(row, shape.language),
        _stripped(row, shape.speaker),
        meta,
    )


def _stripped(row: Mapping[str, Any], column: str | None) -> str | None:
    text = None if column is None else _string(row[column])
    return None if text is None else text.strip()


def _string(value: Any) -> str | None:
    if type(value) is str:
        if value.isascii() or clean(value) == value:
            return value
    elif value is None:
        return None
    raise _Unusual


def _seconds(value: Any, factor: float) -> float | None:
    kind = type(value)
    if kind is str:
        try:
            value = float(value)
        except ValueError as error:
            raise _Unusual from error
    elif value is None:
        return None
    elif kind is not float and (kind is not int or value >= _EXACT):
        raise _Unusual
    if not 0 <= value < math.inf:
        raise _Unusual
    return float(value) / factor
