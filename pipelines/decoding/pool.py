"""Processes that decode: each holds the codec, and gets a recording's codes at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from pipelines.decoding.child import Child, Died
from pipelines.decoding.job import Done, Job, Loading, Result, result_of
from tokenizer.errors import OutputError

_WAITING = 8
"""recordings a process that are read ahead"""
_MOST_BYTES = 256 << 20
"""of the codes that are read ahead"""


def decode_all(jobs: Iterable[Job], loading: Loading, workers: int) -> Iterator[Done]:
    """Decode, and tell of each in the order that they came. A recording that ends its process
    twice is a failure.

    Raises:
        OutputError: the files cannot be written, or no process can be started.
    """
    if workers == 0:
        codec = loading.load()
        for job in jobs:
            yield Done(job, *result_of(codec, job))
        return
    team = _Team(loading)
    threads = ThreadPoolExecutor(workers, "decode")
    try:
        yield from _ahead(jobs, threads, team, workers)
        team.dismiss()
    finally:
        team.end()
        threads.shutdown(wait=True, cancel_futures=True)


def _ahead(
    jobs: Iterable[Job], threads: ThreadPoolExecutor, team: _Team, workers: int
) -> Iterator[Done]:
    waiting: deque[tuple[Job, Future[Result]]] = deque()
    held = 0
    for job in jobs:
        waiting.append((job, threads.submit(team.run, job)))
        held += job.codes.codes.nbytes
        while len(waiting) > _WAITING * workers or (held > _MOST_BYTES and len(waiting) > 1):
            first, future = waiting.popleft()
            held -= first.codes.codes.nbytes
            yield Done(first, *future.result())
    while waiting:
        first, future = waiting.popleft()
        yield Done(first, *future.result())


class _Team:
    """Children, one for each thread that has one's work done."""

    def __init__(self, loading: Loading) -> None:
        self._loading = loading
        self._idle: deque[Child] = deque()
        self._all: set[Child] = set()
        self._ended = False

    def run(self, job: Job) -> Result:
        """Have one recording decoded, by a new child once if it ends the first."""
        for _ in range(2):
            child = self._take()
            try:
                found = child.run(job)
            except Died as death:
                self._all.discard(child)
                last = str(death)
                continue
            self._idle.append(child)
            return found
        return 0, last

    def _take(self) -> Child:
        try:
            return self._idle.popleft()
        except IndexError:
            pass
        if self._ended:
            raise OutputError("the run has ended")
        child = Child()
        self._all.add(child)
        try:
            child.load(self._loading)
        except Died as death:
            raise OutputError(
                f"a process that decodes cannot be started: {death}: give fewer --workers"
            ) from death
        if self._ended:
            child.kill()
        return child

    def dismiss(self) -> None:
        """Let children end by themselves."""
        for child in list(self._all):
            child.close()

    def end(self) -> None:
        self._ended = True
        for child in list(self._all):
            child.kill()
