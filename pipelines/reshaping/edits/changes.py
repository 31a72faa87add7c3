"""What an edit asks for, by the value that finds a row: in a table on disk, so that memory does not
go with its length."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import PurePosixPath
from tempfile import NamedTemporaryFile
from types import TracebackType
from typing import Any

from pipelines.corpus.tables.lines import BadLine, Rows
from pipelines.system.places import is_remote, local_path
from pipelines.system.remote import open_remote
from tokenizer.errors import SourceError, UsageError

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
_ESCAPED = {"\\t": "\t", "\\n": "\n", "\\r": "\r", "\\\\": "\\"}


class Changes(AbstractContextManager["Changes"]):
    """Values by key; which keys were found is kept beside them."""

    def __init__(self) -> None:
        self._file = NamedTemporaryFile(prefix="codecshards-changes-")  # noqa: SIM115
        self._database = sqlite3.connect(self._file.name, isolation_level=None)
        self._database.execute("pragma journal_mode = off")
        self._database.execute("pragma synchronous = off")
        self._database.execute("begin")
        self._database.execute(
            "create table changes (key text primary key, said text, place text, seen int)"
        )
        self._digest = hashlib.sha256()

    def add(self, key: str, said: Mapping[str, Any], place: str) -> None:
        """Take one; `place` is where it stands, for messages.

        Raises:
            UsageError: the key was there before, and something else was asked for.
        """
        text = json.dumps(dict(said), sort_keys=True)
        found = self._database.execute(
            "select said, place from changes where key = ?", (_stored(key),)
        ).fetchone()
        if found is not None:
            if found[0] != text:
                raise UsageError(f"{place}: {key!r} is there twice, and differs: {found[1]}")
            return
        self._digest.update(json.dumps([key, text]).encode())
        self._database.execute(
            "insert into changes values (?, ?, ?, 0)", (_stored(key), text, place)
        )

    def get(self, key: str) -> tuple[dict[str, Any], str] | None:
        """What is asked for, and where that stands; None where nothing is."""
        found = self._database.execute(
            "select said, place from changes where key = ?", (_stored(key),)
        ).fetchone()
        return None if found is None else (json.loads(found[0]), found[1])

    def has(self, key: str) -> bool:
        """Whether anything is asked for."""
        return (
            self._database.execute(
                "select 1 from changes where key = ?", (_stored(key),)
            ).fetchone()
            is not None
        )

    def see(self, key: str) -> None:
        """A row has this key."""
        self._database.execute("update changes set seen = 1 where key = ?", (_stored(key),))

    def unseen(self, most: int) -> tuple[int, list[str]]:
        """How many keys no row has, and some of them with where they stand."""
        (count,) = self._database.execute("select count(*) from changes where seen = 0").fetchone()
        some = self._database.execute(
            "select key, place from changes where seen = 0 order by rowid limit ?", (most,)
        ).fetchall()
        return count, [f"{key!r} ({place})" for key, place in some]

    def __len__(self) -> int:
        (count,) = self._database.execute("select count(*) from changes").fetchone()
        return int(count)

    @property
    def digest(self) -> str:
        """Of everything that was taken."""
        return self._digest.hexdigest()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._database.close()
        self._file.close()


def _stored(key: str) -> str:
    """SQLite takes no lone surrogates."""
    return key if key.isascii() else key.encode("utf-8", "backslashreplace").decode()


def read_ids(name: str) -> Iterator[tuple[str, str]]:
    """The ids in a file, a line each, and where each stands; `-` is standard input.

    Raises:
        UsageError: it cannot be read.
    """
    if name == "-":
        yield from _lines(sys.stdin.buffer, "standard input")
        return
    with _opened(name) as file:
        yield from _lines(file, name)


def unescaped(id: str) -> str:
    """An id as `codecshards ls --ids` writes it into a file, where it has a tab or a line end."""
    found, at = [], 0
    while at < len(id):
        pair = id[at : at + 2]
        found.append(_ESCAPED.get(pair, id[at]))
        at += 2 if pair in _ESCAPED else 1
    return "".join(found)


def read_table(name: str, key: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The rows of a table and where each stands: CSV, TSV, JSON lines or Parquet, by its ending. An
    empty cell of a CSV is None.

    Args:
        name: of the file.
        key: the column that it must have.

    Raises:
        UsageError: it cannot be read, or a row of it is none.
    """
    ending = PurePosixPath(name).suffix.lower()
    if ending not in (*_DELIMITERS, ".jsonl", ".ndjson", ".json", ".parquet"):
        raise UsageError(f"--set {name}: give a .csv, .tsv, .jsonl or .parquet")
    with _opened(name) as file:
        rows = Rows(name, path=key)
        if ending == ".parquet":
            found = rows.parquet(file)
        elif ending in _DELIMITERS:
            found = rows.delimited(file, _DELIMITERS[ending])
        else:
            found = rows.jsonl(file)
        try:
            for number, row in found:
                place = f"{name}, {rows.word} {number}"
                if isinstance(row, BadLine):
                    raise UsageError(f"{place}: {row}")
                if ending in _DELIMITERS:
                    row = dict.fromkeys(rows.header) | dict(row)
                yield row, place
        except SourceError as error:
            reason = str(error).split("; --map")[0]
            raise UsageError(f"--set {reason}") from error
        except (OSError, ValueError) as error:
            raise UsageError(f"--set {name}: cannot be read: {_first(error)}") from error


def _lines(file: Iterable[bytes], name: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(file, 1):
        try:
            id = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise UsageError(f"{name}, line {number}: not UTF-8") from error
        if id.strip():
            yield id, f"{name}, line {number}"


def _opened(name: str) -> Any:
    try:
        return open_remote(name) if is_remote(name) else open(local_path(name), "rb")  # noqa: PTH123
    except (OSError, ValueError) as error:
        raise UsageError(f"{name}: cannot be read: {_first(error)}") from error


def _first(error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(reason).splitlines()[0]
