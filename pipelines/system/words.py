"""Numbers and counts as people read them."""

from __future__ import annotations

import unicodedata


def fixed(value: float, digits: int, sign: bool = False) -> str:
    """With so many digits behind the point, and never a zero with a minus; `sign` puts a plus
    before what is above zero."""
    text = f"{value:z.{digits}f}"
    return f"+{text}" if sign and float(text) > 0 else text


def many(count: int, word: str) -> str:
    """`1 recording`, `2 recordings`."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def format_duration(seconds: float) -> str:
    """`42s`, `3m 05s`, `2h 04m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def format_hours(seconds: float) -> str:
    """Audio time in the unit that reads best."""
    return f"{seconds / 3600:.2f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def printable(text: str) -> str:
    """Without what a terminal would obey: control characters, and those that turn the direction of
    text, written as escapes."""
    if text.isprintable():
        return text
    return "".join(c.encode("unicode_escape").decode() if _commands(c) else c for c in text)


def one_line(text: str) -> str:
    """The same of what is to stay a line: an id may have line ends, too."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def encodable(text: str) -> str:
    """With what no UTF-8 can hold, half a pair of surrogates, written as an escape: half an emoji
    at the end of a text that was cut, say."""
    return text.encode("utf-8", "backslashreplace").decode()


def _commands(character: str) -> bool:
    if character in "\n\t":
        return False
    turns = unicodedata.bidirectional(character) in (
        "LRE",
        "RLE",
        "LRO",
        "RLO",
        "PDF",
        "LRI",
        "RLI",
        "FSI",
        "PDI",
    )
    return turns or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
