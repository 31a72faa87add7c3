"""A card that is written anew, in which what people have written stays."""

from __future__ import annotations

import re
from typing import Any

import yaml

BEGIN, END = "<!-- codecshards: begin -->", "<!-- codecshards: end -->"
"""what lies between them is written anew; the rest is people's"""
_FRONT = re.compile(r"\A---\r?\n(.*?)^---[ \t]*\r?\n", re.DOTALL | re.MULTILINE)
_OWN = ("configs", "dataset_info", "size_categories")
"""front matter that follows from what is there; the rest is people's, once it is written"""


def updated(before: str | None, card: str) -> str:
    """The new card, with what people have put into the old one.

    Args:
        before: the card that is there; None is none.
        card: as it is written where there is none.
    """
    if before is None:
        return card
    old, old_page = _parts(before)
    new, page = _parts(card)
    kept = {name: value for name, value in old.items() if name not in _OWN}
    front = new | kept
    if "license" in new:  # it was asked for
        front["license"] = new["license"]
    front = {name: front[name] for name in dict.fromkeys([*old, *new]) if name in front}
    own = page[page.index(BEGIN) : page.index(END) + len(END)]
    if BEGIN in old_page and END in old_page.partition(BEGIN)[2]:
        head, _, rest = old_page.partition(BEGIN)
        page = f"{head}{own}{rest.partition(END)[2]}"
    elif old_page.strip() and "| written by | codecshards" not in old_page:
        page = f"{old_page.rstrip()}\n\n{own}\n"
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n{page}"


def _parts(card: str) -> tuple[dict[str, Any], str]:
    """Front matter and page; what cannot be read as front matter is part of the page."""
    found = _FRONT.match(card)
    if found is None:
        return {}, card
    try:
        front = yaml.safe_load(found[1])
    except yaml.YAMLError:
        return {}, card
    return (front, card[found.end() :]) if isinstance(front, dict) else ({}, card[found.end() :])
