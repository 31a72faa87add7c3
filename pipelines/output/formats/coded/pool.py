"""Where batches of segments are coded and decoded: in this process, or in several beside it."""

from __future__ import annotations

import pickle
import subprocess
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from pipelines.output.formats.coded.jobs import Job
from pipelines.system.machine import own_command
from tokenizer.coding.base import Predictor
from tokenizer.errors import CodecshardsError, OutputError


class Pool:
    """Takes batches; results are the same wherever they are made."""

    def __init__(self, workers: int = 0) -> None:
        """`workers`: processes; 0 is this one."""
        self.workers = workers
        self._threads = ThreadPoolExecutor(workers, "coder") if workers else None
        self._idle: deque[_Child] = deque()
        self._all: list[_Child] = []
        self._lock = threading.Lock()

    def submit(self, predictor: Predictor, job: Job) -> Future[Any]:
        """Have a batch done."""
        if self._threads is not None:
            return self._threads.submit(self._run, predictor, job)
        done: Future[Any] = Future()
        done.set_result(job.run(predictor))
        return done

    def close(self) -> None:
        """End the processes."""
        for child in self._all:
            child.end()
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def _run(self, predictor: Predictor, job: Job) -> Any:
        child = self._take()
        found = child.run(predictor, job)
        self._idle.append(child)
        return found

    def _take(self) -> _Child:
        try:
            return self._idle.popleft()
        except IndexError:
            child = _Child()
            with self._lock:
                self._all.append(child)
            return child


class _Child:
    """A process that codes: `pipelines.output.formats.coded.child`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            own_command("pipelines.output.formats.coded.child"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._known = ""

    def run(self, predictor: Predictor, job: Job) -> Any:
        """
        Raises:
            CodecshardsError: what the job raises.
            OutputError: the process has ended.
        """
        if self._known != predictor.fingerprint:
            self._ask(predictor)
            self._known = predictor.fingerprint
        return self._ask(job)

    def end(self) -> None:
        self._process.kill()
        with suppress(OSError):
            self._process.wait()

    def _ask(self, question: object) -> Any:
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise OutputError("a process that codes has no pipes")
        try:
            pickle.dump(question, process.stdin, pickle.HIGHEST_PROTOCOL)
            process.stdin.flush()
            answer = pickle.load(process.stdout)
        except (OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
            code = process.wait()
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise OutputError(
                f"a process that codes has ended ({how}): give fewer --workers, and the same "
                "command again"
            ) from error
        if isinstance(answer, CodecshardsError):
            raise answer
        return answer
