"""Means with intervals, and paired tests, on the standard library: exact where they can be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from statistics import NormalDist, fmean, stdev

import numpy as np

CONFIDENCE = 0.95
_EXACT = 200
"""pairs up to which Wilcoxon's distribution is counted out"""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean and the half of its 95% interval, None of a single value."""

    value: float
    half: float | None
    count: int


def mean_of(values: Sequence[float]) -> Mean:
    """Mean of one or more values with Student's interval, as BS.1534 has it."""
    count = len(values)
    if count == 1:
        return Mean(float(values[0]), None, 1)
    quantile = student_quantile((1 + CONFIDENCE) / 2, count - 1)
    return Mean(fmean(values), quantile * stdev(values) / math.sqrt(count), count)


def student_quantile(probability: float, freedom: int) -> float:
    """The value below which a share above one half of Student's distribution lies."""
    low, high = 0.0, 1.0
    while student_below(high, freedom) < probability:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if student_below(middle, freedom) < probability else (low, middle)
        )
    return (low + high) / 2


def student_below(value: float, freedom: int) -> float:
    """Share of Student's distribution below a value that is not negative, for whole degrees of
    freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan(value / math.sqrt(freedom))
    square = math.cos(angle) ** 2
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0 if freedom == 1 else term
    for step in range(3 if odd else 2, freedom - 1, 2):
        term *= square * (step - 1) / step
        total += term
    within = math.sin(angle) * total
    if odd:
        within = 2 / math.pi * (angle + within)
    return (1 + within) / 2


def wilcoxon(differences: Sequence[Fraction]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test that differences are symmetric around zero.

    Zeros are left out, ties share their mean rank. Up to 200 differences the distribution is
    counted over all signs, given the ranks; beyond, it is the normal one with their variance.
    """
    ordered = sorted((abs(one), one > 0) for one in differences if one)
    if not ordered:
        return 1.0
    doubled: list[int] = []  # ranks times two are whole with ties too
    above = 0
    for _, tied in groupby(ordered, key=lambda one: one[0]):
        signs = [positive for _, positive in tied]
        rank = 2 * len(doubled) + len(signs) + 1
        doubled += [rank] * len(signs)
        above += rank * sum(signs)
    total = sum(doubled)
    smaller = min(above, total - above)
    if len(doubled) > _EXACT:
        spread = math.sqrt(sum(rank * rank for rank in doubled) / 4)
        return min(1.0, 2 * NormalDist().cdf((smaller + 1 - total / 2) / spread))
    share = np.zeros(total + 1)
    share[0] = 1.0
    for rank in doubled:
        share[rank:] = (share[rank:] + share[:-rank]) / 2
        share[:rank] /= 2
    return min(1.0, 2 * float(share[: smaller + 1].sum()))


def holm(values: Sequence[float]) -> list[float]:
    """The p of each of several tests, corrected for their number (Holm, 1979)."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    corrected = [0.0] * len(values)
    highest = 0.0
    for place, i in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - place) * values[i]))
        corrected[i] = highest
    return corrected
