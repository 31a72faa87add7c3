"""index.html: plots by measure and domain, the table, and every excerpt to listen to. It needs no
network and no server; without scripts only the players are missing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files

from pipelines.auditing.measure.registry import Better
from pipelines.evaluating.folder import AUDIO, REFERENCE, Evaluation
from pipelines.evaluating.measuring import MEASURED, Measured
from pipelines.evaluating.plots import legend, plot
from pipelines.evaluating.summary import EVERYTHING, Line, Summary
from pipelines.evaluating.tables import INTERVAL, cell, notes
from pipelines.system.words import many

_DIRECTION = {
    Better.HIGHER: "higher is better",
    Better.LOWER: "lower is better",
    Better.ZERO: "nearer to 0 is better",
}


def page(evaluation: Evaluation, summary: Summary, metrics: Sequence[str]) -> str:
    """The page as text."""
    systems = {name: number for number, name in enumerate(_systems(summary))}
    body = [
        *_head(evaluation, systems),
        *(part for name in metrics for part in _plots(MEASURED[name], summary, systems)),
        *_of_speech([MEASURED[name] for name in metrics], summary, systems),
        *_tables(summary, metrics),
        *_listen(evaluation, summary),
        "<h2>Beside the figures</h2><ul>",
        *(f"<li>{escape(note)}</li>" for note in notes(evaluation, summary, metrics)),
        "</ul>",
    ]
    style, script = (
        files("pipelines.evaluating").joinpath("assets", name).read_text(encoding="utf-8")
        for name in ("style.css", "listen.js")
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Evaluation</title><style>{style}</style></head><body><main>\n"
        + "\n".join(body)
        + f"\n</main><script>{script}</script></body></html>\n"
    )


def _systems(summary: Summary) -> list[str]:
    return list(dict.fromkeys(line.point.system for line in summary.lines))


def _head(evaluation: Evaluation, systems: dict[str, int]) -> Iterator[str]:
    seconds = sum(excerpt.seconds for excerpt in evaluation.excerpts)
    recordings = len({excerpt.id for excerpt in evaluation.excerpts})
    yield "<h1>Evaluation</h1>"
    yield (
        f"<p>{many(len(evaluation.excerpts), 'excerpt')} of {many(recordings, 'recording')}, "
        f"{seconds:.0f} s, drawn with seed {evaluation.seed}. {escape(INTERVAL)}</p>"
    )
    command = evaluation.facts.get("command")
    if command:
        yield f"<p><code>{escape(str(command))}</code></p>"
    yield from legend(systems)


def _domains(summary: Summary) -> list[str]:
    return list(dict.fromkeys(line.domain for line in summary.lines))


def _plots(measure: Measured, summary: Summary, systems: dict[str, int]) -> Iterator[str]:
    found = _with(measure, summary)
    if not found or measure.speech:
        return
    yield f"<h2>{_title(measure)} <small>{_DIRECTION[measure.better]}</small></h2>"
    yield '<div class="plots">'
    for domain, own in found.items():
        drawn = plot(measure, own, systems, domain)
        yield f"<figure><figcaption>{escape(domain)}</figcaption>{drawn}</figure>"
    yield "</div>"


def _of_speech(
    measures: Sequence[Measured], summary: Summary, systems: dict[str, int]
) -> Iterator[str]:
    """Those that say something of speech only, side by side."""
    figures = []
    for measure in (one for one in measures if one.speech):
        for domain, own in _with(measure, summary).items():
            if domain == EVERYTHING:  # the same
                continue
            title = (
                f"{_title(measure)} <small>{_DIRECTION[measure.better]}; {escape(domain)}</small>"
            )
            drawn = plot(measure, own, systems, domain)
            figures.append(f"<figure><figcaption>{title}</figcaption>{drawn}</figure>")
    if figures:
        yield f'<h2>Of speech</h2><div class="plots">{"".join(figures)}</div>'


def _with(measure: Measured, summary: Summary) -> dict[str, list[Line]]:
    """Lines of the domains that have figures of a measure."""
    return {
        domain: own
        for domain in _domains(summary)
        if (own := [line for line in summary.lines if line.domain == domain])
        and any(measure.name in line.figures for line in own)
    }


def _title(measure: Measured) -> str:
    return escape(measure.title) + (f", {escape(measure.unit)}" if measure.unit else "")


def _tables(summary: Summary, metrics: Sequence[str]) -> Iterator[str]:
    yield "<h2>Table</h2>"
    for domain in _domains(summary):
        own = [line for line in summary.lines if line.domain == domain]
        shown = [name for name in metrics if any(name in line.figures for line in own)]
        titles = [
            "system",
            "kbps",
            "measured",
            *(["entropy coded"] if any(line.entropy_kbps is not None for line in own) else []),
            *(MEASURED[name].title for name in shown),
            "encode, × real time",  # noqa: RUF001
            "decode",
            "n",
        ]
        head = "".join(f"<th>{escape(title)}</th>" for title in titles)
        yield f'<h3>{escape(domain)}</h3><div class="wide"><table><tr>{head}</tr>'
        for line in own:
            yield _table_row(line, shown, "entropy coded" in titles)
        yield "</table></div>"


def _table_row(line: Line, shown: Sequence[str], coded: bool) -> str:
    entropy = "" if line.entropy_kbps is None else f"{line.entropy_kbps:.2f}"
    cells = [
        escape(line.point.system),
        f"{line.point.kbps:g}",
        f"{line.measured_kbps:.2f}",
        *([entropy] if coded else []),
        *(cell(line.figures.get(name), MEASURED[name].digits) for name in shown),
        f"{line.encode_speed:.0f}",
        f"{line.decode_speed:.0f}",
        str(line.excerpts),
    ]
    return f"<tr>{''.join(f'<td>{one}</td>' for one in cells)}</tr>"


def _listen(evaluation: Evaluation, summary: Summary) -> Iterator[str]:
    """What a script makes players of: `[[domain, name, id], …]`, and the folders of points."""
    there = {line.point.name for line in summary.lines}
    points = [point.name for point in evaluation.systems if point.name in there]
    data = {
        "audio": AUDIO,
        "folders": [REFERENCE, *points],
        "excerpts": [[one.domain, one.name, one.id] for one in evaluation.excerpts],
    }
    text = json.dumps(data, ensure_ascii=True).replace("<", "\\u003c")
    yield '<h2>Listen</h2><div id="listen"><p>Players need scripts; the files lie in audio/.</p>'
    yield f'</div><script type="application/json" id="data">{text}</script>'
