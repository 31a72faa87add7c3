"""Ids from a file, a line each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizer.errors import UsageError

_ESCAPED = {"\\t": "\t", "\\n": "\n", "\\r": "\r", "\\\\": "\\"}


class Selection:
    """The ids of a file, as `codecshards ls --ids` writes them: `\\t`, `\\n` and `\\\\` may stand
    for tabs, line ends and backslashes."""

    def __init__(self, file: str) -> None:
        """
        Raises:
            UsageError: it cannot be read, or has no ids.
        """
        try:
            text = Path(file).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--ids-file {file} cannot be read: {error}") from error
        lines = [line.rstrip("\r") for line in text.split("\n")]
        self._file = file
        self._missing = {line: None for line in lines if line.strip()}
        if not self._missing:
            raise UsageError(f"--ids-file {file} has no ids")
        self._plain: dict[str, list[str]] = {}
        for line in self._missing:
            for id in {line, _unescaped(line)}:
                self._plain.setdefault(id, []).append(line)

    def __contains__(self, id: str) -> bool:
        return id in self._plain

    def seen(self, ids: Iterable[str]) -> Iterator[str]:
        """Ids as they pass: those that are there."""
        for id in ids:
            for line in self._plain.get(id, ()):
                self._missing.pop(line, None)
            yield id

    def require_found(self, out: str) -> None:
        """
        Raises:
            UsageError: lines that are no id of a recording.
        """
        if self._missing:
            first, more = next(iter(self._missing)), len(self._missing) - 1
            others = f" and {more} others" if more else ""
            raise UsageError(
                f"--ids-file {self._file}: {out} has no recording {first!r}{others}: `codecshards "
                "ls OUT --ids` shows those that it has"
            )


def _unescaped(line: str) -> str:
    found, at = "", 0
    while at < len(line):
        pair = line[at : at + 2]
        found += _ESCAPED.get(pair, line[at])
        at += 2 if pair in _ESCAPED else 1
    return found
