"""Decoders' processes that are forked from one that has all its modules in memory.

Most tests of `pipelines` start decoders, some a dozen of them, and all but the start of a small
corpus is done in milliseconds. What is forked is a process of its own with the same `main`, the
environment, the working folder and the pipes that it would have been started with; it crashes, is
killed and ends alike. Processes of the command, and Ray's workers, start theirs as users' do.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MODULE = "pipelines.corpus.reader_process"
MODULES = (
    MODULE,
    "av.subtitles.stream",
    "numpy.ma",
    "pipelines.corpus.sources.folder",
    "pipelines.corpus.sources.parquet",
    "pipelines.corpus.sources.table_file",
    "pipelines.corpus.sources.tar",
    "soundfile",
    "soxr",
)
"""with what else decoders import, once they have their settings and a recording"""
MOST_BYTES = 1 << 20


class WarmDecoders:
    """The process that forks, and those that it has forked as `subprocess.Popen` shows them."""

    DEVNULL, PIPE = subprocess.DEVNULL, subprocess.PIPE

    def __init__(self) -> None:
        self._server: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._asking = threading.Lock()

    def Popen(
        self,
        command: Sequence[str],
        *,
        pass_fds: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
        **how: Any,
    ) -> Forked | subprocess.Popen[bytes]:
        """In place of `subprocess.Popen`, for those who start a decoder; others get what they ask
        for."""
        from pipelines.system.machine import own_command

        if list(command[:4]) != list(own_command(MODULE)) or len(pass_fds) != 1 or env is None:
            return subprocess.Popen(command, pass_fds=pass_fds, env=env, **how)
        with self._asking:
            return self._fork(pass_fds[0], env)

    def fork_here(self) -> WarmDecoders:
        """Have them forked from this process as it is now: it has no threads yet, and what it has
        imported includes `MODULES`. Returns itself."""
        ours, theirs = _pair()
        if os.fork() == 0:
            ours.close()
            serve(theirs.detach())
            os._exit(0)
        theirs.close()
        self._socket = ours
        return self

    def close(self) -> None:
        if self._server is not None and self._socket is not None:
            self._socket.close()
            self._server.wait()

    def _fork(self, connection: int, env: Mapping[str, str]) -> Forked:
        ours = self._socket or self._start()
        errors, says = os.pipe()
        status, tells = os.pipe()
        try:
            question = json.dumps({"env": dict(env), "cwd": str(Path.cwd())}).encode()
            socket.send_fds(ours, [question], [connection, says, tells])
            return Forked(int(ours.recv(32)), errors, status)
        finally:
            os.close(says)
            os.close(tells)

    def _start(self) -> socket.socket:
        ours, theirs = _pair()
        code = f"import sys; sys.path += [{str(ROOT)!r}, {str(ROOT / 'tests')!r}]; "
        code += f"from warm_decoders import serve; sys.path.pop(); serve({theirs.fileno()})"
        self._server = subprocess.Popen(
            [sys.executable, "-P", "-c", code],
            pass_fds=[theirs.fileno()],
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        self._socket = ours
        return ours


def _pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST_BYTES)
    return ours, theirs


class Forked:
    """What decoders' owners use of `subprocess.Popen`, of a process that is another's child."""

    def __init__(self, pid: int, errors: int, status: int) -> None:
        self.pid, self.stderr = pid, os.fdopen(errors, "rb")
        self.returncode: int | None = None
        self._status = os.fdopen(status, "rb")
        self._reading = threading.Lock()

    def wait(self) -> int:
        with self._reading:
            if self.returncode is None:
                with self._status:
                    self.returncode = int(self._status.read() or -signal.SIGKILL)
            return self.returncode

    def poll(self) -> int | None:
        if self.returncode is None and not select.select([self._status], [], [], 0)[0]:
            return None
        return self.wait()

    def kill(self) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def serve(number: int) -> None:
    """Fork one for each question, until the other end goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from codecshards.own import own_packages

    own_packages()
    for name in MODULES:
        import_module(name)
    gc.collect()
    gc.freeze()  # else every child would copy what its collector looks at
    questions = socket.socket(fileno=number)
    ended, wakes = os.pipe()
    for end in (ended, wakes):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    told: dict[int, int] = {}
    while True:
        ready = select.select([questions, ended], [], [])[0]
        if ended in ready:
            os.read(ended, 4096)
            _reap(told)
        if questions not in ready:
            continue
        question, pipes, _, _ = socket.recv_fds(questions, MOST_BYTES, 3)
        if not question:
            return
        connection, errors, status = pipes
        pid = os.fork()
        if pid == 0:
            for fd in (number, ended, wakes, status, *told.values()):
                os.close(fd)
            _decode(json.loads(question), connection, errors)
        told[pid] = status
        os.close(connection)
        os.close(errors)
        questions.send(str(pid).encode())


def _reap(told: dict[int, int]) -> None:
    """Tell how children have ended."""
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            status = told.pop(found[0])
            with suppress(OSError):  # whoever asked has gone
                os.write(status, str(os.waitstatus_to_exitcode(found[1])).encode())
            os.close(status)


def _decode(question: Mapping[str, Any], connection: int, errors: int) -> None:
    """Be the process that was asked for."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.dup2(errors, 2)
        os.close(errors)
        os.environ.clear()
        os.environ.update(question["env"])
        os.chdir(question["cwd"])
        sys.path[:0] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
        sys.argv[1:] = [str(connection), str(os.getppid())]
        import_module(MODULE).main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with ExitStack() as stack:
            stack.callback(os._exit, code)
            sys.stderr.flush()
