"""The whole evaluation: excerpts, systems, rows, table."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipelines.corpus.sources import open_source
from pipelines.evaluating import folder as places
from pipelines.evaluating.excerpts import Excerpts, draw
from pipelines.evaluating.folder import (
    Evaluation,
    Excerpt,
    Ledger,
    Point,
    audio_path,
    open_folder,
    read_audio_file,
    read_evaluation,
    write_evaluation,
    write_file,
)
from pipelines.evaluating.measuring import MEASURED, by_what, missing
from pipelines.evaluating.options import EvaluateOptions
from pipelines.evaluating.page import page
from pipelines.evaluating.summary import Summary, measured, summarise
from pipelines.evaluating.systems.base import System
from pipelines.evaluating.systems.codec import CodecSystem
from pipelines.evaluating.systems.registry import open_systems
from pipelines.evaluating.tables import markdown, parquet, results
from pipelines.evaluating.work import Evaluator, Row, Settings, Task, fingerprint
from pipelines.system.places import local_path, places_named
from pipelines.system.words import format_duration, many
from pipelines.tokenizing.progress import Display, open_display
from tokenizer.errors import CodecshardsError, OutputError, UsageError

DEFAULT_RATE = 48_000
"""where there is no codec whose rate would be taken"""
_SAID_EVERY = 5.0
"""seconds"""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An evaluation that was done."""

    folder: Path
    evaluation: Evaluation
    summary: Summary
    table: str
    """in Markdown"""
    failures: Mapping[str, str] = field(default_factory=dict)
    """excerpts that ended their process, and how; another run tries them again"""


def evaluate(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    options: EvaluateOptions | None = None,
    command: str | None = None,
    **asked: Any,
) -> Evaluated:
    """Draw excerpts of a corpus, have codecs and baselines encode and decode them, and measure.

    A run that was interrupted goes on when the same is asked for again; more systems, bandwidths
    and measures are added to what is there.

    Args:
        source: a corpus, or several, as `tokenize` takes it.
        options: everything else at once.
        command: that this came from, for the table.
        asked: fields of `EvaluateOptions` by name; they win over those of `options`.

    Raises:
        UsageError: a codec, a baseline, a measure or a domain that there is not.
        SourceError: the corpus cannot be listed.
        OutputError: the folder cannot be written, or holds excerpts that were drawn otherwise.
    """
    known = [one.name for one in fields(EvaluateOptions)]
    for name in asked:
        if name not in known:
            raise UsageError(f"evaluate has no option {name!r}: choose from {', '.join(known)}")
    options = replace(options or EvaluateOptions(), **asked)
    specs = places_named(source)
    with open_display(options.quiet) as display:
        return _Run(specs, options, display, command).work()


class _Run:
    def __init__(
        self,
        source: Sequence[str],
        options: EvaluateOptions,
        display: Display,
        command: str | None,
    ) -> None:
        options.compute.require_here()
        self._source, self._options, self._display = source, options, display
        self._command = command
        self._codecs, others = open_systems(options.codec, options.against, options.device)
        self._systems: dict[str, System] = {one.name: one for one in (*self._codecs, *others)}
        self._folder = open_folder(options.report).resolve()
        self._ledger = Ledger(self._folder)
        self._points = tuple(self._all_points())
        self._settings = Settings(
            self._folder, self._systems, tuple(options.metrics), tuple(options.speech)
        )
        self._rows: dict[tuple[str, str], Row] = {}
        self._failures: dict[str, str] = {}
        self._began = self._said = time.monotonic()
        self._done = 0

    def work(self) -> Evaluated:
        for name, reason in missing(self._options.metrics).items():
            self._display.message(f"{MEASURED[name].title} is left out: {reason}")
        evaluation = self._with_excerpts()
        tasks = self._tasks(evaluation)
        if tasks:
            self._compute(tasks)
        return self._publish(evaluation)

    def _all_points(self) -> list[Point]:
        """Every system at every bandwidth. What a codec does not offer is no point of it; one that
        offers none is taken as it is by default."""
        found = []
        for name, system in self._systems.items():
            kbps: Sequence[float] = self._options.kbps
            if isinstance(system, CodecSystem):
                offered = [one for one in kbps if system.offers(one)]
                for one in kbps if offered else ():
                    if one not in offered:
                        self._display.message(f"{name} has no bandwidth {one:g}")
                kbps = offered or (system.kbps,)
            found += [Point(f"{name}-{one:g}", name, one) for one in kbps]
        return found

    def _with_excerpts(self) -> Evaluation:
        """The excerpts that are there, or new ones.

        Raises:
            OutputError: those that are there were drawn by other options, or are damaged.
        """
        drawn = self._drawn()
        if not (self._folder / places.EVALUATION).exists():
            return self._draw(drawn)
        there = read_evaluation(self._folder)
        for name, value in drawn.items():
            if there.drawn.get(name) != value:
                raise OutputError(
                    f"--report {self._options.report}: holds excerpts of another evaluation "
                    f"({name} {there.drawn.get(name)}, not {value}): give another folder"
                )
        for excerpt in there.excerpts:
            path = audio_path(self._folder, places.REFERENCE, excerpt.name)
            if not path.is_file():
                raise self._without(excerpt, "has gone")
            try:
                read_audio_file(path)
            except OutputError as error:
                raise self._without(excerpt, "is damaged") from error
        return there

    def _without(self, excerpt: Excerpt, what: str) -> OutputError:
        return OutputError(
            f"{self._options.report}: the reference {excerpt.name} {what}; give another folder, or "
            "remove this one and begin anew"
        )

    def _drawn(self) -> dict[str, Any]:
        """What decides which excerpts there are."""
        options = self._options
        return {
            "source": [local_path(one) for one in self._source],
            "seed": options.seed,
            "excerpts": options.excerpts,
            "seconds": options.seconds,
            "domain_column": options.domain_column,
            "domains": sorted(options.domains),
        }

    def _draw(self, drawn: Mapping[str, Any]) -> Evaluation:
        source = open_source(self._source)
        by_domain = draw(source.scan(), self._options)
        for note in source.notes:
            self._display.message(note)
        rate = max((one.spec.sample_rate for one in self._codecs), default=DEFAULT_RATE)
        found: list[Excerpt] = []
        with closing(Excerpts(source, self._folder, rate, self._options)) as excerpts:
            for domain, recordings in by_domain.items():
                before = len(found)
                for excerpt in excerpts.write(domain, recordings):
                    found.append(excerpt)
                    self._say(f"{domain}: {len(found) - before} excerpts so far")
                self._display.message(f"{domain}: {many(len(found) - before, 'excerpt')}")
            passed_over = tuple(excerpts.passed_over)
        if not found:
            reason = f": {passed_over[0]['id']}: {passed_over[0]['reason']}" if passed_over else ""
            raise UsageError(f"no recording has an excerpt to give{reason}")
        evaluation = Evaluation(
            self._options.seed, tuple(found), self._points, drawn, passed_over, self._facts()
        )
        write_evaluation(self._folder, evaluation)
        return evaluation

    def _with_earlier(self, evaluation: Evaluation) -> tuple[Point, ...]:
        """The points of this run, and those of earlier ones with their last rows."""
        own = {point.name for point in self._points}
        earlier = [point for point in evaluation.systems if point.name not in own]
        names = {point.name for point in earlier}
        excerpts = {excerpt.name for excerpt in evaluation.excerpts}
        for row in self._ledger.rows():
            if row.get("system") in names and row.get("excerpt") in excerpts:
                self._rows[row["excerpt"], row["system"]] = row
        return (*self._points, *earlier)

    def _facts(self, earlier: Mapping[str, Any] | None = None) -> dict[str, Any]:
        systems = dict((earlier or {}).get("systems", {}))
        return {
            "version": version("codecshards"),
            "command": self._command,
            "systems": systems | {name: system.words for name, system in self._systems.items()},
            "measured_by": by_what(self._options.metrics),
        }

    def _tasks(self, evaluation: Evaluation) -> list[Task]:
        """What is not there yet, an excerpt at a time."""
        named = {excerpt.name: excerpt for excerpt in evaluation.excerpts}
        points = {point.name: point for point in self._points}
        for row in self._ledger.rows():
            excerpt, point = named.get(row.get("excerpt", "")), points.get(row.get("system", ""))
            if excerpt is None or point is None:
                continue
            own = fingerprint(self._systems[point.system], point, self._settings, excerpt)
            path = audio_path(self._folder, point.name, excerpt.name)
            if row.get("of") == own and ("missing" in row or path.is_file()):
                self._rows[excerpt.name, point.name] = row
        tasks = []
        for excerpt in evaluation.excerpts:
            left = tuple(p for p in self._points if (excerpt.name, p.name) not in self._rows)
            if left:
                tasks.append(Task(excerpt, left))
        return tasks

    def _compute(self, tasks: Sequence[Task]) -> None:
        options = self._options
        self._display.message(
            f"{many(len(tasks), 'excerpt')} to go through {many(len(self._points), 'setting')} of "
            f"{many(len(self._systems), 'system')}"
        )
        self._began = time.monotonic()

        def finished(task: Task, rows: list[Row]) -> None:
            self._ledger.add(rows)
            for row in rows:
                self._rows[row["excerpt"], row["system"]] = row
            self._done += 1
            self._say(self._progress(len(tasks)))

        def failed(task: Task, reason: str) -> None:
            self._done += 1
            self._failures[task.excerpt.name] = reason
            self._display.message(f"{task.excerpt.id}: {reason}")

        if options.compute.on_ray:
            from pipelines.evaluating.on_cluster import evaluate_on_cluster

            evaluate_on_cluster(
                self._settings, tasks, options.compute, finished, failed, self._display
            )
            return
        evaluator = Evaluator(self._settings)
        evaluator.load()
        for task in tasks:
            try:
                rows = evaluator.run(task)
            except (CodecshardsError, MemoryError):
                raise
            except Exception as error:
                said = f"{type(error).__name__}: {error}"
                failed(task, f"{said} (a fault in codecshards: please report it)")
            else:
                finished(task, rows)

    def _progress(self, tasks: int) -> str:
        gone = time.monotonic() - self._began
        left = gone / self._done * (tasks - self._done)
        eta = f", ETA {format_duration(left)}" if self._done < tasks else ""
        return f"{self._done} of {many(tasks, 'excerpt')}{eta}"

    def _say(self, text: str) -> None:
        if time.monotonic() - self._said >= _SAID_EVERY:
            self._said = time.monotonic()
            self._display.message(text)

    def _publish(self, evaluation: Evaluation) -> Evaluated:
        """Write everything; evaluation.json comes last."""
        metrics = self._options.metrics
        points = self._with_earlier(evaluation)
        summary = summarise(evaluation.excerpts, points, self._rows, metrics, self._options.seed)
        evaluation = replace(
            evaluation, systems=measured(points, summary), facts=self._facts(evaluation.facts)
        )
        table = markdown(evaluation, summary, metrics)
        files = {
            places.TABLE: table.encode("utf-8", "backslashreplace"),
            places.RESULTS: results(evaluation, summary, metrics),
            places.PARQUET: parquet(evaluation, self._rows, metrics),
            places.PAGE: page(evaluation, summary, metrics).encode("utf-8", "backslashreplace"),
        }
        for name, data in files.items():
            write_file(self._folder / name, data)
        write_evaluation(self._folder, evaluation)
        return Evaluated(self._folder, evaluation, summary, table, self._failures)
