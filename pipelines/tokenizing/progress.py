"""What a person sees while a run goes on: a live bar on a terminal, a plain line now and then
elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from types import TracebackType
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

from pipelines.system.words import format_duration, format_hours, printable
from tokenizer.errors import UsageError

PLAIN_EVERY = 10.0
"""seconds between plain lines"""
NOTEBOOK_EVERY = 0.5
"""seconds between pictures in a notebook"""
MOST_MESSAGES = 500
"""that a notebook's cell holds, the latest"""


@dataclass(slots=True)
class ShardProgress:
    """How far one shard has come; filled in by the process that works on it."""

    name: str = ""
    seconds: float = 0.0
    """audio seconds read so far"""
    planned: float = 0.0
    """what the plan took the recordings for that were read; of the last, at most what was read"""
    recordings: int = 0
    failures: int = 0
    filtered: int = 0
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
    filtered: int = 0
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
        total = getattr(self, f"{what}_wait") + sum(
            getattr(shard, f"{what}_wait") for shard in self.under_way
        )
        return min(total / wall, 1.0) if wall > 0 else 0.0

    def finish(self, planned_seconds: float, shard: ShardProgress) -> None:
        """Count one shard as done."""
        self.shards_done += 1
        self.done_planned_seconds += planned_seconds
        self.done_seconds += shard.seconds
        self.recordings += shard.recordings
        self.failures += shard.failures
        self.filtered += shard.filtered
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
        earlier = (
            f" ({progress.earlier_failures} of them in earlier runs)"
            if progress.earlier_failures
            else ""
        )
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
        f"waiting: decode {progress.waiting('decode'):.0%}, encode "
        f"{progress.waiting('encode'):.0%}",
    ]
    if filtered := progress.filtered + sum(shard.filtered for shard in progress.under_way):
        parts.insert(5, f"{filtered} filtered")
    if progress.remaining is not None and progress.share < 1:
        parts.insert(3, f"ETA {format_duration(progress.remaining)}")
    return ", ".join(parts)


def fitted(progress: RunProgress, width: int) -> str:
    """As much of it as fits in `width` columns, what matters most first."""
    eta = (
        f"ETA {format_duration(progress.remaining)}"
        if progress.remaining is not None and progress.share < 1
        else ""
    )
    parts = [
        f"{progress.shards_done}/{progress.shards} shards",
        eta,
        f"{progress.all_failures} failed" if progress.all_failures else "",
        f"{progress.speed:.1f}x real time",
        format_hours(progress.seconds),
        f"{progress.all_recordings} recordings",
        "" if progress.all_failures else "0 failed",
        f"waiting: decode {progress.waiting('decode'):.0%}, encode "
        f"{progress.waiting('encode'):.0%}",
    ]
    text = ""
    for part in filter(None, parts):
        longer = f"{text}, {part}" if text else part
        if len(longer) > width:
            break
        text = longer
    return text


def percent(progress: RunProgress) -> int:
    """Of the audio that is done, rounded down: 100 means done."""
    return int(100 * progress.share)


class Display(Protocol):
    """Shows a `RunProgress` again and again, and passes messages."""

    def __enter__(self) -> Display: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def update(self, progress: RunProgress) -> None:
        now = time.monotonic()
        if now - self._last >= self._every:
            self._last = now
            self.message(f"{percent(progress)}%: {describe(progress)}")

    def message(self, text: str) -> None:
        print(printable(text), file=self._stream, flush=True)


class LiveDisplay:
    """A bar that stays in place, for terminals; it and its words take one line of any width."""

    def __init__(self, console: Console) -> None:
        self._bars = BarColumn()
        whole = Column(no_wrap=True, overflow="crop")
        # Without markup: brackets in the words are brackets.
        columns = (
            TextColumn(f"{{task.fields[{name}]}}", markup=False, table_column=whole)
            for name in ("percent", "words")
        )
        self._bar = Progress(next(columns), self._bars, next(columns), console=console)
        self._task: TaskID | None = None

    def __enter__(self) -> LiveDisplay:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def update(self, progress: RunProgress) -> None:
        self._bars.bar_width = max(5, min(30, self._bar.console.width // 5))
        words = fitted(progress, self._bar.console.width - self._bars.bar_width - len("100%  "))
        done = f"{percent(progress):>3}%"
        if self._task is None:
            self._task = self._bar.add_task("", total=1.0, percent=done, words=words)
        self._bar.update(self._task, completed=progress.share, percent=done, words=words)

    def message(self, text: str) -> None:
        self._bar.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


class NotebookDisplay:
    """A bar and the messages below it, as one output of a notebook's cell that is replaced again
    and again."""

    def __init__(self, show: Callable[[str], Callable[[str], None]]) -> None:
        """`show` makes an output of HTML, and returns what replaces it."""
        self._show = show
        self._replace: Callable[[str], None] | None = None
        self._progress: RunProgress | None = None
        self._messages: list[str] = []
        self._last = 0.0

    def __enter__(self) -> NotebookDisplay:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._draw()

    def update(self, progress: RunProgress) -> None:
        self._progress = progress
        if time.monotonic() - self._last >= NOTEBOOK_EVERY:
            self._draw()

    def message(self, text: str) -> None:
        self._messages.append(text)
        if time.monotonic() - self._last >= NOTEBOOK_EVERY:
            self._draw()

    def _draw(self) -> None:
        self._last = time.monotonic()
        if self._replace is None:
            self._replace = self._show(self._html())
        else:
            self._replace(self._html())

    def _html(self) -> str:
        parts = []
        if self._progress is not None:
            share, words = percent(self._progress), escape(describe(self._progress))
            parts.append(
                f'<progress max="100" value="{share}" style="width: 20em"></progress> '
                f"{share}%<br>{words}"
            )
        lines = escape("\n".join(self._messages[-MOST_MESSAGES:]))
        # A box whose content runs from the bottom stays scrolled to its end.
        box = "display: flex; flex-direction: column-reverse; max-height: 12em; overflow: auto"
        parts.append(
            f'<div style="{box}"><pre style="margin: 0; white-space: pre-wrap">{lines}</pre></div>'
        )
        return "\n".join(parts)


def open_notebook() -> NotebookDisplay | None:
    """The display of the notebook whose kernel this process is; None in any other process."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if getattr(shell, "kernel", None) is None:
        return None

    def show(html: str) -> Callable[[str], None]:
        output = ipython.display
        handle = output.display(output.HTML(html), display_id=True)
        return lambda later: handle.update(output.HTML(later))

    return NotebookDisplay(show)


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
    notebook = open_notebook()
    if notebook is not None:
        return notebook
    console = Console(stderr=True)
    return LiveDisplay(console) if _moves(console) else PlainDisplay(sys.stderr)


def _moves(console: Console) -> bool:
    """Whether a line can be written over. In a notebook's `!command` standard error looks like a
    terminal and is none."""
    return (
        console.is_terminal
        and not console.is_dumb_terminal
        and sys.stderr.isatty()
        and not _under_a_notebook(os.environ)
    )


def _under_a_notebook(environment: Mapping[str, str]) -> bool:
    """Whether a notebook's kernel started this process: Jupyter says so, and ipykernel sets these
    three for its commands."""
    marks = {"TERM": "xterm-color", "PAGER": "cat", "GIT_PAGER": "cat"}
    return "JPY_PARENT_PID" in environment or all(
        environment.get(name) == value for name, value in marks.items()
    )
