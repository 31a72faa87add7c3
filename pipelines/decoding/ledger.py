"""What a folder of decoded recordings holds: `DIR/.decode/ledger.sqlite`.

A recording is done once it has a row there and its file has that size. Its digest is of the codes
that were decoded, so that a recording whose codes are others now is decoded again, and one whose
text alone is other is not.
"""

from __future__ import annotations

import csv
import fcntl
import os
import shutil
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pipelines.decoding.names import folded
from tokenizer.errors import OutputError

PLACE = ".decode"
TABLE, SCRIPT, FAILURES = "table.csv", "wav.scp", "failures.csv"
COLUMNS = (
    "id",
    "file",
    "seconds",
    "num_samples",
    "sample_rate",
    "split",
    "text",
    "language",
    "speaker",
)
_OWN = ("id", "file", "num_samples", "sample_rate", "split", "text", "language", "speaker")
_SORTED = ("shard", "number", "digest", "bytes", "run", "place")
_EVERY = 1.0
"""seconds between two commits: what was decoded since is decoded again after a SIGKILL"""


class Ledger:
    """The ledger of one folder, held by one run at a time."""

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        """
        Args:
            folder: of the recordings; it may hold nothing that is not of an earlier run.
            about: what must be the same for all that is in it.

        Raises:
            OutputError: there is something else, another run is at it, or it cannot be written.
        """
        self.folder = folder
        self.work = folder / PLACE
        with ExitStack() as held:  # let go of at once when it is refused
            try:
                self._open(about, held)
            except (OSError, sqlite3.Error) as error:
                raise OutputError(f"{folder} cannot be written: {error}") from error
            self._held = held.pop_all()

    def _open(self, about: Mapping[str, Any], held: ExitStack) -> None:
        if not self.work.is_dir() and _holds_something(self.folder):
            raise OutputError(
                f"{self.folder} holds something that `decode` has not written: choose another "
                "folder for --to"
            )
        self.work.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.work / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        held.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"{self.folder} is being written by another run") from error
        # Of this run alone: processes of one that was killed may live for a second or two, and can
        # finish nothing once their folder is gone.
        shutil.rmtree(self.work / "tmp", ignore_errors=True)
        self.temporary = self.work / "tmp" / uuid.uuid4().hex
        self.temporary.mkdir(parents=True)
        self._database = sqlite3.connect(self.work / "ledger.sqlite")
        held.callback(self._database.close)
        names = ", ".join((*_OWN[1:], *_SORTED))
        self._database.execute("create table if not exists about (name primary key, value)")
        self._database.execute(f"create table if not exists done (id text primary key, {names})")
        self._database.execute("create unique index if not exists places on done (place)")
        self._require(about)
        self._database.commit()
        (self.run,) = self._database.execute(
            "select coalesce(max(run), 0) + 1 from done"
        ).fetchone()
        self._committed = time.monotonic()

    def _require(self, about: Mapping[str, Any]) -> None:
        stored = dict(self._database.execute("select name, value from about"))
        for name, value in about.items():
            if stored.setdefault(name, str(value)) != str(value):
                raise OutputError(
                    f"{self.folder} holds recordings with {name} {stored[name]}, not {value}: "
                    "choose another folder for --to"
                )
        self._database.executemany("insert or replace into about values (?, ?)", stored.items())

    def is_done(self, id: str, file: str, digest: str) -> bool:
        """Whether a recording's file is there, of these codes; it gets this name where it has had
        another, as ids that came or went may change it."""
        found = self._database.execute(
            "select file, bytes from done where id = ? and digest = ?", (id, digest)
        ).fetchone()
        try:
            if found is None or (self.folder / found[0]).stat().st_size != found[1]:
                return False
            if found[0] != file:
                self.claim(id, file)
                (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / found[0]).replace(self.folder / file)
        except OSError:
            return False
        return True

    def claim(self, id: str, file: str) -> None:
        """Forget who had this file before, as it is about to be another's: an id that is gone."""
        gone = self._database.execute(
            "delete from done where place = ? and id <> ?", (folded(file), id)
        )
        if gone.rowcount:
            self._commit()

    def note(self, row: Mapping[str, Any]) -> None:
        """Note that a recording is done, or what is said of it now."""
        names = (*_OWN, *_SORTED)
        values = {**row, "run": self.run, "place": folded(row["file"])}
        marks = ", ".join("?" for _ in names)
        self._database.execute(
            f"insert or replace into done ({', '.join(names)}) values ({marks})",
            [values[name] for name in names],
        )
        if time.monotonic() - self._committed >= _EVERY:
            self._commit()

    def bytes_of(self, id: str) -> int:
        """Of a file that is done."""
        (found,) = self._database.execute("select bytes from done where id = ?", (id,)).fetchone()
        return int(found)

    def stale(self) -> int:
        """Recordings of earlier runs that this one has not come across."""
        (found,) = self._database.execute(
            "select count(*) from done where run < ?", (self.run,)
        ).fetchone()
        return int(found)

    def write_tables(self, *, only_this_run: bool, failures: Iterable[tuple[str, str]]) -> None:
        """Write the table, `wav.scp` and the failures; the same recordings give the same bytes."""
        self._commit()
        since = self.run if only_this_run else 0
        names = ", ".join(_OWN)
        rows = self._database.execute(
            f"select {names} from done where run >= ? order by shard, number, id", (since,)
        )
        self._write_csv(
            TABLE, COLUMNS, (self._line(dict(zip(_OWN, row, strict=True))) for row in rows)
        )
        self._write_script(since)
        failed = list(failures)
        if failed:
            self._write_csv(FAILURES, ("id", "message"), failed)
        else:
            (self.folder / FAILURES).unlink(missing_ok=True)

    @staticmethod
    def _line(row: dict[str, Any]) -> list[Any]:
        row["seconds"] = row["num_samples"] / row["sample_rate"]
        return [row[name] for name in COLUMNS]

    def _write_csv(self, name: str, head: Iterable[str], lines: Iterable[Iterable[Any]]) -> None:
        temporary = self.temporary / name
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(head)
            writer.writerows(lines)
        temporary.replace(self.folder / name)

    def _write_script(self, since: int) -> None:
        """Kaldi's list: sorted by bytes, and what it takes for the end of an id escaped."""
        self._database.create_function("utterance", 1, utterance, deterministic=True)
        rows: Iterator[tuple[str, str]] = self._database.execute(
            "select utterance(id) as one, file from done where run >= ? order by one", (since,)
        )
        temporary, root = self.temporary / SCRIPT, self.folder.resolve()
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.writelines(f"{one} {root}/{path}\n" for one, path in rows)
        temporary.replace(self.folder / SCRIPT)

    def close(self) -> None:
        """Let go of the folder."""
        self._commit()
        shutil.rmtree(self.work / "tmp", ignore_errors=True)
        self._held.close()

    def _commit(self) -> None:
        self._database.commit()
        self._committed = time.monotonic()


def _holds_something(folder: Path) -> bool:
    if not folder.is_dir():
        return os.path.lexists(folder)
    return any(folder.iterdir())


def utterance(id: str) -> str:
    """An id as Kaldi can read it: blanks and what cannot be printed as `%20` and so on, and `%`
    itself, so that two ids stay two."""
    if id.isprintable() and " " not in id and "%" not in id:
        return id
    return "".join(
        character
        if character.isprintable() and character not in " %" and not character.isspace()
        else "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
        for character in id
    )
