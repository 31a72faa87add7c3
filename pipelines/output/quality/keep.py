"""`--keep`: which recordings become rows, by a condition on what is known of them before they are
encoded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipelines.output.formats.schema import ARROW_SCHEMA, quality_fields
from pipelines.output.where import Where
from tokenizer.audio.quality import measure_names
from tokenizer.errors import FailureKind, RecordingError, UsageError

_FLAG = "--keep"
# fmt: off
_CHANGING = frozenset({
    "current_date", "current_time", "current_timestamp", "get_current_time",
    "get_current_timestamp", "localtime", "localtimestamp", "now", "today",
    "transaction_timestamp", "age", "random", "setseed", "uuid", "uuidv4", "uuidv7",
    "gen_random_uuid", "nextval", "currval", "current_connection_id", "current_query_id",
    "current_transaction_id", "txid_current", "current_setting", "getvariable", "sample",
    "tablesample", "sleep_ms", "write_log", "getenv",
})
# fmt: on
"""words of SQL whose value is another one at the next try: a shard that is made again must be the
same shard"""
_LONGEST = 60
"""characters of a value in a message"""


class Keep:
    """One condition. It is asked of a recording once it was read, with the columns of its row and
    `seconds`, but for the codes'."""

    def __init__(self, expression: str, measures: Sequence[str]) -> None:
        """`measures`: the quality columns that there are.

        Raises:
            UsageError: not a condition on a row, or it names a column that is not there.
        """
        self.expression = expression
        _refuse_changing(expression)
        schema = _schema(measures)
        try:
            self._where = Where(expression, schema, _FLAG)
        except UsageError as error:
            raise _not_measured(expression, measures) or error from error
        if self._where.holds([]):
            raise UsageError(
                f"{_FLAG} {expression!r}: says something of all rows together, and is asked of one "
                "recording at a time: leave out what sums up"
            )
        words = {word.lower() for word in re.findall(r"[A-Za-z_]\w*", expression)}
        self._named = [name for name in schema.names if name.lower() in words]

    def require(self, values: Mapping[str, Any]) -> None:
        """See that a recording is kept.

        Args:
            values: of the columns, by name; `source_uri` among them.

        Raises:
            RecordingError: it is not (FILTERED); the message has the values that decided.
            UsageError: the condition cannot be answered for these values.
        """
        if self._where.holds([values])[0]:
            return
        found = ", ".join(f"{name} {_said(values.get(name))}" for name in self._named)
        message = f"{values['source_uri']}: {found or 'nothing'} ({_FLAG} {self.expression!r})"
        raise RecordingError(FailureKind.FILTERED, message, "keep")


def _refuse_changing(expression: str) -> None:
    outside_of_strings = re.sub(r"'(?:[^']|'')*'", "", expression)
    for word in re.findall(r"[A-Za-z_]\w*", outside_of_strings):
        if word.lower() in _CHANGING:
            raise UsageError(
                f"{_FLAG} {expression!r}: {word} is another value at the next try: leave it out"
            )


def _schema(measures: Sequence[str]) -> pa.Schema:
    """The scalar columns of a row."""
    scalars = [field for field in ARROW_SCHEMA if not pa.types.is_nested(field.type)]
    nullable = [field.with_nullable(True) for field in scalars]
    return pa.schema([*nullable, pa.field("seconds", pa.float64()), *quality_fields(measures)])


def _not_measured(expression: str, measures: Sequence[str]) -> UsageError | None:
    """What to say where the condition would do with more measures; None where it would not."""
    known = measure_names()
    try:
        Where(expression, _schema(known), _FLAG)
    except UsageError:
        return None
    off = [name for name in known if name not in measures]
    needed = [name for name in off if not _does_without(expression, name)]
    return UsageError(
        f"{_FLAG} {expression!r}: {' and '.join(needed)} would not be measured: give --quality "
        f"{','.join([*measures, *needed])}"
    )


def _does_without(expression: str, name: str) -> bool:
    try:
        Where(expression, _schema([one for one in measure_names() if one != name]), _FLAG)
    except UsageError:
        return False
    return True


def _said(value: Any) -> str:
    if value is None:
        return "unknown"
    text = f"{value:g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
