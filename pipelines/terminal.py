"""Names from a corpus on a terminal: what would move the cursor, colour the screen or reverse a line is shown, not sent."""

from __future__ import annotations

import re

_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""control characters (but tab and line feed), those that turn the direction of writing, and halves of surrogate pairs"""


def printable(text: str) -> str:
    """A text with control characters escaped as Python writes them; lines and tabs stay."""
    return _UNSAFE.sub(lambda found: found.group().encode("unicode_escape").decode(), text)
