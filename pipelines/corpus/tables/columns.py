"""Columns of data sets: which is the audio, which the id, which the transcript."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

from pipelines.corpus.tables.spans import MILLISECONDS, SPAN_COLUMNS
from pipelines.corpus.tables.values import clean, take_fields

AUDIO_COLUMNS = ("audio", "wav", "flac", "mp3", "sound", "speech", "file")
PATH_COLUMNS = (
    *(
        "path",
        "audio_filepath",
        "file_name",
        "audio_path",
        "audio_file",
        "wav_path",
        "filepath",
        "file_path",
        "filename",
        "audio_filename",
        "wav_filename",
        "wav_file",
    ),
    *("audio", "file", "wav"),
)
"""of manifests, best first"""
TEXT_COLUMNS = (
    "text",
    "transcription",
    "transcript",
    "sentence",
    "normalized_text",
    "normalized_transcription",
    "raw_text",
    "caption",
)
SPEAKER_COLUMNS = ("speaker", "speaker_id", "client_id", "spk_id", "spk", "speaker_name")
LANGUAGE_COLUMNS = ("language", "lang", "locale", "language_id", "lang_id", "language_code")
ID_COLUMNS = ("id", "segment_id", "utt_id", "utterance_id", "audio_id", "__key__")
"""the narrowest first: `audio_id` may be an episode of many segments"""
SECONDS_COLUMNS = ("duration", "duration_s", "audio_length", "seconds")
_TIMES = frozenset(name for names in SPAN_COLUMNS.values() for name in names)
_USUAL = frozenset((*PATH_COLUMNS, *TEXT_COLUMNS, *SPEAKER_COLUMNS, *LANGUAGE_COLUMNS, *_TIMES)) | {
    f"{name}{MILLISECONDS}" for name in _TIMES
}
_LOOKS_LIKE = {
    "start": re.compile(r"(?i)(^|_)(start|begin|onset|offset|from)(_|$)"),
    "end": re.compile(r"(?i)(^|_)(end|stop|until)(_|$)"),
    "duration": re.compile(r"(?i)(^|_)(dur|duration|length|seconds|(n|num)_(frames|samples))(_|$)"),
    "text": re.compile(
        r"(?i)(^|_)(text|transcripts?|transcription|sentence|utterance|caption|lyrics|words)(_|$)"
    ),
}
"""names of columns that may be a field"""
_UNIT = re.compile(
    r"_(?:in_)?(?P<unit>ms|msecs?|millis|millisecs?|milliseconds?|s|secs?|seconds?)$"
)
_SPLIT = re.compile(r"(train|dev|test|val|valid|validation|eval)([-_.].*)?", re.IGNORECASE)
"""names of files or folders that are called like parts of a data set"""
_OF_SHARDS = re.compile(r"-\d{5}-of-\d{5}(-[0-9a-f]+)?$")
_NUMBERS = re.compile(r"([-_.]?\d+)+$")
"""of one shard among others"""
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NO_UNIT = re.compile(r"(?i)(^|_)(samples?|frames?|us|ns|bytes|ticks|tokens|characters)(_|$)")
"""in the name of a time that cannot be seconds"""


def pick(names: Iterable[str], wanted: tuple[str, ...]) -> str | None:
    """The first of `wanted` that is among `names`."""
    return _first_there(tuple(names), wanted)


@lru_cache(maxsize=1024)
def _first_there(names: tuple[str, ...], wanted: tuple[str, ...]) -> str | None:
    """Rows of a table have the same names."""
    there = set(names)
    return next((name for name in wanted if name in there), None)


def usual_names(names: Iterable[str], mapped: Iterable[str] = ()) -> dict[str, str]:
    """Columns whose names mean a usual one, written otherwise → that one: `Path`, `Speaker ID`,
    `startMs`, `Duration (s)`. A name that is there as it is, or that the user gave, stays."""
    names = list(names)
    taken, usual = {*names, *mapped}, {}
    for name in names:
        meant = _usual_name(name)
        if meant is not None and meant != name and meant not in taken and name not in mapped:
            usual[name] = meant
            taken.add(meant)
    return usual


@cache
def _usual_name(name: str) -> str | None:
    name = re.sub(r"[^0-9a-zA-Z]+", "_", _HUMP.sub("_", name)).strip("_").lower()
    if name in _USUAL:
        return name
    unit = _UNIT.search(name)
    base = name[: unit.start()] if unit else ""
    if unit and base in _TIMES:
        return f"{base}{MILLISECONDS}" if unit["unit"].startswith("m") else base
    return None


@lru_cache(maxsize=1024)
def _written_otherwise(names: tuple[str, ...]) -> dict[str, str]:
    """Columns for text, speaker and language that are not called as usual → how they would be, for
    those of the three that no usual column is there for."""
    usual = usual_names(names)
    found: dict[str, str] = {}
    for wanted in (TEXT_COLUMNS, SPEAKER_COLUMNS, LANGUAGE_COLUMNS):
        best = None if pick(names, wanted) else pick(usual.values(), wanted)
        found |= {name: meant for name, meant in usual.items() if meant == best}
    return found


def pick_fields(
    row: Mapping[str, Any], used: Iterable[str] = (), given: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A row with its columns for text, speaker and language called so, and without those that are
    used otherwise.

    Args:
        given: columns that the user named, by field; they come before the usual ones.
    """
    usual = {"text": TEXT_COLUMNS, "speaker": SPEAKER_COLUMNS, "language": LANGUAGE_COLUMNS}
    columns = {
        field: pick(row, (given[field],) if given and field in given else names)
        for field, names in usual.items()
    }
    gone = {*columns.values(), *used}
    values = {name: value for name, value in row.items() if name not in gone}
    return values | {field: row[column] for field, column in columns.items() if column is not None}


class UnusedColumns:
    """Columns that are called like times or transcripts, and went into meta."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}
        self._known: set[str] = set()

    def add(self, values: Mapping[str, Any]) -> None:
        """Look at what is left of a row when its fields are taken."""
        for name in values.keys() - self._known:
            self._known.add(name)
            if name not in ("text", "speaker", "language"):
                field = next((f for f, like in _LOOKS_LIKE.items() if like.search(name)), None)
                if field:
                    self._seen[name] = field

    def notes(self) -> Iterator[str]:
        """A line for each."""
        for name, field in sorted(self._seen.items()):
            said = f"not used: column `{name}` (kept in meta); "
            if field != "text" and _NO_UNIT.search(name):
                yield f"{said}times are read in seconds, or in milliseconds under a name with `_ms`"
            else:
                yield f"{said}if it is the recording's {field}, --map {field}={name}"


class UniqueColumn:
    """Finds the column that names rows: the first of `ID_COLUMNS` whose values are all there and
    all different."""

    def __init__(self, names: Iterable[str]) -> None:
        there = set(names)
        self._seen: dict[str, set[int]] = {name: set() for name in ID_COLUMNS if name in there}
        self._repeats: dict[str, int] = dict.fromkeys(self._seen, 0)
        self.columns = tuple(self._seen)

    def add(self, column: str, value: Any) -> None:
        """Count a row's value."""
        missing = value in (None, "") or (isinstance(value, float) and math.isnan(value))
        key = hash(None if missing else clean(str(value)))
        self._repeats[column] += missing or key in self._seen[column]
        self._seen[column].add(key)

    def choose(self) -> tuple[str | None, str]:
        """The column, None when none will do; and a note, empty when the first did."""
        best = next((name for name in self.columns if not self._repeats[name]), None)
        passed = [
            name
            for name in self.columns[: self.columns.index(best) if best else None]
            if self._repeats[name]
        ]
        if not passed:
            return best, ""
        instead = f"`{best}` is" if best else "row numbers are"
        return (
            best,
            f"not used as id, because values repeat or are missing: {', '.join(passed)} (kept in "
            f"meta; {instead} used)",
        )


def splits_of_files(names: Iterable[str]) -> dict[str, str]:
    """The split that each file of a data set is of, by its name or its folder's, as the Hub and
    WebDataset have them; empty where not two are told: `train_ann` and `train_bob` are one."""
    found, kinds = dict[str, str](), set[str]()
    for name in names:
        *folders, last = name.split("/")
        stem, of_hub = _OF_SHARDS.subn("", last.rpartition(".")[0])
        stem = stem if of_hub else _NUMBERS.sub("", stem)
        parts = map(_SPLIT.fullmatch, [stem, *folders[::-1]])
        split = next((part for part in parts if part is not None), None)
        if split is not None:
            found[name] = split[0]
            kinds.add(split[1].lower())
    return found if len(kinds) > 1 else {}


def describe_row(
    row: Mapping[str, Any], fallback_id: str, id_column: str | None, split: str | None = None
) -> dict[str, Any]:
    """A row without its audio, as the arguments of a `Recording` (all but where it lies). A column
    `split` counts before the one that is given.

    Raises:
        ValueError: a transcript, speaker or language that is no string.
    """
    if otherwise := _written_otherwise(tuple(row)):
        # `Speaker` of several fields, or `Text` as a list, is something else: it stays as it is.
        row = {
            name if isinstance(value, list | dict) else otherwise.get(name, name): value
            for name, value in row.items()
        }
    seconds_column = pick(row, SECONDS_COLUMNS)
    fields, meta = take_fields(
        pick_fields(row, [name for name in (id_column, seconds_column) if name])
    )
    seconds = row.get(seconds_column or "")
    known = isinstance(seconds, int | float) and math.isfinite(seconds) and seconds > 0
    return {
        "id": fallback_id if id_column is None else clean(str(row[id_column])),
        "seconds": float(seconds or 0) if known else None,
        "meta": meta if split is None else {"split": split, **meta},
        **fields,
    }
