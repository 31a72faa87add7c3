"""`mushra analyse`: read, screen, sum up, write `TEST/analysis`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.evaluating.folder import write_file
from pipelines.listening.analysing import ratings, report
from pipelines.listening.analysing.ratings import Collected, collect
from pipelines.listening.analysing.screening import Verdict, screen_raters
from pipelines.listening.analysing.summary import Few, Line, Pair, few_of, lines_of, pairs_of
from pipelines.listening.folder import (
    ANALYSIS,
    Design,
    local_folder,
    read_design,
    write_json,
)
from pipelines.listening.options import AnalyseOptions
from pipelines.system.words import encodable
from tokenizer.errors import UsageError

_SCHEMA = pa.schema(
    [
        ("rater", pa.string()),
        ("kept", pa.bool_()),
        ("screen", pa.string()),
        ("excerpt", pa.string()),
        ("domain", pa.string()),
        ("name", pa.string()),
        ("system", pa.string()),
        ("kbps", pa.float64()),
        ("measured_kbps", pa.float64()),
        ("score", pa.int64()),
        ("comment", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Analysis:
    """What a test has shown."""

    design: Design
    options: AnalyseOptions
    verdicts: list[Verdict]
    lines: list[Line]
    pairs: list[Pair]
    few: list[Few]
    collected: Collected
    """all raters, and what could not be read"""

    @property
    def table(self) -> str:
        """Markdown."""
        return report.markdown(self)


def analyse(test: str, given: Sequence[str], options: AnalyseOptions) -> Analysis:
    """Analyse a test's ratings.

    Raises:
        UsageError: there is no test or no rating, or screening has left no rater.
        OutputError: the analysis cannot be written.
    """
    folder = local_folder(test, "a test")
    design = read_design(folder)
    collected = collect(folder, design, given)
    verdicts = screen_raters(collected.raters, design, options)
    kept = {verdict.rater for verdict in verdicts if verdict.kept}
    rows = list(ratings.rows(collected.raters, design))
    heard = [row for row in rows if row["rater"] in kept]
    done = Analysis(
        design,
        options,
        verdicts,
        lines_of(heard),
        pairs_of(heard),
        few_of(heard, design, options.least_ratings),
        collected,
    )
    out = folder / ANALYSIS
    table = pa.Table.from_pylist([_stored(row, row["rater"] in kept) for row in rows], _SCHEMA)
    file = BytesIO()
    pq.write_table(table, file)
    write_file(out / "ratings.parquet", file.getvalue())
    write_json(out / "analysis.json", _json(done))
    write_file(out / "table.md", done.table.encode("utf-8", "backslashreplace"))
    write_file(out / "index.html", report.page(done).encode("utf-8", "backslashreplace"))
    if not kept:
        first = next(verdict for verdict in verdicts)
        raise UsageError(
            f"{test}: screening has removed every rater ({len(verdicts)}); the first, "
            f"{first.rater}: {'; '.join(first.why)}"
        )
    return done


def _stored(row: Mapping[str, Any], kept: bool) -> dict[str, Any]:
    return {
        **row,
        "kept": kept,
        "rater": encodable(row["rater"]),
        "comment": encodable(row["comment"]),
    }


def _json(done: Analysis) -> dict[str, object]:
    return {
        "format": 1,
        "test": done.design.id,
        "options": asdict(done.options),
        "raters": [{**asdict(one), "kept": one.kept} for one in done.verdicts],
        "systems": [asdict(line) for line in done.lines],
        "pairs": [asdict(pair) for pair in done.pairs],
        "few_ratings": [asdict(one) for one in done.few],
        "problems": done.collected.problems,
        "twice": done.collected.twice,
        "levels": done.design.facts.get("levels"),
    }
