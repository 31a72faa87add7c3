"""Columns of data sets: which is the audio, which the id, which the transcript."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipelines.sources.base import take_fields

AUDIO_COLUMNS = ("audio", "wav", "flac", "mp3", "sound", "speech", "file")
TEXT_COLUMNS = ("text", "transcription", "transcript", "sentence", "normalized_text", "raw_text", "caption")
SPEAKER_COLUMNS = ("speaker", "speaker_id", "client_id")
LANGUAGE_COLUMNS = ("language", "lang", "locale")
ID_COLUMNS = ("id", "audio_id", "utt_id", "utterance_id", "segment_id", "__key__")
SECONDS_COLUMNS = ("duration", "duration_s", "audio_length", "seconds")
UNKNOWN_SECONDS = 10.0
"""assumed length where no column tells"""


def pick(names: Iterable[str], wanted: tuple[str, ...]) -> str | None:
    """The first of `wanted` that is among `names`."""
    there = set(names)
    return next((name for name in wanted if name in there), None)


def describe_row(row: Mapping[str, Any], fallback_id: str) -> dict[str, Any]:
    """A row without its audio, as the arguments of a `Recording` (all but where it lies)."""
    columns = {
        "id": pick(row, ID_COLUMNS),
        "text": pick(row, TEXT_COLUMNS),
        "speaker": pick(row, SPEAKER_COLUMNS),
        "language": pick(row, LANGUAGE_COLUMNS),
        "seconds": pick(row, SECONDS_COLUMNS),
    }
    used = set(columns.values())
    values = {name: value for name, value in row.items() if name not in used}
    for field in ("text", "speaker", "language"):
        values[field] = row.get(columns[field] or "")
    fields, meta = take_fields(values)
    identity = row.get(columns["id"] or "")
    seconds = row.get(columns["seconds"] or "")
    return {
        "id": fallback_id if identity in (None, "") else str(identity),
        "seconds": float(seconds) if isinstance(seconds, int | float) and seconds > 0 else UNKNOWN_SECONDS,
        "meta": meta,
        **fields,
    }
