"""What a run says at its end of all that is committed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.output.manifest.records import Totals
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
    missing: int = 0
    """shards that are not committed yet: those of other parts (`part`)"""
    new: int = 0
    """recordings of the source that are not in the output; of a run that found all committed"""
    changed: int = 0
    """of which another file, archive member or row is there now; of such a run"""
    gone: int = 0
    """that are not in the source any more; of such a run"""
    other_text: int = 0
    """of which the source has another text, language or speaker now; of such a run"""

    @property
    def outdated(self) -> bool:
        """Whether the source has what the output does not."""
        return bool(self.new or self.changed or self.other_text)


def add_up(totals: Totals, sample_rate: int) -> RunResult:
    """The result of a run over all that is committed."""
    return RunResult(
        shards=totals.shards,
        recordings=totals.rows,
        failures=totals.failures,
        seconds=totals.num_samples / sample_rate,
        filtered=totals.filtered,
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


def complain_of_nothing(totals: Totals, keep: str | None) -> None:
    """Say, whatever `--quiet` does, that a run made no row at all."""
    if totals.rows or not totals.kinds:
        return
    if totals.failures:
        text = totals.describe_failures()
    else:
        count = many(totals.filtered, "recording")
        text = f"not one of {count} is as --keep {keep!r} asks; the first: {totals.first}"
    print(f"codecshards: {printable(text)}", file=sys.stderr)
