"""A process that decodes what it is sent, and both ends of its pipes.

Its standard input carries pickled jobs and its standard output pickled answers. It ends when its
input does, so that it does not outlive the process that started it.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from pipelines.decoding.job import Job, Loading, Result, result_of
from pipelines.system.machine import own_command
from tokenizer.errors import CodecshardsError

_WATCH_EVERY = 1.0
"""seconds"""


class Died(Exception):
    """The process has ended; the message says how."""


class Child:
    """The end of the process that gives the work."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            own_command("pipelines.decoding.child"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def load(self, loading: Loading) -> None:
        """Have it load the codec.

        Raises:
            CodecshardsError: as `Loading.load`.
            Died: the process has ended.
        """
        self._ask(loading)

    def run(self, job: Job) -> Result:
        """Have it do one job.

        Raises:
            CodecshardsError: what would befall every recording.
            Died: the process has ended.
        """
        size, failure = self._ask(job)
        return int(size), failure

    def _ask(self, question: object) -> Any:
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise Died("no pipes")
        try:
            pickle.dump(question, process.stdin)
            process.stdin.flush()
            answer = pickle.load(process.stdout)
        except (OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
            code = process.wait()
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise Died(f"its process ended ({how})") from error
        if isinstance(answer, CodecshardsError):
            raise answer
        return answer

    def close(self) -> None:
        """Let it end, and wait for that."""
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        self._process.wait()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def main() -> None:
    """The process that does the work. Ctrl-C is for the one that gives it."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not stand among the answers
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    codec = None
    while True:
        try:
            question = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answer: object
        try:
            if isinstance(question, Loading):
                codec, answer = question.load(), None
            elif codec is not None:
                answer = result_of(codec, question)
        except CodecshardsError as error:
            answer = error
        try:
            pickle.dump(answer, answers)
            answers.flush()
        except BrokenPipeError:  # nobody is there to be told
            os._exit(0)


def _end_with(parent: int) -> None:
    """End with the process that gives the work, also in the middle of a long recording."""
    while os.getppid() == parent:
        time.sleep(_WATCH_EVERY)
    os._exit(0)
