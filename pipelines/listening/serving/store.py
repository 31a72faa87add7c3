"""Ratings as they come: a line each, on the disk before the rater is told so. Lines are only ever
added; of two of one screen the later counts."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.listening.folder import RATINGS, SERVED
from tokenizer.errors import OutputError


class Full(Exception):
    """A rater has sent more than a rater can."""


class Store:
    """`ratings/served.jsonl`, open for one server at a time.

    Raises:
        OutputError: it cannot be written, or another server has it.
    """

    def __init__(self, folder: Path, most_lines: int) -> None:
        self.path = folder / RATINGS / SERVED
        self._most_lines = most_lines
        self._lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab")
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror})") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise OutputError(f"{folder}: another `mushra serve` has it") from error
        self._counts: dict[str, int] = {}
        self.joined: set[str] = set()
        """raters to whom `--open` has given their token, or who have rated"""
        self._done: dict[str, dict[str, dict[str, Any]]] = {}
        for line in read_lines(self.path):
            self._remember(line)
        self._torn = not _ends_whole(self.path)

    def close(self) -> None:
        self._file.close()

    def add(self, line: Mapping[str, Any]) -> None:
        """Keep a line.

        Raises:
            Full: of this rater there are too many.
            OutputError: it cannot be written.
        """
        with self._lock:
            rater = str(line["rater"])
            if self._counts.get(rater, 0) >= self._most_lines:
                raise Full
            self._write(line)
            self._remember(line)

    def join(self, raters: int, time: str) -> str | None:
        """The number of the first rater who is not there yet; None when all are."""
        with self._lock:
            for number in range(1, raters + 1):
                if str(number) not in self.joined:
                    line = {"kind": "join", "rater": str(number), "time": time}
                    self._write(line)
                    self._remember(line)
                    return str(number)
        return None

    def done(self, rater: str) -> dict[str, dict[str, Any]]:
        """What a rater has rated, by screen."""
        with self._lock:
            return dict(self._done.get(rater, {}))

    def _write(self, line: Mapping[str, Any]) -> None:
        data = (json.dumps(line, ensure_ascii=True, separators=(",", ":")) + "\n").encode()
        try:
            # What a server that was killed has left of a line ends there.
            self._file.write(b"\n" + data if self._torn else data)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._torn = False
        except OSError as error:
            self._torn = True
            raise OutputError(f"{self.path}: cannot be written ({error.strerror})") from error

    def _remember(self, line: Mapping[str, Any]) -> None:
        rater = str(line["rater"])
        self.joined.add(rater)
        self._counts[rater] = self._counts.get(rater, 0) + 1
        if line.get("kind") == "screen":
            own = {name: line.get(name) for name in ("scores", "comment", "seconds", "time")}
            self._done.setdefault(rater, {})[str(line.get("screen"))] = own


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines that are whole.

    Raises:
        OutputError: the file cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"{path}: cannot be read ({error.strerror})") from error
    for line in content.splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and isinstance(value.get("rater"), str):
            yield value


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
