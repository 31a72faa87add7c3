"""The child process that reads files, as seen from outside: one life of it, the pipe to it, and how
it ended."""

from __future__ import annotations

import os
import queue
import subprocess
import threading
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import IO

from pipelines.system.blame import Death, DeathKind, memory_kills, of_exit
from pipelines.system.machine import own_command

AHEAD_BLOCKS = 32
"""blocks of about a second that wait to be used: 12 MB at 48 kHz stereo"""
_GONE = b"GONE"
_SLICE = 0.5
"""seconds between looks at a child that says nothing"""
_LAST_WORDS = 4096
"""bytes of a child's standard error that are kept, to say why it does not start"""


class Child:
    """One life of the child process, with a thread that takes its messages off the pipe."""

    def __init__(self, settings: object) -> None:
        ours, theirs = Pipe(duplex=True)
        self._connection = ours
        self.begun = False
        """it has taken up a recording"""
        self._kills_before = memory_kills()
        self._process = subprocess.Popen(
            own_command("pipelines.corpus.reader_process", str(theirs.fileno()), str(os.getpid())),
            pass_fds=[theirs.fileno()],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        theirs.close()
        self.messages: queue.Queue[bytes] = queue.Queue(AHEAD_BLOCKS)
        self._closing = threading.Event()
        threading.Thread(target=self._pump, args=(ours,), daemon=True, name="decoder-pump").start()
        self._last_words = b""
        self._listener = threading.Thread(
            target=self._listen, args=(self._process.stderr,), daemon=True, name="decoder-errors"
        )
        self._listener.start()
        self.send(settings)

    def send(self, value: object) -> None:
        # An error means that it has died: the pump says so to whoever waits for its messages.
        with suppress(OSError):
            self._connection.send(value)

    def next_message(self, timeout: float) -> bytes | Death:
        """What it says next, or how it ended: killed by us, when it says nothing for `timeout`
        seconds."""
        waited = stopped = 0.0
        while waited < timeout:
            share = min(_SLICE, timeout - waited)
            try:
                message = self.messages.get(timeout=share)
            except queue.Empty:
                # Counted in slices of our own time, since this process may have been stopped
                # meanwhile, and the machine asleep.
                waited += share
                stopped += share if self._is_stopped() else 0.0
                continue
            return self._death() if message == _GONE else message
        if stopped > 0:
            return Death(DeathKind.LOST, "a stop that did not end")
        return Death(DeathKind.HUNG, f"no progress for {timeout:g} s")

    def end(self) -> None:
        """Kill it, and let whoever waits for its messages know."""
        self._process.kill()

    def kill(self) -> None:
        self._closing.set()
        self._process.kill()
        self._process.wait()

    def last_words(self) -> str:
        """The last line that it wrote to standard error."""
        self._listener.join(1.0)
        lines = self._last_words.decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def _death(self) -> Death:
        code = self._process.wait()
        return of_exit(code, memory_kills() - self._kills_before)

    def _is_stopped(self) -> bool:
        """Whether SIGSTOP, or a debugger, holds it."""
        try:
            stat = Path("/proc", str(self._process.pid), "stat").read_text(errors="replace")
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] in ("T", "t")

    def _listen(self, errors: IO[bytes]) -> None:
        with errors:
            while line := errors.readline(_LAST_WORDS):
                self._last_words = (self._last_words + line)[-_LAST_WORDS:]

    def _pump(self, connection: Connection) -> None:
        try:
            while True:
                self._put(connection.recv_bytes())
        except (EOFError, OSError):
            self._put(_GONE)
        finally:
            connection.close()

    def _put(self, message: bytes) -> None:
        while not self._closing.is_set():
            try:
                self.messages.put(message, timeout=0.2)
                return
            except queue.Full:
                continue


def _environment() -> dict[str, str]:
    """Ours, but for two things: an empty part of PYTHONPATH, which is the working folder, and
    threads.

    NumPy's library of products would start a thread a core in each child, and nothing here needs
    one.
    """
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
