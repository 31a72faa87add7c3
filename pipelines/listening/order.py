"""Which screens a rater gets, and in which order; the page computes the same (`assets/order.js`).

Every order sorts names by a hash of the seed, who rates and the name, so that it can be computed
anywhere, is another for every rater and screen, and is the same after a reload.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_ALL = 0xFFFFFFFF
_NUMBER = re.compile("[0-9]{1,9}")


def mixed(text: str) -> int:
    """32 bits of a text: FNV-1a over its UTF-8, then the last steps of MurmurHash3, since FNV alone
    leaves names that differ at the end side by side."""
    value = 0x811C9DC5
    for byte in text.encode("utf-8", "replace"):
        value = ((value ^ byte) * 0x01000193) & _ALL
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        value = ((value ^ (value >> shift)) * factor) & _ALL
    return value ^ (value >> 16)


def shuffled(names: Iterable[str], *key: object) -> list[str]:
    """Names in the order that a key gives them."""
    before = "|".join(map(str, key))
    return sorted(names, key=lambda name: (mixed(f"{before}|{name}"), name))


def screens_of(names: Sequence[str], seed: int, rater: str, per_rater: int) -> list[str]:
    """The screens of a rater, in the order that they are shown.

    Raters are dealt screens in turns from one order of all, so that raters 1 to N rate every screen
    equally often, to within one. Who is called by a name and not by a number begins anywhere in it.
    """
    dealt = shuffled(names, seed, "screens")
    count = min(per_rater, len(dealt))
    number = int(rater) - 1 if _NUMBER.fullmatch(rater) else mixed(f"{seed}|{rater}")
    first = number * count % len(dealt)
    own = [dealt[(first + step) % len(dealt)] for step in range(count)]
    return shuffled(own, seed, rater)


def stimuli_of(names: Sequence[str], seed: int, rater: str, screen: str) -> list[str]:
    """Stimuli of a screen in the order that a rater sees them: A, B, C …"""
    return shuffled(names, seed, rater, screen)
