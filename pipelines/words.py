"""Numbers and counts as people read them."""

from __future__ import annotations


def fixed(value: float, digits: int, sign: bool = False) -> str:
    """With so many digits behind the point, and never a zero with a minus; `sign` puts a plus before what is above zero."""
    text = f"{value:z.{digits}f}"
    return f"+{text}" if sign and float(text) > 0 else text


def many(count: int, word: str) -> str:
    """`1 recording`, `2 recordings`."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def printable(text: str) -> str:
    """Without what a terminal would obey: control characters and those that turn the direction of text, written as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
