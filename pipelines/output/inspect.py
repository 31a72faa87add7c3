"""What is in an output folder: totals over committed records, failures by kind, and how the
codebooks are used."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pipelines.output.manifest.commits import Failure, Manifest
from pipelines.output.manifest.edits import described, history
from pipelines.output.manifest.generations import Generation
from pipelines.output.manifest.records import NO_ERRORS
from pipelines.output.manifest.since import changes_since
from pipelines.output.manifest.sums import Failures, Sums
from pipelines.output.quality.figures import Spread, quality_table, scale_spread, spreads
from pipelines.output.storage import open_storage
from pipelines.output.stored_run import StoredRun
from pipelines.system.words import fixed, format_duration, format_hours, many, printable
from tokenizer.codecs.codebooks.words import describe_codebooks
from tokenizer.codecs.precision import PrecisionReport
from tokenizer.errors import FailureKind


@dataclass(frozen=True, slots=True)
class CodebookUse:
    """How one level of the quantizer is used over the whole output."""

    level: int
    """from 0"""
    perplexity: float
    """2 to the entropy of the codes: how many codes it is as if it used evenly"""
    used: float
    """share of the codebook that occurs at all, 0 to 1"""
    entropy_bits: float
    """per code, of at most 10"""


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything that `codecshards inspect` says."""

    out: str
    stored: StoredRun
    """configuration, codec and version, as written down by the first run"""
    shards_planned: int
    shards: int
    recordings_planned: int
    recordings: int
    hours: float
    frames: int
    chunks: int
    bytes: int
    bits_per_code: float | None
    """file size over codes, everything in the files included"""
    failures: Sequence[Failure]
    failure_kinds: Mapping[str, int]
    flags: Mapping[str, int]
    timings: Mapping[str, float] = field(default_factory=dict)
    """summed seconds of the processes that wrote shards"""
    codebooks: tuple[CodebookUse, ...] = ()
    precision: PrecisionReport | None = None
    """how a sample of "fast" codes compares with exact ones; None for exact codes"""
    audit: Mapping[str, Any] | None = None
    """of the last audit: when it finished, whether it passed, how many recordings, its figures and
    findings; None without one"""

    notes: tuple[str, ...] = ()
    """what the source held that was not used, a line for each kind"""
    scales: Spread | None = None
    """how the scales of all chunks are spread, which are each the RMS that its samples were divided
    by; None for codecs without, and where no record says"""
    quality: Mapping[str, Spread | None] = field(default_factory=dict)
    """how each column of quality is spread; None where it has no value"""
    generations: tuple[Generation, ...] = ()
    """what was planned after the first run"""
    edits: tuple[Mapping[str, Any], ...] = ()
    """what was changed of its rows: `pipelines.output.manifest.edits.history`"""

    @property
    def filtered(self) -> int:
        """Recordings among the failures that `--keep` left out, which are none."""
        return self.failure_kinds.get(FailureKind.FILTERED, 0)

    @property
    def failed(self) -> int:
        return len(self.failures) - self.filtered - self.dropped

    @property
    def dropped(self) -> int:
        """Recordings among the failures that `edit --drop` took out, which are none either."""
        return self.failure_kinds.get(FailureKind.DROPPED, 0)

    @property
    def complete(self) -> bool:
        return self.shards == self.shards_planned

    def to_json(self) -> dict[str, Any]:
        """The same as one JSON object."""
        stored = self.stored.to_json()
        return {
            "out": self.out,
            "config": dict(sorted(stored["config"].items())),
            "codec": dict(sorted(stored["codec"].items())),
            "version": self.stored.version,
            "derived": stored.get("derived"),
            "complete": self.complete,
            "shards": {"planned": self.shards_planned, "committed": self.shards},
            "recordings": {
                "planned": self.recordings_planned,
                "tokenized": self.recordings,
                "failed": self.failed,
                "filtered": self.filtered,
                "dropped": self.dropped,
            },
            "hours": self.hours,
            "frames": self.frames,
            "chunks": self.chunks,
            "bytes": self.bytes,
            "bits_per_code": self.bits_per_code,
            "flags": dict(self.flags),
            "timings": dict(self.timings),
            "scales": None if self.scales is None else asdict(self.scales),
            "codebooks": [asdict(use) for use in self.codebooks],
            "precision": None if self.precision is None else self.precision.to_json(),
            "audit": None if self.audit is None else dict(self.audit),
            "notes": list(self.notes),
            "generations": [
                {
                    "number": one.number,
                    "kind": one.kind,
                    "shards": one.plan.shards,
                    "recordings": one.plan.recordings,
                }
                for one in self.generations
            ],
            "quality": {name: one and asdict(one) for name, one in self.quality.items()},
            "failure_kinds": dict(self.failure_kinds),
            "failures": [
                {
                    "id": failure.id,
                    "source_uri": failure.source_uri,
                    "kind": failure.kind,
                    "message": failure.message,
                    "stage": failure.stage,
                }
                for failure in self.failures
            ],
        }


def inspect(out: str) -> Summary:
    """Add up what is committed in an output folder.

    Raises:
        OutputError: not an output of `tokenize`.
        ShardError: a damaged commit record.
    """
    manifest = Manifest(open_storage(out))
    stored = manifest.require_config()
    plan = manifest.read_plans()
    sums = Sums()
    quality = spreads(map(sums.add, manifest.records()))
    codes = sums.frames * stored.codec.n_q
    return Summary(
        out=out,
        stored=stored,
        shards_planned=len(manifest.planned_names()),
        shards=sums.shards,
        recordings_planned=plan.count,
        recordings=sums.rows,
        hours=sums.num_samples / stored.codec.sample_rate / 3600,
        frames=sums.frames,
        chunks=sums.chunks,
        bytes=sums.bytes,
        bits_per_code=8 * sums.bytes / codes if codes else None,
        failures=Failures(manifest, sums.kinds.total()),
        failure_kinds=dict(sorted(sums.kinds.items())),
        flags=_rounded(sums.flags),
        timings=_rounded(sums.timings),
        codebooks=() if sums.counts is None else counted_use(sums.counts, stored.codec.sizes),
        precision=manifest.read_precision(),
        audit=last_audit(manifest),
        notes=plan.notes,
        scales=scale_spread(sums.scales),
        quality=quality,
        generations=manifest.generations()[1:],
        edits=tuple(history(manifest.storage)),
    )


def last_audit(manifest: Manifest) -> dict[str, Any] | None:
    """What `audit/report.json` says in short, and as `since` what has changed after it; None when
    there is none that can be read."""
    try:
        report = json.loads(manifest.storage.read("audit/report.json"))
        said = {
            name: report[name]
            for name in ("finished", "passed", "audited", "figures", "findings", "limits_missed")
        }
        since = changes_since(manifest, report["state"]) if "state" in report else ""
        return said | {"corpus_findings": report["corpus"]["findings"], "since": since}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def counted_use(counts: NDArray[np.int64], sizes: Sequence[int] = ()) -> tuple[CodebookUse, ...]:
    """How each level is used, from how often each code occurs: int64 `[n_q, codebook_size]`; only
    levels that occur. Those of other sizes than the largest have no more entries than `sizes`."""
    own = sizes if len(sizes) == len(counts) else [counts.shape[1]] * len(counts)
    return tuple(
        _use(level, of_level[:size])
        for level, (of_level, size) in enumerate(zip(counts, own, strict=True))
        if of_level.any()
    )


def _use(level: int, counts: NDArray[np.int64]) -> CodebookUse:
    shares = counts[counts > 0] / counts.sum()
    entropy = max(0.0, -float((shares * np.log2(shares)).sum()))  # of a single code: not minus zero
    return CodebookUse(
        level, round(2**entropy, 2), round(float((counts > 0).mean()), 4), round(entropy, 3)
    )


def _rounded(total: Mapping[str, float]) -> dict[str, Any]:
    return {name: round(value, 3) for name, value in sorted(total.items())}


def _told(failure: Failure) -> str:
    """A failure in one line, with its id but where that ends the path that is named anyway: an id
    such as 7 stands in many a message."""
    place = failure.source_uri
    named = place.endswith(failure.id) and place in failure.message
    words = failure.message if named else f"{failure.id}: {failure.message}"
    line = f"  {failure.kind} ({failure.stage})  {words}"
    return line.replace("\n", "\\n").replace("\t", "\\t")


class _Console(Console):
    """Leaves it to the command line what to do when the reader has gone."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def render(summary: Summary, *, failures: bool = False, console: Console | None = None) -> None:
    """Print a summary for people; `failures` lists every one of them."""
    console = console or _Console(highlight=False, soft_wrap=True)
    console.print(printable(summary.out), style="bold", markup=False)
    for name, value in _facts(summary):
        console.print(printable(f"  {name:<12} {value}"), markup=False)
    if summary.codebooks:
        console.print(_codebook_table(summary))
    if summary.quality:
        console.print(quality_table(summary.quality))
    if failures:
        for failure in summary.failures:
            console.print(printable(_told(failure)), markup=False)
    elif summary.failures:
        kinds = [name for name in ("failed", "filtered", "dropped") if getattr(summary, name)]
        console.print(f"  --failures lists the {' and '.join(kinds)} recordings", markup=False)


def _facts(summary: Summary) -> list[tuple[str, str]]:
    codec, config = summary.stored.codec, summary.stored.config
    state = "complete" if summary.complete else "unfinished: run the same command again to go on"
    facts = [
        *[("source", each) for each in config.named_sources()],
        *[("made", each) for each in summary.stored.made],
        (
            "codec",
            f"{codec.codec}, {codec.bandwidth:.4g} kbps, {describe_codebooks(codec)}",
        ),
        ("weights", codec.weights_sha256[:16]),
        ("shards", f"{summary.shards} of {summary.shards_planned} {config.format} ({state})"),
        *_grown(summary),
        *[("edit", described(one)) for one in summary.edits],
        ("recordings", f"{summary.recordings} of {summary.recordings_planned}{_failed(summary)}"),
        (
            "audio",
            f"{format_hours(summary.hours * 3600)}, {summary.frames} frames in {summary.chunks} "
            "chunks",
        ),
        (
            "size",
            f"{summary.bytes / 1e6:.2f} MB"
            + (f", {summary.bits_per_code:.2f} bits a code" if summary.bits_per_code else ""),
        ),
    ]
    if summary.scales is not None:
        low, median, high = summary.scales.words()
        facts.append(("scales", f"RMS of a chunk: median {median}, from {low} to {high}"))
    wall = summary.timings.get("wall", 0.0)
    if wall:
        facts.append(("time", _time_line(summary.timings)))
    if codec.precision != "exact":
        facts.append(
            (
                "precision",
                codec.precision
                + (f": {summary.precision.describe()}" if summary.precision else ""),
            )
        )
    if summary.flags:
        facts.append(
            ("flags", ", ".join(f"{name} {count}" for name, count in summary.flags.items()))
        )
    facts += _not_there(summary)
    facts += [("note", note) for note in summary.notes]
    if summary.audit is not None:
        facts.append(("audit", _audit_line(summary.audit)))
    return facts


def _grown(summary: Summary) -> Iterator[tuple[str, str]]:
    """What came after the first run."""
    if summary.generations:
        yield (
            "generations",
            ", ".join(
                f"{one.kind} {many(one.plan.recordings, 'recording')} in "
                f"{many(one.plan.shards, 'shard')}"
                for one in summary.generations
            ),
        )


def _not_there(summary: Summary) -> Iterator[tuple[str, str]]:
    """Recordings that are no rows: those that failed by kind, those that were not wanted."""
    kinds = [
        f"{kind} {count}" for kind, count in summary.failure_kinds.items() if kind not in NO_ERRORS
    ]
    if kinds:
        yield "failures", ", ".join(kinds)
    if summary.filtered:
        yield "filtered", f"{summary.filtered} by --keep {summary.stored.config.keep!r}"
    if summary.dropped:
        yield "dropped", f"{summary.dropped} by edit"


def _failed(summary: Summary) -> str:
    failed = f", {summary.failed} failed" if summary.failed else ""
    failed += f", {summary.filtered} filtered" if summary.filtered else ""
    return failed + (f", {summary.dropped} dropped" if summary.dropped else "")


def _time_line(timings: Mapping[str, float]) -> str:
    """Where the time went. Decoding and encoding go on beside the processes that write, so they are
    no shares of their time."""
    seconds = Counter(timings)
    share = {
        name: seconds[name] / seconds["wall"] for name in ("decode_wait", "encode_wait", "write")
    }
    return (
        f"{format_duration(seconds['wall'])} of work: waiting for decode "
        f"{share['decode_wait']:.0%}, "
        f"for encode {share['encode_wait']:.0%}, writing {share['write']:.0%}; "
        f"decoders busy {format_duration(seconds['decode'])}, encoders "
        f"{format_duration(seconds['encode'])}"
    )


def _audit_line(audit: Mapping[str, Any]) -> str:
    state = "passed" if audit["passed"] else "FAILED"
    parts = [f"{state} on {audit['finished'][:10]}, {audit['audited']['recordings']} recordings"]
    parts += [
        f"{name} {fixed(spread['mean'], 2)} {spread['unit']}".strip()
        for name, spread in audit["figures"].items()
        if "mean" in spread
    ]
    if audit["since"]:
        parts.insert(1, f"OUT was {audit['since']}")
    parts += [f"{found['name']} {found['recordings']}" for found in audit["findings"]]
    return ", ".join([*parts, *(found["name"] for found in audit["corpus_findings"])])


def _codebook_table(summary: Summary) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for heading in ("  codebook", "perplexity", "used", "bits"):
        table.add_column(heading, justify="right")
    for use in summary.codebooks:
        table.add_row(
            str(use.level), f"{use.perplexity:.1f}", f"{use.used:.1%}", f"{use.entropy_bits:.2f}"
        )
    return table
