"""Where in a file a row of a table is: start, end and length under the names that tables have for
them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

SPAN_COLUMNS: dict[str, tuple[str, ...]] = {
    "start": (
        *("start", "start_time", "begin_time", "begin", "start_s", "start_sec"),
        *("segment_start", "time_start", "start_timestamp"),
    ),
    "offset": ("offset",),
    "end": (
        *("end", "end_time", "stop", "stop_time", "end_s", "end_sec"),
        *("segment_end", "time_end", "end_timestamp"),
    ),
    "duration": ("duration", "duration_s", "duration_sec", "dur", "audio_duration"),
}
"""names for seconds, best first; with `_ms` behind them they are milliseconds"""
OWN_SPANS = ("start", "end", "offset", "duration")
"""names that say what they are: a value in them that is no time is an error"""
MILLISECONDS = "_ms"
_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{2}(?:[.,]\d+)?)")
"""`1:02:03.5`, `02:03.5`, and with a comma, as subtitles have it"""


@dataclass(frozen=True, slots=True)
class Span:
    """A row's place in its file, in seconds."""

    start: float | None
    end: float | None
    seconds: float | None
    """length, None if it is not known"""
    used: tuple[str, ...]
    """columns that say so"""

    @property
    def suffix(self) -> str:
        """What tells it from other parts of its file in an id; empty for a whole file."""
        if self.start is None and self.end is None:
            return ""
        return f"#{self.start or 0:.12g}-{'' if self.end is None else f'{self.end:.12g}'}"


def read_span(row: Mapping[str, Any], columns: Mapping[str, str] | None = None) -> Span:
    """A row's span. `offset` is NeMo's word for start; a length beside a start is where to end.

    Args:
        columns: names that the user gave, by `start`, `end`, `duration`.

    Raises:
        ValueError: a value that is no time, an end that is not after its start, two starts.
    """
    found: dict[str, float | None] = {}
    used: list[str] = []
    for field in SPAN_COLUMNS:
        found[field], name = _find(row, field, (columns or {}).get(field))
        used += [name] if name else []
    start, end, length = found["start"], found["end"], found["duration"]
    if columns and "start" in columns:
        found["offset"] = None
    if start is not None and found["offset"] is not None and start != found["offset"]:
        raise ValueError(
            f"`start` is {start:g} and `offset` is {found['offset']:g}: which is meant?"
        )
    start = found["offset"] if start is None else start
    if start is not None and end is None and length is not None:
        end = start + length
    if end is not None and end <= (start or 0.0):
        raise ValueError(f"a segment of no length: end {end:g} is not after start {start or 0.0:g}")
    return Span(start, end, end - (start or 0.0) if end is not None else length, tuple(used))


def _find(row: Mapping[str, Any], field: str, given: str | None) -> tuple[float | None, str]:
    """Seconds, and the column they are in. A column of a looser name (`start_time`) whose value is
    no number is another thing, such as a date, and is passed over."""
    if given is not None:
        return _scaled(row, given), given
    for name in present(tuple(row))[field]:
        if name in OWN_SPANS or _is_number(row[name]):
            seconds = _scaled(row, name)
            if seconds is not None or name in OWN_SPANS:
                return seconds, name
    return None, ""


@lru_cache(maxsize=1024)
def present(columns: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """By field, its names among a row's columns, best first. Rows of a table have the same ones."""
    there = set(columns)
    return {
        field: tuple(
            name for name in (*names, *(f"{each}{MILLISECONDS}" for each in names)) if name in there
        )
        for field, names in SPAN_COLUMNS.items()
    }


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or value is None:
        return False
    if isinstance(value, str) and _CLOCK.fullmatch(value.strip()):
        return True
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def to_seconds(value: Any, name: str) -> float:
    """A time that must be there.

    Raises:
        ValueError: it is none; the message calls it by its name.
    """
    seconds = _scaled({name: value}, name)
    if seconds is None:
        raise ValueError(f"no `{name}`")
    return seconds


def _scaled(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        raise ValueError(f"`{name}` is {value!r}, seconds are expected")
    clock = _CLOCK.fullmatch(value.strip()) if isinstance(value, str) and ":" in value else None
    if clock is not None:
        hours, minutes, seconds = clock.groups()
        return int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds.replace(",", "."))
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"`{name}` is {value!r}, seconds are expected") from error
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"`{name}` is {value!r}, seconds from 0 are expected")
    return seconds / 1000 if name.endswith(MILLISECONDS) else seconds
