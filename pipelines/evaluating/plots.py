"""Plots as SVG: a measure over measured kbps, a line a system, with the intervals of its means."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from pipelines.evaluating.measuring import Measured
from pipelines.evaluating.summary import Estimate, Line

WIDTH, HEIGHT = 360, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 38
COLOURS = ("#0b6fb8", "#d1500b", "#00875f", "#b8488f", "#b07a00", "#5b5bd6", "#738294", "#0d8aa0")
"""told apart also by people who see colours otherwise; shapes of marks differ too"""
SHAPES = ("circle", "square", "diamond", "triangle")
_R = 4.5


class Axis:
    """Values to pixels."""

    def __init__(self, values: Sequence[float], pixels: tuple[float, float], log: bool) -> None:
        self.log = log
        low, high = min(values), max(values)
        if log:
            self._low, self._high = math.log(low * 0.85), math.log(high * 1.18)
        else:
            room = (high - low) * 0.08 or max(abs(high) * 0.1, 0.5)
            self._low, self._high = low - room, high + room
        self._pixels = pixels

    def at(self, value: float) -> float:
        share = ((math.log(value) if self.log else value) - self._low) / (self._high - self._low)
        return self._pixels[0] + share * (self._pixels[1] - self._pixels[0])

    def ticks(self) -> Iterator[float]:
        """Round numbers within it: about five."""
        if self.log:
            low, high = math.exp(self._low), math.exp(self._high)
            steps = [m * 10.0**e for e in range(-1, 4) for m in (1, 1.5, 2, 3, 4, 6, 8, 12, 24, 48)]
            within = sorted({one for one in steps if low <= one <= high})
            few = [one for one in within if one in (1.5, 3, 6, 12, 24, 48, 96)]
            yield from few if len(few) > 1 else within[:: max(1, len(within) // 5)]
            return
        span = self._high - self._low
        step = 10.0 ** math.floor(math.log10(span / 4))
        step *= next(m for m in (1, 2, 5, 10) if span / (step * m) <= 6)
        first = math.ceil(self._low / step)
        while first * step <= self._high:
            yield first * step
            first += 1


def plot(measure: Measured, lines: Sequence[Line], systems: Mapping[str, int], title: str) -> str:
    """One domain. `systems` says which colour and shape each has."""
    found = [(line, line.figures[measure.name]) for line in lines if measure.name in line.figures]
    x = Axis([line.measured_kbps for line, _ in found], (LEFT, WIDTH - RIGHT), log=True)
    ends = [value for _, figure in found for value in (figure.low, figure.high)]
    y = Axis(ends, (HEIGHT - BOTTOM, TOP), log=False)
    words = f"{measure.title} over measured kbps, {title}"
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(words)}">',
        *_grid(x, y, measure),
    ]
    for name, number in systems.items():
        own = sorted(
            ((line, figure) for line, figure in found if line.point.system == name),
            key=lambda one: one[0].measured_kbps,
        )
        parts += _series(own, x, y, number, measure)
    return "".join([*parts, "</svg>"])


def _grid(x: Axis, y: Axis, measure: Measured) -> Iterator[str]:
    ticks = list(y.ticks())
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]))) if len(ticks) > 1 else 1
    for value in ticks:
        at = y.at(value)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{value:z.{digits}f}</text>'
    base = HEIGHT - BOTTOM
    yield f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>'
    for value in x.ticks():
        at = x.at(value)
        yield f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{base}" y2="{base + 4}"/>'
        yield f'<text x="{at:.1f}" y="{base + 17}" text-anchor="middle">{value:g}</text>'
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield f'<text x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">kbps, measured</text>'


def _series(
    own: Sequence[tuple[Line, Estimate]], x: Axis, y: Axis, number: int, measure: Measured
) -> Iterator[str]:
    colour = COLOURS[number % len(COLOURS)]
    places = [(x.at(line.measured_kbps), y.at(figure.mean)) for line, figure in own]
    if len(places) > 1:
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
    for (line, figure), (a, b) in zip(own, places, strict=True):
        low, high = y.at(figure.low), y.at(figure.high)
        digits = measure.digits
        said = (
            f"{line.point.system}, {line.measured_kbps:.2f} kbps: {figure.mean:z.{digits}f} "
            f"[{figure.low:z.{digits}f}, {figure.high:z.{digits}f}] {measure.unit}, "
            f"{figure.excerpts} excerpts"
        )
        yield (
            f'<g stroke="{colour}" fill="{colour}"><title>{escape(said)}</title>'
            f'<line x1="{a:.1f}" x2="{a:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke-width="1.5" '
            f'opacity="0.65"/>{mark(number, a, b)}</g>'
        )


def mark(number: int, a: float, b: float) -> str:
    """The shape of a system, at a place."""
    shape = SHAPES[number % len(SHAPES)]
    if shape == "circle":
        return f'<circle cx="{a:.1f}" cy="{b:.1f}" r="{_R}"/>'
    if shape == "square":
        return f'<rect x="{a - 4:.1f}" y="{b - 4:.1f}" width="8" height="8"/>'
    corners = {
        "diamond": ((0, -5.5), (5.5, 0), (0, 5.5), (-5.5, 0)),
        "triangle": ((0, -5.5), (5.2, 4), (-5.2, 4)),
    }[shape]
    points = " ".join(f"{a + dx:.1f},{b + dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}"/>'


def legend(systems: Mapping[str, int]) -> Iterator[str]:
    """A list of systems, each by its number, with its colour and mark."""
    yield '<ul class="legend">'
    for name, number in systems.items():
        colour = COLOURS[number % len(COLOURS)]
        yield (
            f'<li><svg viewBox="0 0 30 14" aria-hidden="true"><g stroke="{colour}" '
            f'fill="{colour}"><line x1="1" x2="29" y1="7" y2="7" stroke-width="2"/>'
            f"{mark(number, 15, 7)}</g></svg>{escape(name)}</li>"
        )
    yield "</ul>"
