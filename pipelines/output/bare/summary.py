"""What `codecshards inspect` says of shards without a manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines.output.bare.shards import bare_shards, counted_rows, planned
from pipelines.output.formats.parquet.unverified import UNKNOWN, one_spec
from pipelines.output.rows import Rows
from pipelines.output.storage import Storage
from pipelines.system.places import is_remote
from pipelines.system.words import format_hours, printable
from tokenizer.codecs.base import CodecSpec

_TOLD = ("text", "language", "speaker")


@dataclass(frozen=True, slots=True)
class BareSummary:
    """What shards say of themselves."""

    out: str
    format: str
    codec: CodecSpec
    shards: int
    shards_planned: int
    """as their names say"""
    recordings: int
    hours: float
    bytes: int
    splits: dict[str, int]
    """recordings of each"""
    columns: dict[str, int] = field(default_factory=dict)
    """recordings that have a text, a language, a speaker"""

    def to_json(self) -> dict[str, Any]:
        """As `Summary.to_json`, as far as it is known."""
        return {
            "out": self.out,
            "manifest": False,
            "format": self.format,
            "codec": dict(sorted(asdict(self.codec).items())),
            "complete": self.shards == self.shards_planned,
            "shards": {"planned": self.shards_planned, "committed": self.shards},
            "recordings": {"tokenized": self.recordings},
            "splits": self.splits,
            "columns": self.columns,
            "hours": self.hours,
            "bytes": self.bytes,
        }


def inspect_bare(storage: Storage, out: str) -> BareSummary:
    """Add up what shards without a manifest hold.

    Raises:
        UsageError: shards of several formats.
        ShardError: one that is damaged, or shards of several codecs.
    """
    shards = bare_shards(storage)
    counted = counted_rows(storage, shards)
    spec = one_spec([found for _, found in counted], [shard.file for shard in shards])
    splits: Counter[str] = Counter()
    for shard, (rows, _) in zip(shards, counted, strict=True):
        splits[shard.split] += rows
    told: Counter[str] = Counter()
    seconds = 0.0
    listed = Rows(out)
    there = [name for name in _TOLD if name in listed.columns()]
    for row in listed.rows([*there, "num_samples", "sample_rate"]):
        seconds += row["num_samples"] / row["sample_rate"]
        told.update(name for name in there if row[name] is not None)
    return BareSummary(
        out=out,
        format=shards[0].format,
        codec=spec,
        shards=len(shards),
        shards_planned=planned(shards),
        recordings=splits.total(),
        hours=seconds / 3600,
        bytes=sum(shard.size for shard in shards),
        splits=dict(splits),
        columns={name: told[name] for name in _TOLD},
    )


def render_bare(summary: BareSummary, console: Console | None = None) -> None:
    """Print it for people."""
    console = console or Console(highlight=False, soft_wrap=True)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2))
    for name, text in _facts(summary):
        table.add_row(name, printable(text))
    console.print(printable(summary.out), markup=False)
    console.print(table, markup=False)


def _facts(summary: BareSummary) -> Iterator[tuple[str, str]]:
    codec = summary.codec
    named = "no footer says which" if codec.codec == UNKNOWN else codec.codec
    yield "codec", f"{named}, {codec.n_q} codebooks at {codec.sample_rate} Hz"
    lacks = "" if summary.shards == summary.shards_planned else f" of {summary.shards_planned}"
    yield (
        "shards",
        f"{summary.shards}{lacks}, {summary.format}, {summary.bytes / 1e6:,.1f} MB",
    )
    splits = summary.splits
    by = ", ".join(f"{name} {rows:,}" for name, rows in splits.items()) if len(splits) > 1 else ""
    yield (
        "recordings",
        f"{summary.recordings:,}, {format_hours(3600 * summary.hours)}" + (f": {by}" if by else ""),
    )
    told = [f"{name} {count:,}" for name, count in summary.columns.items() if count]
    if told:
        yield "with", ", ".join(told)
    yield (
        "manifest",
        "none: what failed, how codes are used and whether shards are as they were committed is "
        "not known"
        + ("" if is_remote(summary.out) else "; `codecshards adopt` makes one for what is there"),
    )
