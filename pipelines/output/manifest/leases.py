"""Which runs are at work on an output folder: each keeps a small file there for as long as it
lives.

    OUT/manifest/runs/RUN.json   host and process of its driver, and when it last said that it lives

Names of staged files carry the run that they belong to. Before anybody removes one it must be known
that the run is over: it has given its lease up, its process is gone from this very machine, or it
has said nothing for `SILENT_SECONDS`.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event, Thread
from types import TracebackType

from pipelines.output.manifest.names import MANIFEST, run_of
from pipelines.output.storage import Storage
from tokenizer.errors import OutputError
from tokenizer.sealing import seal, unseal

RUNS = "manifest/runs"
_ENDED = ("Z", "X")
"""what the system says of a process that is none any more"""
BEAT_SECONDS = 20.0
SILENT_SECONDS = 900.0
"""far more than a beat: machines' clocks differ, and file systems stall"""


def new_run() -> str:
    """A name for a run that no other has: 12 hex digits."""
    return uuid.uuid4().hex[:12]


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease."""

    host: str
    """machine, boot and process namespace: where process ids mean the same"""
    pid: int
    born: str
    """when the process started, as the system counts: ids are used again"""
    time: float
    """of the last beat, seconds since 1970"""
    redoes: bool = True
    """it may do shards again in their places, where recordings were unavailable"""

    @classmethod
    def here(cls, redoes: bool = True) -> Holder:
        return cls(_host(), os.getpid(), _born(os.getpid()), time.time(), redoes)

    @property
    def alive(self) -> bool:
        """Whether it may still be at work."""
        if self.host == _host():
            return _exists(self.pid) and _born(self.pid) == self.born
        return time.time() - self.time < SILENT_SECONDS


class Lease:
    """A run's lease, kept up by a thread for the length of a `with` block."""

    def __init__(self, storage: Storage, run: str, while_there: str, redoes: bool = True) -> None:
        self._redoes = redoes
        self._storage, self._name, self._while_there = storage, _name(run), while_there
        self._over = Event()
        self._thread = Thread(target=self._beat, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        try:
            self._write()
            self._thread.start()
        except BaseException:  # stopped half-way: what was written would stay
            self._give_up()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._give_up()

    def _give_up(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        with suppress(OSError, OutputError):
            self._storage.remove(self._name)

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            with suppress(OSError, OutputError):  # the next beat may do better
                if self._storage.exists(
                    self._while_there
                ):  # else OUT was deleted: do not make it anew
                    self._write()

    def _write(self) -> None:
        self._storage.write(self._name, seal(asdict(Holder.here(self._redoes))))


def read_lease(storage: Storage, run: str) -> Holder | None:
    """Who holds a run's lease; None when nobody does.

    Raises:
        ValueError: it is damaged.
    """
    try:
        return Holder(**unseal(storage.read(_name(run))))
    except FileNotFoundError:
        return None
    except TypeError as error:
        raise ValueError(str(error)) from error


def is_over(storage: Storage, run: str) -> bool:
    """Whether a run has certainly ended; one whose lease cannot be read may be alive."""
    try:
        holder = read_lease(storage, run)
    except (OSError, ValueError):
        return False
    return holder is None or not holder.alive


def at_work(storage: Storage, but: str) -> list[str]:
    """Which runs beside one may be doing shards again in their places, as a person may find them:
    by machine and process."""
    found = []
    for run in _runs(storage):
        if run == but or is_over(storage, run):
            continue
        with suppress(OSError, ValueError):
            holder = read_lease(storage, run)
            if holder is not None and holder.redoes:
                found.append(f"{holder.host.split(' ')[0]}, process {holder.pid}")
    return found


def remove_dead(storage: Storage) -> None:
    """Remove the leases of runs that were killed."""
    for run in _runs(storage):
        if is_over(storage, run):
            storage.remove(_name(run))


def _runs(storage: Storage) -> Iterator[str]:
    """Those with a lease; one that is being written has a dot before its name."""
    for file in storage.list(RUNS):
        if file.endswith(".json") and not file.startswith("."):
            yield file.removesuffix(".json")


def _name(run: str) -> str:
    return f"{RUNS}/{run}.json"


def _host() -> str:
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _born(pid: int) -> str:
    """Ticks from boot to the process's start; nothing where the system does not tell, and of one
    that has ended and waits for its parent to notice."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return "" if stat[0] in _ENDED else stat[19]
    except (OSError, IndexError):
        return ""


def half_written(storage: Storage) -> list[str]:
    """Files of the manifest that a process was writing when it was killed, by their names in the
    output folder. Those of shards are not among them: they tell which run they are of."""
    found = (f"{MANIFEST}/{name}" for name in storage.leftovers(MANIFEST, SILENT_SECONDS))
    return [name for name in found if run_of(name.rsplit("/", 1)[-1]) is None]
