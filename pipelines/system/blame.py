"""Who is at fault when a process dies: the recording that it worked on, or somebody else.

A death says little by itself. The kernel kills whom it likes when memory runs out, schedulers and
people kill, nodes go. So a recording whose process has died is tried again alone, in a fresh
process, and only what happens then counts:

    it crashed (a signal of its own, an exit code)      twice          it crashes its process
    it made no progress                                 once           it hangs
    it was killed while the kernel ran out of memory    five times     it needs more than there is
    it was killed, nobody knows why                     33 times       the same, most likely
    its node went, it was stopped, it had not begun     never

Nothing here knows of processes: the rules are tested without any.
"""

from __future__ import annotations

import faulthandler
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TextIO

from tokenizer.errors import FailureKind


class DeathKind(StrEnum):
    """What is known of how a process ended."""

    CRASHED = "crashed"
    """by its own doing: SIGSEGV, SIGABRT, an exit code"""
    HUNG = "hung"
    """it made no progress, and was ended for that"""
    MEMORY = "memory"
    """killed while the kernel, or Ray, ended processes for lack of memory"""
    KILLED = "killed"
    """from outside, and nobody knows by whom"""
    LOST = "lost"
    """with its machine, or before it had begun, or while it was stopped: nobody's fault"""


@dataclass(frozen=True, slots=True)
class Death:
    """One end of a process."""

    kind: DeathKind
    what: str
    """words that follow "died of": `SIGSEGV`, `exit code 3`"""


LIMITS = {DeathKind.CRASHED: 2, DeathKind.HUNG: 1, DeathKind.MEMORY: 5, DeathKind.KILLED: 33}
"""deaths alone after which the recording is at fault; of those that this lacks there may be any
number"""
MEMORY_PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0)
"""seconds to wait after the first, second … death for lack of memory: others may be done with
theirs by then"""
FAILURES = {DeathKind.HUNG: FailureKind.TIMED_OUT}

OWN_SIGNALS = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGTRAP,
        signal.SIGSYS,
        signal.SIGPIPE,
    }
)
"""signals that a process brings upon itself"""
EXIT_NO_MEMORY = 86
"""exit code of a process that could not get the memory it asked for"""

OUT_OF_MEMORY = "out of memory"
"""the last word of such a process"""

_KEPT_SECONDS = 7 * 86_400.0


@dataclass(slots=True)
class Trial:
    """The deaths of processes that worked on one recording."""

    recording: str
    alone: dict[DeathKind, int] = field(default_factory=dict)

    def died(self, death: Death, alone: bool) -> str | None:
        """Take in one more death; returns the verdict once there is evidence for one.

        Args:
            death: how it ended.
            alone: nothing but this recording had been given to that process.
        """
        if not alone:
            return None
        count = self.alone[death.kind] = self.alone.get(death.kind, 0) + 1
        if count < LIMITS.get(death.kind, count + 1):
            return None
        return _verdict(death, count)

    @property
    def pause(self) -> float:
        """Seconds to wait before the next try."""
        deaths = self.alone.get(DeathKind.MEMORY, 0)
        return MEMORY_PAUSES[min(deaths, len(MEMORY_PAUSES)) - 1] if deaths else 0.0


def _verdict(death: Death, count: int) -> str:
    times = f"{count} times, each time alone"
    if death.kind is DeathKind.HUNG:
        return f"{death.what}, and again alone"
    if death.kind is DeathKind.KILLED:
        return (
            f"its process was killed ({death.what}) {times}, as the kernel does when memory runs "
            "out"
        )
    if death.kind is DeathKind.MEMORY:
        return f"its process ran out of memory ({death.what}) {times}"
    return f"its process died of {death.what} {times}"


def of_exit(code: int, memory_kills: int) -> Death:
    """The death of a child process.

    Args:
        code: as `subprocess.Popen.returncode` has it: minus the signal's number where a signal
            ended it.
        memory_kills: processes that the kernel ended for lack of memory meanwhile.
    """
    if code == EXIT_NO_MEMORY:
        return Death(DeathKind.MEMORY, "an allocation failed")
    if code >= 0:
        return Death(DeathKind.CRASHED, f"exit code {code}")
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal
        name = f"signal {-code}"
    if -code in OWN_SIGNALS:
        return Death(DeathKind.CRASHED, name)
    if -code == signal.SIGKILL and memory_kills > 0:
        return Death(DeathKind.MEMORY, name)
    return Death(DeathKind.KILLED, name)


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had: Python's own, PyTorch's for a GPU, and
    the `RuntimeError` of its allocator for CPUs."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "allocate memory" in str(error))
    )


def memory_kills() -> int:
    """Processes that this machine's kernel has ended for lack of memory since it started; 0 where
    it does not say."""
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    except (OSError, ValueError):
        pass
    return 0


class LastWords:
    """A file in which a process leaves how it ended, for those who cannot see its exit code: Ray
    hides that of its workers.

    Python's own fault handler writes into it when the process brings a fatal signal upon itself.
    What was killed from outside leaves nothing, which is how the two are told apart.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_old(path.parent)
        self._file: TextIO = path.open("w")
        self._file.write(f"{memory_kills()}\n")
        self._file.flush()
        faulthandler.enable(self._file, all_threads=False)

    def say(self, what: str) -> None:
        """Leave a word before ending this process on purpose."""
        self._file.write(f"Fatal: {what}\n")
        self._file.flush()

    @staticmethod
    def read(path: Path) -> Death:
        """What a process on this machine left behind; call it once the process is dead."""
        try:
            first, _, rest = path.read_text(errors="replace").partition("\n")
            kills = memory_kills() - int(first)
        except (OSError, ValueError):  # it had not begun
            return Death(DeathKind.LOST, "a death before it had begun")
        told = next((line for line in rest.splitlines() if line.startswith("Fatal")), None)
        if told is not None and told.endswith(f": {OUT_OF_MEMORY}"):
            return Death(DeathKind.MEMORY, "an allocation failed")
        if told is not None:
            return Death(DeathKind.CRASHED, told.partition(": ")[2] or told)
        return (
            Death(DeathKind.MEMORY, "SIGKILL") if kills > 0 else Death(DeathKind.KILLED, "SIGKILL")
        )


def _remove_old(folder: Path) -> None:
    """Last words that nobody has any use for by now."""
    for path in folder.iterdir():
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _KEPT_SECONDS:
                path.unlink()
