"""What a person sees while a run goes on: a live bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from tokenizer.errors import UsageError

PLAIN_EVERY = 10.0
"""seconds between plain lines"""


@dataclass(slots=True)
class ShardProgress:
    """How far one shard has come; filled in by the process that works on it."""

    name: str = ""
    seconds: float = 0.0
    """audio seconds read so far"""
    planned: float = 0.0
    """what the plan took the recordings for that were read; for the one at hand, at most what was read of it"""
    recordings: int = 0
    failures: int = 0
    decode_wait: float = 0.0
    """seconds spent waiting for decoders"""
    encode_wait: float = 0.0
    """seconds spent waiting for encoders"""
    decode: float = 0.0
    """seconds of a core that decoding and resampling took"""
    encode: float = 0.0
    """seconds of encoders, of all of them together"""
    write: float = 0.0
    """seconds spent on the file: packing, compressing, hashing"""
    wall: float = 0.0


@dataclass(slots=True)
class RunProgress:
    """How far the run has come, over all processes."""

    planned_seconds: float
    """audio in the shards that this run has to do, as the plan estimates it"""
    shards: int
    """shards that this run has to do"""
    started: float = field(default_factory=time.monotonic)
    shards_done: int = 0
    done_planned_seconds: float = 0.0
    """the plan's estimate for the shards that are done"""
    done_seconds: float = 0.0
    """audio that they really held"""
    recordings: int = 0
    failures: int = 0
    earlier_failures: int = 0
    """recordings that earlier runs on the same folder recorded as failed"""
    under_way: list[ShardProgress] = field(default_factory=list)
    decode_wait: float = 0.0
    encode_wait: float = 0.0
    wall: float = 0.0
    """process-seconds over which the waits were counted"""

    @property
    def seconds(self) -> float:
        return self.done_seconds + sum(shard.seconds for shard in self.under_way)

    @property
    def all_recordings(self) -> int:
        return self.recordings + sum(shard.recordings for shard in self.under_way)

    @property
    def all_failures(self) -> int:
        return self.failures + sum(shard.failures for shard in self.under_way)

    @property
    def elapsed(self) -> float:
        return max(time.monotonic() - self.started, 1e-9)

    @property
    def speed(self) -> float:
        """Audio seconds a second."""
        return self.seconds / self.elapsed

    @property
    def share(self) -> float:
        """Estimated share of the run's audio that is done, 0 to 1."""
        if self.shards_done >= self.shards:
            return 1.0
        # The plan estimates lengths from file sizes, so both sides are counted in its own seconds.
        done = self.done_planned_seconds + sum(shard.planned for shard in self.under_way)
        return min(done / self.planned_seconds, 0.999) if self.planned_seconds > 0 else 0.0

    @property
    def remaining(self) -> float | None:
        """Estimated seconds to go; None before there is anything to tell it by."""
        share = self.share
        return self.elapsed * (1 - share) / share if share > 0 else None

    def waiting(self, what: str) -> float:
        """Share of the runners' time spent waiting for "decode" or "encode", 0 to 1."""
        wall = self.wall + sum(shard.wall for shard in self.under_way)
        total = getattr(self, f"{what}_wait") + sum(getattr(shard, f"{what}_wait") for shard in self.under_way)
        return min(total / wall, 1.0) if wall > 0 else 0.0

    def finish(self, planned_seconds: float, shard: ShardProgress) -> None:
        """Count one shard as done."""
        self.shards_done += 1
        self.done_planned_seconds += planned_seconds
        self.done_seconds += shard.seconds
        self.recordings += shard.recordings
        self.failures += shard.failures
        self.decode_wait += shard.decode_wait
        self.encode_wait += shard.encode_wait
        self.wall += shard.wall


def refuse_more_failures(progress: RunProgress, most: int | None) -> None:
    """Stop a run in which too many recordings fail.

    Raises:
        UsageError: more than `most` have.
    """
    failed = progress.earlier_failures + progress.all_failures
    if most is not None and failed > most:
        earlier = f" ({progress.earlier_failures} of them in earlier runs)" if progress.earlier_failures else ""
        raise UsageError(
            f"stopped: {failed} recordings have failed{earlier}, more than --max-failures {most}; "
            "`codecshards inspect OUT --failures` lists those of finished shards"
        )


def describe(progress: RunProgress) -> str:
    """One line: shards, hours, speed, time to go, failures, waits."""
    parts = [
        f"{progress.shards_done}/{progress.shards} shards",
        f"{format_hours(progress.seconds)} of audio",
        f"{progress.speed:.1f}x real time",
        f"{progress.all_recordings} recordings",
        f"{progress.all_failures} failed",
        f"waiting: decode {progress.waiting('decode'):.0%}, encode {progress.waiting('encode'):.0%}",
    ]
    if progress.remaining is not None and progress.share < 1:
        parts.insert(3, f"ETA {format_duration(progress.remaining)}")
    return ", ".join(parts)


def format_duration(seconds: float) -> str:
    """`42s`, `3m 05s`, `2h 04m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def format_hours(seconds: float) -> str:
    """Audio time in the unit that reads best."""
    return f"{seconds / 3600:.2f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


class Display(Protocol):
    """Shows a `RunProgress` again and again, and passes messages."""

    def __enter__(self) -> Display: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...
    def update(self, progress: RunProgress) -> None: ...
    def message(self, text: str) -> None: ...


class PlainDisplay:
    """A line every few seconds, for logs."""

    def __init__(self, stream: TextIO, every: float = PLAIN_EVERY) -> None:
        self._stream = stream
        self._every = every
        self._last = time.monotonic()

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def update(self, progress: RunProgress) -> None:
        now = time.monotonic()
        if now - self._last >= self._every:
            self._last = now
            self.message(describe(progress))

    def message(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class LiveDisplay:
    """A bar that stays in place, for terminals."""

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            TextColumn("{task.percentage:>3.0f}%"), BarColumn(30), TextColumn("{task.description}"), console=console
        )
        self._task: TaskID | None = None

    def __enter__(self) -> LiveDisplay:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def update(self, progress: RunProgress) -> None:
        if self._task is None:
            self._task = self._bar.add_task("", total=1.0)
        self._bar.update(self._task, completed=progress.share, description=describe(progress))

    def message(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False)


class SilentDisplay(PlainDisplay):
    """Nothing at all, for `--quiet`."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def update(self, progress: RunProgress) -> None:
        return None

    def message(self, text: str) -> None:
        return None


def open_display(quiet: bool = False) -> Display:
    """The display that fits standard error."""
    if quiet:
        return SilentDisplay()
    console = Console(stderr=True)
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(sys.stderr)
