"""Text and metadata beside a recording: `x.txt` and `x.json` beside `x.wav`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pipelines.corpus.tables.alignment import ALIGNMENT, said, stored, take_alignment
from pipelines.corpus.tables.lines import marked_encoding
from pipelines.corpus.tables.values import FIELDS, Fields, take_fields
from tokenizer.errors import RecordingError

READ_AS = ("txt", "json", "cls")
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
    words, values = take_alignment(values)
    if words:
        values = {**said(words), **values, ALIGNMENT: stored(words)}
    fields, meta = take_fields(values)
    if errors:
        meta["sidecar_error"] = "; ".join(errors)
    return fields, meta


def _parse(ending: str, content: bytes, encoding: str | None) -> dict[str, Any]:
    known = marked_encoding(content) or (None if ending == "json" else encoding)
    text = content.decode(known or "utf-8-sig")
    if ending == "txt":
        return {"text": text.strip()}
    if ending == "cls":
        return {"cls": text.strip()}
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError(f"a JSON object is expected, not {type(values).__name__}")
    return values
