"""Means over measured kbps as SVG, a line a system, with their intervals; what has no bitrate is a
line across."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from pipelines.evaluating.plots import BOTTOM, COLOURS, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, mark
from pipelines.listening.analysing.summary import Line, rank


def plot(lines: Sequence[Line], systems: Mapping[str, int], title: str) -> str:
    """One domain. `systems` says which colour and shape each has."""
    drawn = [line for line in lines if rank(line.name) == 0]
    x = Axis([_kbps(line) for line in drawn] or [1.0], (LEFT, WIDTH - RIGHT), log=True)
    words = f"MUSHRA score over measured kbps, {title}"
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(words)}">']
    parts += _grid(x)
    for line in lines:
        if rank(line.name):
            at = _y(line.mean.value)
            parts.append(
                f'<line class="across" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" '
                f'y2="{at:.1f}"/><text x="{WIDTH - RIGHT}" y="{at - 3:.1f}" text-anchor="end">'
                f"{escape(line.name)}</text>"
            )
    for name, number in systems.items():
        own = sorted((line for line in drawn if line.system == name), key=_kbps)
        parts += _series(own, x, number)
    return "".join([*parts, "</svg>"])


def _kbps(line: Line) -> float:
    return max(0.01, line.measured_kbps or line.kbps or 0.01)


def _y(score: float) -> float:
    return HEIGHT - BOTTOM - max(0.0, min(100.0, score)) / 100 * (HEIGHT - BOTTOM - TOP)


def _grid(x: Axis) -> Iterator[str]:
    for score in range(0, 101, 20):
        at = _y(score)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{score}</text>'
    for value in x.ticks():
        at = x.at(value)
        yield f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{value:g}</text>'
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield f'<text x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">kbps, measured</text>'


def _series(own: Sequence[Line], x: Axis, number: int) -> Iterator[str]:
    colour = COLOURS[number % len(COLOURS)]
    places = [(x.at(_kbps(line)), _y(line.mean.value)) for line in own]
    if len(places) > 1:
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
    for line, (a, b) in zip(own, places, strict=True):
        half = line.mean.half or 0.0
        low, high = _y(line.mean.value - half), _y(line.mean.value + half)
        said = f"{line.name}: {line.mean.value:.1f} ± {half:.1f}, {line.mean.count} ratings"
        yield (
            f'<g stroke="{colour}" fill="{colour}"><title>{escape(said)}</title>'
            f'<line x1="{a:.1f}" x2="{a:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke-width="1.5"/>'
            f"{mark(number, a, b)}</g>"
        )
