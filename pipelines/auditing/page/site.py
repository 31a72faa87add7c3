"""The page's files, written beside the media: static, no network, opened from a file or any web
server.

A page opened from a file may not fetch its data, so the data is a script that sets `window.AUDIT`.
What is long, the measures over time and the waveforms, it holds only for the recordings that can be
heard, so that a page over 10,000 opens at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any

from pipelines.auditing.judge.registry import FINDINGS
from pipelines.auditing.measure.registry import JUDGED_BY, MEASURES, Measure
from pipelines.auditing.places import AUDIT
from pipelines.auditing.results import (
    RecordingAudit,
    Severity,
    common_findings,
)
from pipelines.output.storage import Storage

PAGE = ("index.html", "style.css", "common.js", "plots.js", "player.js", "detail.js", "page.js")
DATA = "data.js"
POINTS = 600
"""of a measure over time: a screen shows no more"""
TEXT_HEARD, TEXT_LISTED = 50_000, 500
"""characters of a transcript that the page has, of a recording that can be heard and of another"""
FIRST = 3
"""recordings that the page says to listen to first"""


def write_site(
    storage: Storage, report: Mapping[str, Any], recordings: Sequence[RecordingAudit]
) -> None:
    """Write the page to `OUT/audit`; index.html comes last."""
    heard = [recording.id for recording in worst_first(recordings) if recording.page is not None]
    data = {
        **report,
        "recordings": [_row(recording) for recording in recordings],
        "listen_first": heard[:FIRST],
        "measures": {name: _described(row) for name, row in MEASURES.items()},
        "judged_by": JUDGED_BY,
        "meanings": {name: row.help for name, row in FINDINGS.items()},
    }
    storage.write(f"{AUDIT}/{DATA}", script("AUDIT", data))
    for name in reversed(PAGE):
        storage.write(
            f"{AUDIT}/{name}",
            files("pipelines.auditing.page").joinpath("assets", name).read_bytes(),
        )


def worst_first(recordings: Iterable[RecordingAudit]) -> list[RecordingAudit]:
    """Those with errors, those with warnings, the others, each by spectral distance; what could not
    be compared comes last.

    A warning that most recordings share puts none of them before the others.
    """
    recordings = list(recordings)
    common = common_findings(recordings)

    def key(recording: RecordingAudit) -> tuple[bool, int, int, float]:
        own = [
            f for f in recording.findings if f.severity is Severity.ERROR or f.name not in common
        ]
        severity = min(
            (list(Severity).index(finding.severity) for finding in own), default=len(Severity)
        )
        known = {
            name: figure.value
            for name, figure in recording.figures.items()
            if figure.value is not None
        }
        rank, metric = next(
            ((i, name) for i, name in enumerate((JUDGED_BY[-1], *MEASURES)) if name in known),
            (len(MEASURES) + 1, None),
        )
        return (
            not recording.figures,
            severity,
            rank,
            -MEASURES[metric].badness(known[metric]) if metric else 0.0,
        )

    return sorted(recordings, key=key)


def _row(recording: RecordingAudit) -> dict[str, Any]:
    values = replace(recording, series={}).to_json()
    values["figures"] = {name: figure.value for name, figure in recording.figures.items()}
    values["reasons"] = {
        name: figure.reason
        for name, figure in recording.figures.items()
        if figure.reason is not None
    }
    every = -(-max(map(len, recording.series.values()), default=0) // POINTS) or 1
    series = recording.series if recording.page is not None else {}
    values["series"] = {
        metric: thinned(metric, numbers, every) for metric, numbers in series.items()
    }
    values["series_step"] = every
    most = TEXT_HEARD if recording.page is not None else TEXT_LISTED
    if recording.text is not None and len(recording.text) > most:
        values["text"], values["text_cut"] = recording.text[:most], len(recording.text)
    return values


def thinned(metric: str, values: Sequence[float | None], every: int) -> list[float | None]:
    """The worst of each `every` values; None where there is none."""
    groups = [
        [v for v in values[at : at + every] if v is not None] for at in range(0, len(values), every)
    ]
    return [max(group, key=MEASURES[metric].badness, default=None) for group in groups]


def _described(row: Measure) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("title", "unit", "better", "help", "window")}


def script(name: str, value: Any) -> bytes:
    """A JSON value as a script that sets `window.NAME`, safe inside HTML too."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    return f"window.{name} = {text};\n".encode()


def media(page: Mapping[str, Any] | None) -> Iterator[str]:
    """The files of one recording, relative to the page."""
    if page is not None:
        yield from (version["file"] for version in page["versions"])
        yield from page["images"].values()
