"""What a table of corrections says: which rows it is about, what it sets in them, and what cannot
be set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipelines.output.formats.lost import LOST_CODES
from pipelines.output.formats.schema import ARROW_SCHEMA, Row, encode_meta
from pipelines.output.manifest.records import EDITABLE
from pipelines.reshaping.parents import Item, Parent
from pipelines.reshaping.splitting import META
from tokenizer.errors import UsageError

SETTABLE = EDITABLE
OURS = frozenset({"start", "end", "channel", "channels", "recording", "flags", "gaps", LOST_CODES})
"""keys of `meta` that say what the codes are of"""


def require_key(parent: Parent, on: str) -> None:
    if not on.startswith(META) and on not in parent.columns.names:
        raise UsageError(
            f"--on {on}: there is no such column; there are {', '.join(parent.columns.names)} and "
            f"{META}KEY"
        )


def read_row(
    row: Mapping[str, Any], on: str, place: str, parent: Parent
) -> tuple[str, dict[str, Any]]:
    """The key of a table's row, and what it sets.

    Raises:
        UsageError: it has no key, or a column that cannot be set.
    """
    key = row.get(on)
    if key is None or key == "":
        raise UsageError(f"{place}: there is no {on}")
    said = {name: value for name, value in row.items() if name != on}
    for name, value in said.items():
        _require_settable(name, place, parent)
        if name in SETTABLE and not (value is None or isinstance(value, str)):
            raise UsageError(f"{place}: {name}: {value!r} is no text")
        if name.startswith(META):
            _require_json(value, name, place)
    return str(key), said


def _require_settable(name: str, place: str, parent: Parent) -> None:
    if name in SETTABLE:
        return
    key = name.removeprefix(META)
    if name.startswith(META) and key and key not in OURS:
        return
    if name in ARROW_SCHEMA.names or name in parent.columns.names or key in OURS:
        raise UsageError(
            f"{place}: {name} cannot be set: it belongs to the codes; {', '.join(SETTABLE)} and "
            f"{META}KEY can"
        )
    raise UsageError(
        f"{place}: there is no column {name}; {', '.join(SETTABLE)} and {META}{name} can be set"
    )


def _require_json(value: Any, name: str, place: str) -> None:
    try:
        encode_meta({name: value})
    except (TypeError, ValueError) as error:
        raise UsageError(f"{place}: {name}: {error}") from error


def key_of(item: Item, on: str) -> str | None:
    if on == "id":
        return item.recording.id
    if item.row is None:
        return None
    if on.startswith(META):
        value = json.loads(item.facts["meta"] or "{}").get(on.removeprefix(META))
    else:
        value = item.facts[on]
    return None if value is None else str(value)


def different(item: Item, said: Mapping[str, Any], place: str) -> Mapping[str, Any] | None:
    """What of it is not so already; a value of meta has the type of that which it replaces."""
    meta: dict[str, Any] = json.loads(item.facts["meta"] or "{}")
    found: dict[str, Any] = {}
    for name, value in said.items():
        if not name.startswith(META):
            if item.facts[name] != value:
                found[name] = value
            continue
        key = name.removeprefix(META)
        value = _as_before(value, meta.get(key), f"{place}: {name}")
        if value != meta.get(key) or type(value) is not type(meta.get(key)):
            found[name] = value
    return found or None


def _as_before(value: Any, before: Any, place: str) -> Any:
    """A cell of a CSV, which is text, as the number that it stands for.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(value, str) or before is None or isinstance(before, str):
        return value
    try:
        found = json.loads(value)
    except ValueError:
        found = None
    same = isinstance(found, bool) == isinstance(before, bool)
    if isinstance(before, int | float) and isinstance(found, int | float) and same:
        return found
    if type(found) is type(before):
        return found
    raise UsageError(f"{place}: {value!r} is no {_KINDS.get(type(before), 'such value')}")


_KINDS: dict[type, str] = {int: "number", float: "number", bool: "true or false", list: "list"}


def as_said(row: Row, said: Mapping[str, Any]) -> Row:
    """A row with what is another; a key of meta that is set to nothing goes."""
    own = {name: value for name, value in said.items() if name in SETTABLE}
    keys = {n.removeprefix(META): value for n, value in said.items() if n.startswith(META)}
    if not keys:
        return replace(row, **own)
    meta = {**row.meta, **keys}
    return replace(row, meta={k: v for k, v in meta.items() if keys.get(k, v) is not None}, **own)
