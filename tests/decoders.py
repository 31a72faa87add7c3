"""Decoder processes as forks: a process that has imported what they need stands ready, and each is
a child of it. Hundreds of runs start one each, which would spend nearly all of its time importing.

A decoder that is started by the program is a process of its own, as `tests/pipelines/corpus/
test_reader.py` has it (`REAL_DECODERS`), and every command that tests start.
"""

from __future__ import annotations

import atexit
import gc
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 120.0
PRELOADED = (
    "pipelines.corpus.layouts",
    "pipelines.corpus.reader_process",
    "pipelines.corpus.sources.folder",
    "pipelines.corpus.sources.parquet",
    "soundfile",
    "soxr",
)


class Forked:
    """A decoder, with what `pipelines.corpus.child` needs of `subprocess.Popen`."""

    def __init__(self, call: socket.socket, errors: int) -> None:
        self._call, self._lock = call, threading.Lock()
        self.pid = int(call.recv(16))
        self.stderr = os.fdopen(errors, "rb")
        self.returncode: int | None = None

    def kill(self) -> None:
        with suppress(OSError):
            self._call.shutdown(socket.SHUT_WR)

    def wait(self) -> int:
        with self._lock:
            if self.returncode is None:
                self.returncode = int(self._call.recv(16) or -signal.SIGKILL)
                self._call.close()
            return self.returncode


def start(command: Sequence[str], *, env: Mapping[str, str], **how: Any) -> Any:
    """A decoder; a process of its own where it would find other modules."""
    if env.get("PYTHONPATH", "") != _Server.path or not hasattr(os, "pidfd_open"):
        return subprocess.Popen(command, env=env, **how)
    (connection,) = how["pass_fds"]
    reading, writing = os.pipe()
    call = socket.socket(socket.AF_UNIX)
    call.connect(_Server.address())
    socket.send_fds(call, [b"!"], [connection, writing])
    os.close(writing)
    asked = os.fsencode("\0".join(f"{name}={value}" for name, value in env.items()))
    call.sendall(len(asked).to_bytes(4, "big") + asked)
    return Forked(call, reading)


SUBPROCESS = SimpleNamespace(Popen=start, PIPE=subprocess.PIPE, DEVNULL=subprocess.DEVNULL)
"""in place of the module in `pipelines.corpus.child`"""


class _Server:
    """The process that stands ready: one for this process and those that it forks."""

    path = os.pathsep.join(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    _address: str | None = None
    _lock = threading.Lock()

    @classmethod
    def address(cls) -> str:
        with cls._lock:
            cls._address = cls._address or cls._start()
            return cls._address

    @classmethod
    def _start(cls) -> str:
        address = str(Path(mkdtemp(prefix="decoders-", dir="/tmp"), "socket"))
        one = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        server = subprocess.Popen(
            [sys.executable, __file__, address],
            env={**os.environ, **one, "PYTHONPATH": cls.path},
            stdin=subprocess.PIPE,  # its end is the end of this process
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        until = time.monotonic() + START_SECONDS
        while not Path(address).exists():
            assert server.poll() is None and time.monotonic() < until, "nothing to fork"
            time.sleep(0.01)
        atexit.register(_end, server, os.getpid())
        return address


def _end(server: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() == owner and server.stdin is not None:
        server.stdin.close()
        server.wait()


def serve(address: str) -> None:
    """Answer calls for as long as the process that began this one lives."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address + ".new")
        listener.listen(64)
        Path(address + ".new").rename(address)
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            call, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                attend(call)
            call.close()
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:  # those that have ended
                    pass
    Path(address).unlink()
    Path(address).parent.rmdir()


def attend(call: socket.socket) -> NoReturn:
    """Start a decoder and tell its number; when it ends, or the caller wants it to, tell how."""
    _, given, *_ = socket.recv_fds(call, 1, 2)
    length, asked = int.from_bytes(call.recv(4, socket.MSG_WAITALL), "big"), b""
    while len(asked) < length:
        asked += call.recv(length - len(asked))
    child = os.fork()
    if child == 0:
        call.close()
        decode(os.fsdecode(asked).split("\0"), *given)
    for one in given:
        os.close(one)
    with suppress(OSError):  # the caller may be killed, as whoever starts decoders
        call.sendall(b"%d" % child)
        ended = os.pidfd_open(child)
        if ended not in select.select([call, ended], [], [])[0]:
            os.kill(child, signal.SIGKILL)
        call.sendall(b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os._exit(0)


def decode(environment: list[str], connection: int, errors: int) -> NoReturn:
    """Be a decoder."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(errors, 2)
    os.close(errors)
    os.environ.clear()
    os.environ.update(variable.split("=", 1) for variable in environment)
    sys.argv = ["-c", str(connection), str(os.getppid())]
    try:
        import_module("pipelines.corpus.reader_process").main()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # not the folder of tests
    for name in PRELOADED:
        import_module(name)
    gc.freeze()
    serve(sys.argv[1])
