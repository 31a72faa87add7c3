"""Rows to lines of the table: means with bootstrap intervals over recordings, medians beside.

The interval is the percentile bootstrap of the mean (Efron 1979), of clusters: recordings are drawn
with replacement, each with all of its excerpts, since two excerpts of one recording say less than
those of two.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.evaluating.folder import Excerpt, Point
from pipelines.evaluating.work import Row

RESAMPLES = 2_000
LEVEL = 0.95
EVERYTHING = "all domains"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measure over the excerpts of a line."""

    mean: float
    low: float
    high: float
    """the interval of the mean, 95%"""
    median: float
    excerpts: int
    recordings: int


@dataclass(frozen=True, slots=True)
class Line:
    """A system at a bitrate in a domain."""

    domain: str
    point: Point
    excerpts: int
    """that went through"""
    measured_kbps: float
    entropy_kbps: float | None
    """with an entropy coder; None where the system has none"""
    encode_speed: float
    """times real time, of one core or of a GPU"""
    decode_speed: float
    figures: Mapping[str, Estimate]
    reasons: Mapping[str, str]
    """of measures without a figure"""


@dataclass(frozen=True, slots=True)
class Summary:
    """The whole table."""

    lines: tuple[Line, ...]
    missing: Mapping[str, Mapping[str, int]]
    """by point, reasons of excerpts that did not go through, and how many"""


def summarise(
    excerpts: Sequence[Excerpt],
    points: Sequence[Point],
    rows: Mapping[tuple[str, str], Row],
    metrics: Sequence[str],
    seed: int,
) -> Summary:
    """Lines by domain, all of them together at the end where there are several.

    Args:
        excerpts: in order.
        points: in order.
        rows: by excerpt and point.
        metrics: names, in order.
        seed: of the bootstrap.
    """
    domains = list(dict.fromkeys(excerpt.domain for excerpt in excerpts))
    groups = {domain: [e for e in excerpts if e.domain == domain] for domain in domains}
    if len(domains) > 1:
        groups[EVERYTHING] = list(excerpts)
    lines = []
    missing: dict[str, dict[str, int]] = {}
    for point in points:
        for excerpt in excerpts:
            reason = rows.get((excerpt.name, point.name), {}).get("missing")
            if reason is not None:
                of_point = missing.setdefault(point.name, {})
                of_point[reason] = of_point.get(reason, 0) + 1
    for domain, own in groups.items():
        for point in points:
            found = [
                (excerpt, row)
                for excerpt in own
                if "bits" in (row := rows.get((excerpt.name, point.name), {}))
            ]
            if found:
                lines.append(_line(domain, point, found, metrics, seed))
    return Summary(tuple(lines), missing)


def _line(
    domain: str,
    point: Point,
    found: Sequence[tuple[Excerpt, Row]],
    metrics: Sequence[str],
    seed: int,
) -> Line:
    rows = [row for _, row in found]
    seconds = _sum(rows, "seconds")
    entropy = [row.get("entropy_bits") for row in rows]
    figures, reasons = {}, {}
    for metric in metrics:
        values = [
            (excerpt.id, float(value))
            for excerpt, row in found
            if (value := row["figures"].get(metric)) is not None
        ]
        if values:
            figures[metric] = estimate(values, seed, f"{domain}\0{point.name}\0{metric}")
        else:
            reasons[metric] = next(
                (row["reasons"][metric] for row in rows if metric in row["reasons"]), "not measured"
            )
    return Line(
        domain=domain,
        point=point,
        excerpts=len(rows),
        measured_kbps=_sum(rows, "bits") / seconds / 1000,
        entropy_kbps=None
        if None in entropy
        else sum(bits for bits in entropy if bits is not None) / seconds / 1000,
        encode_speed=seconds / max(_sum(rows, "encode_seconds"), 1e-9),
        decode_speed=seconds / max(_sum(rows, "decode_seconds"), 1e-9),
        figures=figures,
        reasons=reasons,
    )


def _sum(rows: Iterable[Row], key: str) -> float:
    return math.fsum(float(row[key]) for row in rows)


def estimate(
    values: Sequence[tuple[str, float]], seed: int, what: str, resamples: int = RESAMPLES
) -> Estimate:
    """Mean and median of values, each with the recording that it is of.

    Args:
        values: recording and value.
        seed: of the run.
        what: the line and measure, so that each has its own draws, whatever else there is.
        resamples: of the bootstrap.
    """
    clusters: dict[str, list[float]] = {}
    for recording, value in values:
        clusters.setdefault(recording, []).append(value)
    sums = np.array([math.fsum(own) for own in clusters.values()])
    counts = np.array([len(own) for own in clusters.values()])
    rng = np.random.default_rng([seed % 2**32, zlib.crc32(what.encode("utf-8", "surrogatepass"))])
    drawn = rng.integers(len(sums), size=(resamples, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    plain = [value for _, value in values]
    return Estimate(
        mean=math.fsum(plain) / len(plain),
        low=float(low),
        high=float(high),
        median=float(np.median(plain)),
        excerpts=len(plain),
        recordings=len(sums),
    )


def measured(points: Sequence[Point], summary: Summary) -> tuple[Point, ...]:
    """The points with what they came to over all excerpts."""
    domains = {line.domain for line in summary.lines}
    over = EVERYTHING if EVERYTHING in domains else next(iter(domains), "")
    found = {line.point.name: line.measured_kbps for line in summary.lines if line.domain == over}
    return tuple(
        Point(point.name, point.system, point.kbps, _rounded(found.get(point.name)))
        for point in points
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def as_json(line: Line) -> dict[str, Any]:
    """For results.json."""
    return {
        "domain": line.domain,
        "name": line.point.name,
        "system": line.point.system,
        "kbps": line.point.kbps,
        "measured_kbps": _rounded(line.measured_kbps),
        "entropy_kbps": _rounded(line.entropy_kbps),
        "excerpts": line.excerpts,
        "encode_speed": round(line.encode_speed, 2),
        "decode_speed": round(line.decode_speed, 2),
        "figures": {
            name: {
                "mean": round(found.mean, 6),
                "low": round(found.low, 6),
                "high": round(found.high, 6),
                "median": round(found.median, 6),
                "excerpts": found.excerpts,
                "recordings": found.recordings,
            }
            for name, found in line.figures.items()
        },
        "reasons": dict(line.reasons),
    }
