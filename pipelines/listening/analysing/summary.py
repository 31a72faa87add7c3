"""What kept ratings say: means by system and bitrate, pairs of systems, samples with too few."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from statistics import median
from typing import Any

from pipelines.listening.analysing.statistics import Mean, holm, mean_of, wilcoxon
from pipelines.listening.folder import ANCHOR, REFERENCE, Design

ALL = "all"


@dataclass(frozen=True, slots=True)
class Line:
    """A system at a bitrate, in one domain or all."""

    domain: str
    name: str
    system: str
    kbps: float | None
    measured_kbps: float | None
    mean: Mean
    median: float
    raters: int


@dataclass(frozen=True, slots=True)
class Pair:
    """Two systems that were on the same screens."""

    first: str
    second: str
    difference: Mean
    """first less second: of each rater's mean over screens, over raters"""
    p: float
    p_holm: float


@dataclass(frozen=True, slots=True)
class Few:
    """A sample, or rather all of those on a screen, with too few ratings."""

    screen: str
    excerpt: str
    domain: str
    ratings: int


def lines_of(rows: Sequence[Mapping[str, Any]]) -> list[Line]:
    """The table: all domains, then each; systems by name and bitrate, then what is on every
    screen."""
    domains = sorted({row["domain"] for row in rows})
    found: list[Line] = []
    for domain in (ALL, *(domains if len(domains) > 1 else ())):
        by_name: dict[str, list[Mapping[str, Any]]] = {}
        for row in rows:
            if domain in (ALL, row["domain"]):
                by_name.setdefault(row["name"], []).append(row)
        lines = [_line(domain, own) for own in by_name.values()]
        found += sorted(lines, key=lambda line: (rank(line.name), line.system, line.kbps or 0))
    return found


def rank(name: str) -> int:
    """Systems, then anchors, then the reference."""
    return 2 if name == REFERENCE else 1 if name.startswith(ANCHOR) else 0


def _line(domain: str, rows: Sequence[Mapping[str, Any]]) -> Line:
    scores = [row["score"] for row in rows]
    one = rows[0]
    return Line(
        domain,
        one["name"],
        one["system"],
        one["kbps"],
        one["measured_kbps"],
        mean_of(scores),
        float(median(scores)),
        len({row["rater"] for row in rows}),
    )


def pairs_of(rows: Iterable[Mapping[str, Any]]) -> list[Pair]:
    """Wilcoxon's signed-rank test of each two systems, with Holm's correction for all of them.

    Ratings of one rater hang together, so that a rater counts once: by the mean difference over the
    screens that had both.
    """
    by_screen: dict[tuple[str, str], dict[str, int]] = {}
    for row in rows:
        if rank(row["name"]) == 0:
            by_screen.setdefault((row["rater"], row["screen"]), {})[row["name"]] = row["score"]
    apart: dict[tuple[str, str], dict[str, list[int]]] = {}
    for (rater, _), scores in by_screen.items():
        for one, other in combinations(sorted(scores), 2):
            own = apart.setdefault((one, other), {})
            own.setdefault(rater, []).append(scores[one] - scores[other])
    found = []
    for (one, other), own_raters in sorted(apart.items()):
        means = [Fraction(sum(own), len(own)) for own in own_raters.values()]
        found.append((one, other, mean_of([float(mean) for mean in means]), wilcoxon(means)))
    corrected = holm([p for *_, p in found])
    return [Pair(*one, p_holm) for one, p_holm in zip(found, corrected, strict=True)]


def few_of(rows: Iterable[Mapping[str, Any]], design: Design, least: int) -> list[Few]:
    """Screens whose samples have fewer ratings than the least."""
    raters: dict[str, set[str]] = {}
    for row in rows:
        raters.setdefault(row["screen"], set()).add(row["rater"])
    return [
        Few(screen.id, screen.excerpt, screen.domain, len(raters.get(screen.id, ())))
        for screen in design.screens
        if len(raters.get(screen.id, ())) < least
    ]
