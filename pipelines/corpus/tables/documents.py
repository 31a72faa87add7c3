"""JSON that is one document and not a line a row: an array of rows, an object of rows by their
ids, or rows one after the other over several lines. Read piece by piece, so that memory holds one
row and a block of the file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipelines.corpus.sources.base import is_audio
from pipelines.corpus.tables.columns import PATH_COLUMNS, pick

BLOCK = 1 << 18
"""characters that are read at once"""
_LONGEST = 1 << 26
"""characters that one row may have"""
_SPACE = re.compile(r"[\s,]*")
_NEXT = {"{": re.compile(r"\}\s*,?\s*(?=\{)"), '"': re.compile(r"\}\s*,?\s*(?=\")")}
"""where the next row may begin behind one that is no JSON, by what rows begin with"""
_CUT = 16
"""characters before the end of a block in which an error may come of the cut"""
_decode = json.JSONDecoder().raw_decode


class BadValue(ValueError):
    """What stands where a row should is no JSON."""


class _Text:
    """A text, taken from its front; `read` gives the next block, empty at the end."""

    def __init__(self, read: Callable[[int], str]) -> None:
        self._read = read
        self._held, self._at, self._ended = "", 0, False

    def peek(self) -> str:
        """The next character that is neither a space nor a comma; empty at the end."""
        while True:
            found = _SPACE.match(self._held, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._held) or not self._more():
                return self._held[self._at : self._at + 1]

    def skip(self) -> None:
        """Pass over the character that `peek` has shown."""
        self._at += 1

    def value(self, opening: str) -> Any:
        """The JSON value that begins here.

        Args:
            opening: what the next row would begin with.

        Raises:
            BadValue: there is none; what goes on behind it, if that can be told, comes next.
        """
        self.peek()
        while True:
            try:
                value, end = _decode(self._held, self._at)
            except (ValueError, RecursionError) as error:
                if not self._may_be_cut(error) or not self._more():
                    raise self._bad(error, opening) from None
                continue
            # A number at the end of what is held may go on.
            if end < len(self._held) or not self._more():
                self._at = end
                return value

    def _may_be_cut(self, error: Exception) -> bool:
        if not isinstance(error, json.JSONDecodeError) or len(self._held) - self._at > _LONGEST:
            return False
        return error.pos > len(self._held) - _CUT or error.msg.startswith("Unterminated string")

    def _bad(self, error: Exception, opening: str) -> BadValue:
        why = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        if isinstance(error, RecursionError):
            why = "nested too deeply"
        following = _NEXT[opening].search(self._held, self._at + 1)
        self._at = len(self._held) if following is None else following.end()
        return BadValue(f"not JSON: {why}")

    def _more(self) -> bool:
        block = "" if self._ended else self._read(max(BLOCK, len(self._held) - self._at))
        self._ended = not block
        if block:
            self._held, self._at = self._held[self._at :] + block, 0
        return bool(block)


def document_rows(read: Callable[[int], str], path: str | None) -> Iterator[Any]:
    """Rows, as dictionaries; what is none comes as it is, or as a `BadValue`.

    Args:
        read: the next characters of the document, as many as asked for or fewer.
        path: column that the user named for the files.
    """
    text = _Text(read)
    while (first := text.peek()) != "":
        if first == "[":
            text.skip()
            yield from _elements(text)
        elif first == "{":
            text.skip()
            yield from _members(text, (path,) if path else PATH_COLUMNS)
        else:
            yield _value(text, "{")


def _value(text: _Text, opening: str) -> Any:
    try:
        return text.value(opening)
    except BadValue as error:
        return error


def _elements(text: _Text) -> Iterator[Any]:
    while (first := text.peek()) not in ("]", ""):
        if first in "}:":
            text.skip()
            continue
        yield _value(text, "{")
    text.skip()


def _members(text: _Text, columns: tuple[str, ...]) -> Iterator[Any]:
    """Rows of an object: it is one itself, or its values are, or lists of them."""
    own: dict[str, Any] = {}
    rows = 0
    while (first := text.peek()) not in ("}", ""):
        if first == ":":
            text.skip()
            continue
        key = _value(text, '"')
        if isinstance(key, BadValue):
            yield key
            continue
        if text.peek() != ":" or not isinstance(key, str):
            continue
        text.skip()
        if text.peek() == "[":
            text.skip()
            kept: list[Any] = []
            for each in _elements(text):
                if rows or (isinstance(each, dict) and pick(each, columns)):
                    yield from (*kept, each)
                    rows, kept = rows + 1 + len(kept), []
                else:
                    kept.append(each)
            own |= {key: kept} if kept else {}
            continue
        value = _value(text, '"')
        row = _of_key(key, value, columns)
        if row is None:
            own[key] = value
        else:
            rows += 1
            yield row
    text.skip()
    if pick(own, columns) or not rows:
        yield own
    else:
        yield from ({"id": key, **each} for key, each in own.items() if isinstance(each, dict))


def _of_key(key: str, value: Any, columns: tuple[str, ...]) -> Any:
    """The row that a member of an object is; None where it is none: `"id": {"path": …}`,
    `"x.wav": {…}`, `"x.wav": "what is said"`."""
    if isinstance(value, BadValue):
        return value
    if isinstance(value, Mapping):
        if pick(value, columns):
            return {"id": key, **value}
        return {"path": key, **value} if is_audio(key) else None
    if isinstance(value, str) and is_audio(key):
        return {"path": key, "text": value}
    return None
