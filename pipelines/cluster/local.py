"""A folder for the Ray of one run, and a watch over the head that it depends on. Imports no ray."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

_PREFIX = "codecshards-ray-"
_FATAL = re.compile(r"\[[^]]* C \d+ \d+\] (?:\(\w+\) )?(?:[\w.]+:\d+: )?(.+)")
"""a line of its daemons' logs before which they end themselves"""
_LONGEST_PARENT = 12
"""characters of a folder below which Ray's sockets still have names that the system allows (107
characters)"""
_LOOK_SECONDS = 3.0
LOST_SECONDS = 20.0
"""without an answer, after which a head counts as lost; Ray itself ends this process after a
minute"""
_CLEANUP_SECONDS = 20.0
"""to end tidily, once it is lost"""
_EXIT_USAGE = 2


@contextmanager
def private_folder() -> Iterator[str]:
    """A short path to a folder that only this user can enter, removed afterwards.

    Ray's own choice, `/tmp/ray`, is open to everyone and grows with every run; below a long TMPDIR
    its sockets cannot be made.
    """
    wanted = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    parent = wanted if len(wanted) <= _LONGEST_PARENT else "/tmp"
    _remove_orphans(Path(parent))
    folder = tempfile.mkdtemp(
        prefix=f"{_PREFIX}{os.getpid()}-", dir=parent
    )  # mode 0700; Ray opens what is in it to everyone
    try:
        yield str(Path(folder, "r"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def last_fatal(folder: str | None) -> str:
    """Why a daemon of Ray that was started here gave up, as it says in its log; nothing where none
    did. Ray itself only notices that it is not there."""
    for log in ("raylet.err", "gcs_server.err") if folder else ():
        with suppress(OSError):
            text = Path(str(folder), "session_latest", "logs", log).read_text(errors="replace")
            for line in text.splitlines():
                if found := _FATAL.match(line):
                    return found[1].strip()
    return ""


def _remove_orphans(parent: Path) -> None:
    """Folders of this user's runs that were killed."""
    for folder in parent.glob(f"{_PREFIX}*-*"):
        with suppress(OSError, ValueError):
            owner = int(folder.name.removeprefix(_PREFIX).split("-")[0])
            if folder.stat().st_uid == os.getuid() and not _is_running(owner):
                shutil.rmtree(folder, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class HeadWatch:
    """Asks every few seconds whether a cluster's head listens. Once it is lost, the main thread
    gets a KeyboardInterrupt.

    Without it Ray ends the process from compiled code, a minute later, with exit code 1 and a stack
    trace.
    """

    def __init__(self, address: str, patience: float = LOST_SECONDS) -> None:
        host, _, port = address.rpartition(":")
        self._target = (host.strip("[]"), int(port))
        self._patience = patience
        self._closed = threading.Event()
        self.lost = False
        self.message = (
            f"the head of the Ray cluster ({address}) has not answered for {patience:g} s: what is "
            "committed stays; run the same "
            "command again, once the cluster is back, to go on"
        )
        threading.Thread(target=self._watch, daemon=True, name="head-watch").start()

    def close(self) -> None:
        """Watch no longer."""
        self._closed.set()

    def _watch(self) -> None:
        silent = 0.0
        step = min(_LOOK_SECONDS, self._patience / 3)
        while not self._closed.wait(step):
            silent = 0.0 if self._answers() else silent + step
            if silent >= self._patience:
                break
        else:
            return
        self.lost = True
        signal.pthread_kill(
            cast(int, threading.main_thread().ident), signal.SIGINT
        )  # ends a sleep too
        if not self._closed.wait(_CLEANUP_SECONDS):  # stuck in compiled code
            with suppress(OSError):
                os.write(sys.stderr.fileno(), f"codecshards: {self.message}\n".encode())
            os._exit(_EXIT_USAGE)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(self._target, timeout=_LOOK_SECONDS):
                return True
        except OSError:
            return False
