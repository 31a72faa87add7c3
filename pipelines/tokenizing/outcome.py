"""What a run says at its end of all that is committed."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from pipelines.output.manifest.commits import CommitRecord
from pipelines.system.words import format_hours, many, printable


@dataclass(frozen=True, slots=True)
class RunResult:
    """What an output folder holds after a run: totals of committed records, earlier runs
    included."""

    shards: int
    recordings: int
    failures: int
    seconds: float
    """of audio"""
    filtered: int = 0
    """recordings that `keep` left out, which are no failures"""


def add_up(records: Collection[CommitRecord], sample_rate: int) -> RunResult:
    """The totals."""
    return RunResult(
        shards=len(records),
        recordings=sum(record.rows for record in records),
        failures=sum(len(record.errors) for record in records),
        seconds=sum(record.num_samples for record in records) / sample_rate,
        filtered=sum(record.filtered for record in records),
    )


def said_of(result: RunResult, out: str, keep: str | None) -> Iterator[str]:
    """The lines for people."""
    yield (
        f"{out}: {result.recordings} recordings, {format_hours(result.seconds)} of audio, "
        f"{result.shards} shards"
    )
    if result.filtered:
        yield (
            f"{many(result.filtered, 'recording')} filtered out by --keep {keep!r}: `codecshards "
            f"inspect {out} --failures` has their values"
        )
    if result.failures:
        yield (
            f"{result.failures} recordings failed; `codecshards inspect {out} --failures` says "
            "which and why"
        )


def complain_of_nothing(
    result: RunResult, records: Collection[CommitRecord], keep: str | None
) -> None:
    """Say, whatever `--quiet` does, that a run made no row at all."""
    if result.recordings or not (result.failures or result.filtered):
        return
    failures = [failure for record in records for failure in record.failures]
    first = next((one for record in records for one in record.errors), failures[0])
    if result.failures:
        kinds = Counter(failure.kind for failure in failures).most_common()
        counted = ", ".join(f"{kind} {count}" for kind, count in kinds)
        text = f"not one of {len(failures)} recordings could be tokenized ({counted})"
    else:
        text = f"not one of {many(len(failures), 'recording')} is as --keep {keep!r} asks"
    text = f"{text}; the first: {first.message}"
    print(f"codecshards: {printable(text)}", file=sys.stderr)
