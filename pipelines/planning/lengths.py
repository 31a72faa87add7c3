"""How lengths are spread, in bins that people think in."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

_MINUTE, _HOUR = 60.0, 3600.0
EDGES = (
    *(0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0),
    *(_MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 30 * _MINUTE),
    *(_HOUR, 2 * _HOUR, 5 * _HOUR, 10 * _HOUR),
)
"""seconds at which bins begin; the last has no end"""
_BAR, _PLAIN_BAR = "█", "#"


@dataclass(frozen=True, slots=True)
class Bin:
    """Lengths from `start` on and below `stop`, in seconds; None is without end."""

    start: float
    stop: float | None
    count: int
    seconds: float
    """of all of them together"""


@dataclass(slots=True)
class Histogram:
    """Counts lengths as they come."""

    count: int = 0
    seconds: float = 0.0
    shortest: float | None = None
    longest: float | None = None
    _counts: list[int] = field(default_factory=lambda: [0] * len(EDGES))
    _seconds: list[float] = field(default_factory=lambda: [0.0] * len(EDGES))

    @classmethod
    def of(cls, lengths: Iterable[float]) -> Histogram:
        """Of all of these, in seconds."""
        made = cls()
        for seconds in lengths:
            made.add(seconds)
        return made

    def add(self, seconds: float) -> None:
        """Count one; below zero counts as zero."""
        seconds = max(float(seconds), 0.0)
        at = bisect_right(EDGES, seconds) - 1
        self._counts[at] += 1
        self._seconds[at] += seconds
        self.count += 1
        self.seconds += seconds
        self.shortest = seconds if self.shortest is None else min(self.shortest, seconds)
        self.longest = seconds if self.longest is None else max(self.longest, seconds)

    @property
    def mean(self) -> float | None:
        return self.seconds / self.count if self.count else None

    def bins(self) -> list[Bin]:
        """From the first that holds anything to the last."""
        held = [at for at, count in enumerate(self._counts) if count]
        if not held:
            return []
        ends = [*EDGES[1:], None]
        return [
            Bin(EDGES[at], ends[at], self._counts[at], self._seconds[at])
            for at in range(held[0], held[-1] + 1)
        ]

    def lines(self, width: int, *, what: str = "recordings", ascii_only: bool = False) -> list[str]:
        """A head and a line for each bin: its range, how many, their hours, a bar. None is longer
        than `width` characters where that is 50 or more."""
        bins = self.bins()
        if not bins:
            return []
        rows = [(_range(one), f"{one.count:,}", f"{one.seconds / _HOUR:,.2f}") for one in bins]
        head = ("length", what, "hours")
        wide = [max(len(row[at]) for row in [head, *rows]) for at in range(3)]
        room = max(4, min(40, width - sum(wide) - 6))
        most = max(one.count for one in bins)
        bar = _PLAIN_BAR if ascii_only else _BAR
        bars = ["", *(bar * _bar(one.count, most, room) for one in bins)]
        return [
            f"{row[0]:>{wide[0]}}  {row[1]:>{wide[1]}}  {row[2]:>{wide[2]}}  {drawn}".rstrip()
            for row, drawn in zip([head, *rows], bars, strict=True)
        ]


def _bar(count: int, most: int, room: int) -> int:
    """Of what there is at all something is seen."""
    return max(1, round(room * count / most)) if count else 0


def _range(one: Bin) -> str:
    if one.stop is None:
        return f"{format_length(one.start)} or more"
    (start, of_start), (stop, of_stop) = _in_unit(one.start), _in_unit(one.stop)
    same = of_start == of_stop or not one.start
    return f"{start}{'' if same else f' {of_start}'} to {stop} {of_stop}"


def format_length(seconds: float) -> str:
    """`0.8 s`, `12.3 s`, `4.5 min`, `2.1 h`, and whole numbers without a point."""
    number, unit = _in_unit(seconds)
    return f"{number} {unit}"


def _in_unit(seconds: float) -> tuple[str, str]:
    size, unit = next(
        (size, unit)
        for size, unit in ((_HOUR, "h"), (_MINUTE, "min"), (1.0, "s"), (0.0, "s"))
        if seconds >= size
    )
    return f"{round(seconds / (size or 1.0), 1):,g}", unit


def each_bin(histogram: Histogram) -> Iterator[dict[str, float | int | None]]:
    """The bins as JSON has them."""
    for one in histogram.bins():
        yield {
            "from_seconds": one.start,
            "to_seconds": one.stop,
            "recordings": one.count,
            "seconds": round(one.seconds, 3),
        }
