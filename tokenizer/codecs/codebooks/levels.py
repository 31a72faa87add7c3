"""Levels that run at different rates, as SNAC's do (Siuzdak et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from tokenizer.errors import UsageError


def cut_in_two(codec: str, repeats: Sequence[int] | None, n_q: int) -> str:
    """What is wrong with the first `n_q` rows of a codec's codes, in words: they end within a level
    of several rows, or it has fewer; empty where they are whole levels.

    Args:
        codec: its name.
        repeats: `CodecSpec.level_repeats`; None is one row a level, which nothing can cut.
    """
    if repeats is None or n_q in (ends := [*accumulate(repeats)]):
        return ""
    return (
        f"the levels of {codec} have {tuple(repeats)} rows, so give one of "
        f"{', '.join(map(str, ends))}"
    )


def first_levels(repeats: Sequence[int], n_q: int) -> tuple[int, ...]:
    """The levels that the first `n_q` rows of codes are; see `cut_in_two`."""
    return tuple(repeats[: [*accumulate(repeats)].index(n_q) + 1])


def depth_first(repeats: Sequence[int], signals: int = 1) -> list[int]:
    """Rows, which are in the order of levels, as a frame's codes come in time: every code before
    the finer ones of its stretch; of several signals, all rows of one and then of the next.

    Raises:
        UsageError: a level's codes do not share out evenly among those of the level before.
    """
    uneven = any(fine % coarse for coarse, fine in pairwise(repeats) if coarse > 0)
    if not repeats or min(repeats) < 1 or uneven:
        raise UsageError(
            f"levels of {tuple(repeats)} codes a frame: each must be a multiple of the one before"
        )
    firsts = [0, *accumulate(repeats)]
    order: list[int] = []

    def visit(level: int, number: int) -> None:
        order.append(firsts[level] + number)
        if level + 1 < len(repeats):
            each = repeats[level + 1] // repeats[level]
            for child in range(number * each, (number + 1) * each):
                visit(level + 1, child)

    for number in range(repeats[0]):
        visit(0, number)
    return [first + row for first in range(0, signals * len(order), len(order)) for row in order]
