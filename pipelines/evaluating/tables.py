"""The table for people and for programs: Markdown, JSON, Parquet."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.evaluating.folder import Evaluation
from pipelines.evaluating.measuring import MEASURED, NOT_SPEECH
from pipelines.evaluating.summary import Estimate, Line, Summary, as_json
from pipelines.evaluating.work import Row
from pipelines.system.words import encodable, many, printable

_NEAREST = re.compile(r"(.+) comes to ([\d.]+) kbps at the nearest")
NO_CODER = "none ships for these codecs"
INTERVAL = (
    "Means with 95% intervals of a bootstrap over recordings, medians in brackets; speed in times "
    "real time on one core (of a codec on a GPU: of that)."
)


def markdown(evaluation: Evaluation, summary: Summary, metrics: Sequence[str]) -> str:
    """table.md."""
    lines = ["# Evaluation", "", *_head(evaluation), ""]
    for domain in dict.fromkeys(line.domain for line in summary.lines):
        own = [line for line in summary.lines if line.domain == domain]
        shown = [name for name in metrics if any(name in line.figures for line in own)]
        lines += [f"## {domain}", "", *_table(own, shown), ""]
    lines += [f"- {note}" for note in notes(evaluation, summary, metrics)]
    return printable("\n".join(lines).rstrip() + "\n")


def _head(evaluation: Evaluation) -> Iterator[str]:
    counts: dict[str, list[str]] = {}
    for excerpt in evaluation.excerpts:
        counts.setdefault(excerpt.domain, []).append(excerpt.id)
    command = evaluation.facts.get("command")
    if command:
        yield f"`{command}`"
        yield ""
    said = [
        f"{domain}: {many(len(ids), 'excerpt')} of {many(len(set(ids)), 'recording')}"
        for domain, ids in counts.items()
    ]
    seconds = sum(excerpt.seconds for excerpt in evaluation.excerpts)
    yield f"{'; '.join(said)}; {seconds:.0f} s, seed {evaluation.seed}. {INTERVAL}"


def _table(lines: Sequence[Line], metrics: Sequence[str]) -> Iterator[str]:
    titles = ["system", "kbps asked", "measured"]
    coded = any(line.entropy_kbps is not None for line in lines)
    if coded:
        titles.append("entropy coded")
    for name in metrics:
        unit = MEASURED[name].unit
        titles.append(f"{MEASURED[name].title}{f', {unit}' if unit else ''}")
    titles += ["encode, × real time", "decode", "n"]  # noqa: RUF001
    yield f"| {' | '.join(titles)} |"
    yield f"|{'---|' * len(titles)}"
    for line in lines:
        cells = [line.point.system, f"{line.point.kbps:g}", f"{line.measured_kbps:.2f}"]
        if coded:
            cells.append("" if line.entropy_kbps is None else f"{line.entropy_kbps:.2f}")
        cells += [cell(line.figures.get(name), MEASURED[name].digits) for name in metrics]
        cells += [f"{line.encode_speed:.0f}", f"{line.decode_speed:.0f}", str(line.excerpts)]
        yield f"| {' | '.join(cells)} |"


def cell(found: Estimate | None, digits: int) -> str:
    """`7.71 [7.20, 8.15] (7.60)`."""
    if found is None:
        return ""
    mean, low, high, median = (
        f"{value:z.{digits}f}" for value in (found.mean, found.low, found.high, found.median)
    )
    return f"{mean} [{low}, {high}] ({median})"


def _empty(lines: Sequence[Line], metrics: Sequence[str]) -> Iterator[str]:
    """Why columns are not there."""
    for name in metrics:
        if any(name in line.figures for line in lines):
            continue
        reasons = [line.reasons[name] for line in lines if name in line.reasons]
        said = next((reason for reason in reasons if reason != NOT_SPEECH), None)
        if reasons:
            yield f"{MEASURED[name].title} is left out: {said or 'no domain is speech (--speech)'}"


def notes(evaluation: Evaluation, summary: Summary, metrics: Sequence[str]) -> Iterator[str]:
    """What must be known beside the table."""
    yield from _empty(summary.lines, metrics)
    for name, words in evaluation.facts.get("systems", {}).items():
        yield f"{name}: {words}"
    for name, words in evaluation.facts.get("measured_by", {}).items():
        yield f"{MEASURED[name].title}: {words}"
    if all(line.entropy_kbps is None for line in summary.lines):
        yield f"entropy coder: {NO_CODER}"
    for name, own in summary.missing.items():
        reasons = _together(own)
        for reason, count in sorted(reasons.items(), key=lambda one: -one[1])[:3]:
            yield f"{name}: {many(count, 'excerpt')} without a result: {reason}"
        if len(reasons) > 3:
            rest = sum(sorted(reasons.values(), reverse=True)[3:])
            yield f"{name}: {many(rest, 'excerpt')} more without a result: rows.jsonl says why"
    if evaluation.passed_over:
        first = evaluation.passed_over[0]
        yield (
            f"{many(len(evaluation.passed_over), 'recording')} drawn and passed over, listed in "
            f"evaluation.json; the first: {first['id']}: {first['reason']}"
        )


def _together(reasons: Mapping[str, int]) -> dict[str, int]:
    """Those that say the same with other figures as one: `Opus comes to 4.0 to 4.8 kbps …`."""
    found: dict[str, int] = {}
    nearest: dict[str, list[float]] = {}
    for reason, count in reasons.items():
        match = _NEAREST.fullmatch(reason)
        said = reason if match is None else match[1]
        found[said] = found.get(said, 0) + count
        if match is not None:
            nearest.setdefault(said, []).append(float(match[2]))
    named = {
        said: f"{said} comes to {_range(values)} kbps at the nearest"
        for said, values in nearest.items()
    }
    return {named.get(said, said): count for said, count in found.items()}


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.1f}" if low == high else f"{low:.1f} to {high:.1f}"


def results(evaluation: Evaluation, summary: Summary, metrics: Sequence[str]) -> bytes:
    """results.json."""
    values = {
        "format": 1,
        "seed": evaluation.seed,
        "measures": {
            name: {
                "title": MEASURED[name].title,
                "unit": MEASURED[name].unit,
                "better": MEASURED[name].better,
                "speech": MEASURED[name].speech,
            }
            for name in metrics
        },
        "table": [as_json(line) for line in summary.lines],
        "missing": summary.missing,
        "facts": evaluation.facts,
    }
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def parquet(
    evaluation: Evaluation, rows: Mapping[tuple[str, str], Row], metrics: Sequence[str]
) -> bytes:
    """results.parquet: a row an excerpt and point, also of those that did not go through."""
    found: list[dict[str, Any]] = []
    for excerpt in evaluation.excerpts:
        for point in evaluation.systems:
            row = rows.get((excerpt.name, point.name))
            if row is None:
                continue
            found.append(
                {
                    "excerpt": excerpt.name,
                    "domain": encodable(excerpt.domain),
                    "id": encodable(excerpt.id),
                    "start": excerpt.start,
                    "seconds": excerpt.seconds,
                    "name": point.name,
                    "system": point.system,
                    "kbps": point.kbps,
                    "measured_kbps": row["bits"] / row["seconds"] / 1000 if "bits" in row else None,
                    "missing": row.get("missing"),
                    **{key: row.get(key) for key in _PLAIN},
                    **{name: row.get("figures", {}).get(name) for name in metrics},
                }
            )
    fields = [*_SCHEMA, *(pa.field(name, pa.float64()) for name in metrics)]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(found, pa.schema(fields)), file)
    return file.getvalue()


_PLAIN = {
    "bits": pa.int64(),
    "entropy_bits": pa.int64(),
    "encode_seconds": pa.float64(),
    "decode_seconds": pa.float64(),
    "setting": pa.string(),
}
_SCHEMA = (
    *(pa.field(name, pa.string()) for name in ("excerpt", "domain", "id")),
    *(pa.field(name, pa.float64()) for name in ("start", "seconds")),
    *(pa.field(name, pa.string()) for name in ("name", "system")),
    *(pa.field(name, pa.float64()) for name in ("kbps", "measured_kbps")),
    pa.field("missing", pa.string()),
    *(pa.field(name, kind) for name, kind in _PLAIN.items()),
)
