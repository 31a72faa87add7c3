"""The audit as a whole: report.json, a Parquet table, and what the terminal says."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.auditing.choose.survey import BIN_DB, Entry, columns_of
from pipelines.auditing.judge.limits import LimitMissed
from pipelines.auditing.measure.registry import MEASURES
from pipelines.auditing.results import (
    Finding,
    RecordingAudit,
    Severity,
    common_findings,
)
from pipelines.system.words import encodable, fixed, format_hours, many, printable

SCHEMA_VERSION = 1
PIPE_WIDTH = 160
"""columns where there is no terminal to ask"""


@dataclass(frozen=True, slots=True)
class Corpus:
    """What the survey of the whole corpus showed."""

    recordings: int
    seconds: float
    shards: int
    surveyed: int
    """shards that were looked at: fewer where --ids were asked for; scales, hours, duplicates and
    codebooks are of these"""
    findings: tuple[Finding, ...]
    codebooks: tuple[Mapping[str, Any], ...]
    """perplexity and use per level: `pipelines.output.inspect.CodebookUse` as dicts"""
    scales: Mapping[str, Any]
    """histogram of chunk scales in dB: `edges` and `counts`; `silent` counts the chunks below all
    of it"""
    source_hours: Mapping[str, float]
    """hours by source rate in Hz"""
    duplicates: int


def summarise(
    corpus: Corpus,
    recordings: Sequence[RecordingAudit],
    missed: Sequence[LimitMissed],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """The report as one JSON value.

    Args:
        corpus: the survey.
        recordings: every audited recording.
        missed: limits that were not kept.
        facts: what the caller knows: versions, times, options, codec.
    """
    findings = [finding for recording in recordings for finding in recording.findings]
    errors = [f for f in (*corpus.findings, *findings) if f.severity is Severity.ERROR]
    return {
        "schema_version": SCHEMA_VERSION,
        **facts,
        "passed": not missed and not errors,
        "corpus": asdict(corpus),
        "audited": {
            "recordings": len(recordings),
            "compared": sum(recording.error is None for recording in recordings),
            "seconds": round(sum(recording.seconds for recording in recordings), 3),
        },
        "figures": {metric: _spread(metric, recordings) for metric in facts["options"]["metrics"]},
        "findings": _counted(findings, common_findings(recordings)),
        "second_readers": dict(
            Counter(r.second_reader for r in recordings if r.second_reader is not None)
        ),
        "limits_missed": [asdict(one) | {"message": one.describe()} for one in missed],
        "recordings": [_without_page(recording) for recording in recordings],
    }


def _without_page(recording: RecordingAudit) -> dict[str, Any]:
    values = recording.to_json()
    if values["page"] is not None:
        values["page"] = {name: value for name, value in values["page"].items() if name != "peaks"}
    return values


def _spread(metric: str, recordings: Sequence[RecordingAudit]) -> dict[str, Any]:
    row = MEASURES[metric]
    known = [
        (recording.figures[metric].value, recording.id)
        for recording in recordings
        if metric in recording.figures
    ]
    values = [(value, id) for value, id in known if value is not None]
    spread: dict[str, Any] = {
        "unit": row.unit,
        "note": row.note,
        "recordings": len(values),
        "not_applicable": len(known) - len(values),
    }
    if values:
        numbers = np.array([value for value, _ in values])
        worst = max(values, key=lambda pair: row.badness(pair[0]))
        spread |= {
            "mean": float(numbers.mean()),
            "median": float(np.median(numbers)),
            "worst": worst[0],
            "worst_id": worst[1],
        }
    return spread


def _counted(findings: Sequence[Finding], common: Collection[str]) -> list[dict[str, Any]]:
    counts = Counter((str(finding.severity), finding.name) for finding in findings)
    order = {severity.value: number for number, severity in enumerate(Severity)}
    return [
        {
            "name": name,
            "severity": severity,
            "recordings": count,
            "common": severity != Severity.ERROR and name in common,
        }
        for (severity, name), count in sorted(
            counts.items(), key=lambda item: (order[item[0][0]], -item[1], item[0][1])
        )
    ]


def scale_histogram(bins: Mapping[int, int], silent: int) -> dict[str, Any]:
    """Counts of scales in dB, in bins of 3 dB; those of silent chunks apart, 100 dB below all
    others."""
    if not bins:
        return {"edges": [], "counts": [], "silent": silent}
    spanned = range(min(bins), max(bins) + 1)
    edges = [float(BIN_DB * number) for number in (*spanned, max(bins) + 1)]
    return {"edges": edges, "counts": [bins.get(number, 0) for number in spanned], "silent": silent}


def hours_by_rate(entries: Sequence[Entry], sample_rate: int) -> dict[str, float]:
    """Hours of audio by the rate of the source."""
    samples = columns_of(entries).samples
    return {str(rate): samples[rate] / sample_rate / 3600 for rate in sorted(samples)}


def to_parquet(recordings: Sequence[RecordingAudit], metrics: Sequence[str]) -> bytes:
    """One row a recording, one column a measure and one for its series."""
    columns: dict[str, Any] = {
        name: pa.array([getattr(recording, name) for recording in recordings], kind)
        for name, kind in (
            ("id", pa.string()),
            ("shard", pa.string()),
            ("chosen", pa.string()),
            ("source_uri", pa.string()),
            ("seconds", pa.float64()),
            ("segment_seconds", pa.float64()),
            ("source_sample_rate", pa.int32()),
            ("source_channels", pa.int32()),
            ("source_seconds", pa.float64()),
            ("error", pa.string()),
        )
    }
    for name in ("text", "language", "speaker"):
        values = [getattr(recording, name) for recording in recordings]
        columns[name] = pa.array([v and encodable(v) for v in values], pa.string())
    columns["failed"] = pa.array([recording.failed for recording in recordings], pa.bool_())
    names = [[finding.name for finding in recording.findings] for recording in recordings]
    columns["findings"] = pa.array(names, pa.list_(pa.string()))
    columns["second_reader"] = pa.array(
        [recording.second_reader for recording in recordings], pa.string()
    )
    columns["equal_codes"] = pa.array([r.equal_codes for r in recordings], pa.list_(pa.float64()))
    for metric in metrics:
        name = metric.replace("-", "_")
        columns[name] = pa.array(
            [r.figures[metric].value if metric in r.figures else None for r in recordings],
            pa.float64(),
        )
        columns[f"{name}_series"] = pa.array(
            [r.series.get(metric) for r in recordings], pa.list_(pa.float64())
        )
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    return sink.getvalue()


def render(report: Mapping[str, Any], console: Console | None = None) -> None:
    """Print a report for people."""
    console = console or Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    corpus, audited = report["corpus"], report["audited"]
    console.print(
        f"{report['out']}: {'passed' if report['passed'] else 'FAILED'}", style="bold", markup=False
    )
    console.print(
        f"  {audited['compared']} of {corpus['recordings']} recordings compared with their "
        f"sources{_rest(audited)}, "
        f"{format_hours(audited['seconds'])} of {format_hours(corpus['seconds'])}",
        markup=False,
    )
    if report["recordings"]:
        console.print(_figure_table(report))
    for metric, spread in report["figures"].items():
        if spread["note"]:
            console.print(f"  {metric}: {spread['note']}", markup=False)
    if ways := report.get("second_readers"):
        said = ", ".join(f"{way} {count}" for way, count in ways.items())
        console.print(f"  sources read a second time, by another decoder: {said}", markup=False)
    for finding in corpus["findings"]:
        line = f"  {finding['severity']}: {finding['name']}: {finding['detail']}"
        console.print(printable(line), markup=False)
    for counted in report["findings"]:
        console.print(
            f"  {counted['severity']}: {counted['name']}: {_how_many(counted, audited)}",
            markup=False,
        )
        for line in _examples(
            report, counted["name"], 3 if counted["severity"] == Severity.ERROR else 1
        ):
            console.print(f"    {line}", markup=False)
    for missed in report["limits_missed"]:
        console.print(f"  limit missed: {printable(missed['message'])}", markup=False)
    if report["options"]["page"]:
        console.print(f"  listen: {report['out']}/audit/index.html", markup=False)


def _how_many(counted: Mapping[str, Any], audited: Mapping[str, Any]) -> str:
    shared = (
        f" of {audited['recordings']}, so of the corpus rather than of any of them"
        if counted["common"]
        else ""
    )
    return many(counted["recordings"], "recording") + shared


def _rest(audited: Mapping[str, Any]) -> str:
    left = audited["recordings"] - audited["compared"]
    return f" ({left} could not be)" if left else ""


def _examples(report: Mapping[str, Any], name: str, most: int) -> list[str]:
    lines = [
        f"{r['id']}: {f['detail']}"
        for r in report["recordings"]
        for f in r["findings"]
        if f["name"] == name
    ]
    return [printable(line) for line in lines[:most]]


def _figure_table(report: Mapping[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 2))
    for heading in (
        "measure",
        "mean",
        "median",
        "worst",
        "recordings",
        "not applicable",
        "worst recording",
    ):
        words = heading in ("measure", "worst recording")
        table.add_column(
            heading, justify="left" if words else "right", no_wrap=heading == "measure"
        )
    for metric, spread in report["figures"].items():
        unit = f" {spread['unit']}" if spread["unit"] else ""
        values = [
            fixed(spread[name], 3) if name in spread else "-"
            for name in ("mean", "median", "worst")
        ]
        counts = [str(spread["recordings"]), str(spread["not_applicable"])]
        table.add_row(
            f"{metric}{unit}", *values, *counts, escape(printable(spread.get("worst_id", "")))
        )
    return table
