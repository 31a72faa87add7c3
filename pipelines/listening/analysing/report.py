"""The analysis as Markdown and as a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from pipelines.evaluating.plots import legend
from pipelines.listening.analysing.plot import plot
from pipelines.listening.analysing.statistics import Mean
from pipelines.listening.analysing.summary import Line, rank
from pipelines.system.words import fixed, many, printable

if TYPE_CHECKING:
    from pipelines.listening.analysing.analyse import Analysis

HEAD = ("system", "kbps", "measured", "MUSHRA", "median", "ratings")
_MOST_SHOWN = 20
INTERVALS = (
    "Means ± half of their 95% interval (Student's, over ratings). Pairs: Wilcoxon's signed-rank "
    "test over raters, each by the mean difference over the screens that had both; p corrected for "
    "all pairs (Holm)."
)

Table = tuple[str, Sequence[str], list[list[str]]]
"""title, columns, cells"""


def interval(mean: Mean) -> str:
    """As the paper prints it: `82.9 ± 2.4`."""
    return f"{mean.value:.1f}" + ("" if mean.half is None else f" ± {mean.half:.1f}")


def markdown(done: Analysis) -> str:
    """The whole analysis as text."""
    parts = [f"# {done.design.title}", "", *_summary(done), ""]
    for title, head, cells in _tables(done):
        parts += [f"## {title}", "", _row(head), _row(["---"] * len(head))]
        parts += [*(_row(row) for row in cells), ""]
    parts += [INTERVALS, "", f"Levels: {done.design.facts.get('levels', 'as they were')}.", ""]
    notes = [*done.collected.problems, *done.collected.twice]
    if notes:
        parts += ["## What was not used", "", *(f"- {note}" for note in notes), ""]
    return "\n".join(printable(part) for part in parts)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _summary(done: Analysis) -> Iterator[str]:
    removed = [one for one in done.verdicts if not one.kept]
    kept = len(done.verdicts) - len(removed)
    yield (
        f"{many(kept, 'rater')} kept of {len(done.verdicts)}; "
        f"{many(len(done.design.screens), 'screen')}."
    )
    if done.few:
        yield (
            f"{many(len(done.few), 'screen')} of {len(done.design.screens)} with samples of fewer "
            f"than {done.options.least_ratings} ratings: flagged below."
        )


def _tables(done: Analysis) -> Iterator[Table]:
    for domain in dict.fromkeys(line.domain for line in done.lines):
        own = [line for line in done.lines if line.domain == domain]
        title = "All domains" if domain == "all" and _domains(done) > 1 else f"Domain: {domain}"
        yield (
            title if domain != "all" or _domains(done) > 1 else "Scores",
            HEAD,
            [_cells(line) for line in own],
        )
    if done.pairs:
        head = ("first", "second", "difference", "p", "p (Holm)", "raters")
        yield (
            "Pairs of systems",
            head,
            [
                [
                    pair.first,
                    pair.second,
                    f"{fixed(pair.difference.value, 1, sign=True)}"
                    + ("" if pair.difference.half is None else f" ± {pair.difference.half:.1f}"),
                    _p(pair.p),
                    _p(pair.p_holm),
                    str(pair.difference.count),
                ]
                for pair in done.pairs
            ],
        )
    removed = [one for one in done.verdicts if not one.kept]
    if removed:
        yield (
            "Raters removed",
            ("rater", "from", "why"),
            [[one.rater, one.source, "; ".join(one.why)] for one in removed],
        )
    if done.few:
        few = sorted(done.few, key=lambda one: one.ratings)
        cells = [[one.screen, one.excerpt, one.domain, str(one.ratings)] for one in few]
        if len(cells) > _MOST_SHOWN:
            more = len(cells) - _MOST_SHOWN
            cells = [*cells[:_MOST_SHOWN], [f"and {more} more", "analysis.json has them", "", ""]]
        title = f"Samples with fewer than {done.options.least_ratings} ratings"
        yield title, ("screen", "excerpt", "domain", "ratings of each system"), cells


def _domains(done: Analysis) -> int:
    return len({screen.domain for screen in done.design.screens})


def _cells(line: Line) -> list[str]:
    return [
        line.system,
        "" if line.kbps is None else f"{line.kbps:g}",
        "" if line.measured_kbps is None else f"{line.measured_kbps:.2f}",
        interval(line.mean),
        f"{line.median:g}",
        str(line.mean.count),
    ]


def _p(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def page(done: Analysis) -> str:
    """The same as a page with plots; it needs no network and no script."""
    names = sorted({line.system for line in done.lines if not rank(line.name)})
    systems = {name: number for number, name in enumerate(names)}
    style = files("pipelines.evaluating").joinpath("assets", "style.css").read_text("utf-8")
    style += ".plots { margin-top: 14px; } .across { stroke: var(--soft); stroke-dasharray: 4 4; }"
    body = [f"<h1>{escape(done.design.title)}</h1>"]
    body += [f"<p>{escape(line)}</p>" for line in _summary(done)]
    body += legend(systems)
    body.append('<div class="plots">')
    for domain in dict.fromkeys(line.domain for line in done.lines):
        drawn = plot([line for line in done.lines if line.domain == domain], systems, domain)
        body.append(f"<figure><figcaption>{escape(domain)}</figcaption>{drawn}</figure>")
    body.append("</div>")
    for title, head, cells in _tables(done):
        body.append(f'<h2>{escape(title)}</h2><div class="wide"><table>')
        body.append("<tr>" + "".join(f"<th>{escape(one)}</th>" for one in head) + "</tr>")
        body += [
            "<tr>" + "".join(f"<td>{escape(one)}</td>" for one in row) + "</tr>" for row in cells
        ]
        body.append("</table></div>")
    body.append(f"<p>{escape(INTERVALS)}</p>")
    body.append(f"<p>Levels: {escape(str(done.design.facts.get('levels', '')))}.</p>")
    notes = [*done.collected.problems, *done.collected.twice]
    if notes:
        body.append("<h2>What was not used</h2><ul>")
        body += [f"<li>{escape(note)}</li>" for note in notes]
        body.append("</ul>")
    title = escape(done.design.title)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{style}</style></head><body><main>\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )
