"""Conditions on rows, as people write them: `seconds > 1 and language = 'de'`, in SQL's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from tokenizer.errors import UsageError


class Where:
    """One condition over the columns of a schema, answered by DuckDB, in memory, on one thread. It
    reaches no file and no network."""

    def __init__(self, expression: str, schema: pa.Schema, flag: str = "--where") -> None:
        """`flag`: what it was given by, for what is said of it.

        Raises:
            UsageError: not a condition, or it names a column that is not there.
        """
        if not expression.strip():
            raise UsageError(f'{flag} {expression!r}: give a condition, as in "seconds > 1"')
        self.expression = expression
        self._schema, self._flag = schema, flag
        self._database = duckdb.connect(config={"threads": 1, "enable_external_access": False})
        self.holds([])

    def holds(self, rows: Sequence[Mapping[str, Any]]) -> list[bool]:
        """Whether it is true of each row; unknown, as of a value that is not there, is no.

        Raises:
            UsageError: it cannot be answered for these values.
        """
        table = pa.Table.from_pylist(list(rows), self._schema)
        self._database.register("rows", table)
        try:
            answers = self._database.execute(
                # A comment at its end ends with its line.
                f"select coalesce(cast(({self.expression}\n) as boolean), false) from rows"
            ).fetchall()
        except duckdb.Error as error:
            raise UsageError(f"{self._flag} {self.expression!r}: {self._reason(error)}") from error
        finally:
            self._database.unregister("rows")
        return [bool(answer) for (answer,) in answers]

    def _reason(self, error: duckdb.Error) -> str:
        if isinstance(error, duckdb.BinderException) and "not found in FROM clause" in str(error):
            missing = str(error).partition('"')[2].partition('"')[0]
            return f"there is no {missing}; there are {', '.join(self._schema.names)}"
        return str(error).splitlines()[0]

    def __reduce__(self) -> tuple[type[Where], tuple[str, pa.Schema, str]]:
        return type(self), (self.expression, self._schema, self._flag)
