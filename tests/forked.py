"""The `codecshards` command as a fork: a process that has imported everything stands ready, and
each call is a child of it. Arguments, folder, environment, output and exit code are those of a
process of its own, which would spend most of its time importing.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from warm_decoders import MODULES, WarmDecoders

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 120.0
PRELOADED = (
    "datasets",
    "pandas",  # as pyarrow does, once it is given a list
    "pipelines.cli.decode",
    "pipelines.cli.inspect",
    "pipelines.cli.main",
    "pipelines.cli.tokenize",
    "pipelines.corpus.sources.folder",
    "pipelines.output.bare.shards",
    "pipelines.output.export_audio",
    "pipelines.output.formats.parquet",
    "pipelines.output.inspect",
    "pipelines.run",
    *MODULES,
)
CLIENT = """#!{python} -IS
import os, socket, sys
given = [os.getcwd(), str(len(sys.argv)), *sys.argv]
given += [name + "=" + value for name, value in os.environ.items()]
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [b"!"], [0, 1, 2])
    server.sendall(os.fsencode("\\0".join(given)))
    server.shutdown(socket.SHUT_WR)
    code = int(server.recv(16))
if code < 0:
    os.kill(os.getpid(), -code)
sys.exit(code)
"""
"""what is called: its arguments, folder, environment and streams go to the process that stands
ready"""


@contextmanager
def forked_command() -> Iterator[Path]:
    """A file that is called as `codecshards` is."""
    with TemporaryDirectory(dir="/tmp", prefix="forked-") as folder:  # a socket's name is short
        yield from _forked_command(Path(folder))


def _forked_command(folder: Path) -> Iterator[Path]:
    address, command = folder / "socket", folder / "codecshards"
    server = subprocess.Popen(
        [sys.executable, __file__, str(address)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until = time.monotonic() + START_SECONDS
        while not address.exists():
            assert server.poll() is None and time.monotonic() < until, "no process to fork"
            time.sleep(0.02)
        command.write_text(CLIENT.format(python=sys.executable, address=str(address)))
        command.chmod(0o755)
        yield command
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)  # those that hang, too
        server.wait()


def serve(address: str) -> None:
    """Answer calls until killed."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address + ".new")
        listener.listen(64)
        Path(address + ".new").rename(address)
        while True:
            call, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                os._exit(answer(call))
            call.close()
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:  # calls that have ended
                    pass


def answer(call: socket.socket) -> int:
    """Have a child do what is asked for, and tell its exit code; minus the signal's number where a
    signal ended it."""
    _, streams, *_ = socket.recv_fds(call, 1, 3)
    asked = b""
    while more := call.recv(1 << 16):
        asked += more
    child = os.fork()
    if child == 0:
        call.close()
        run(os.fsdecode(asked).split("\0"), streams)
    call.sendall(b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    return 0


def run(asked: list[str], streams: list[int]) -> NoReturn:
    """Become the command, and end as it does."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    folder, count, *rest = asked
    sys.argv = rest[: int(count)]
    os.environ.clear()
    os.environ.update(variable.split("=", 1) for variable in rest[int(count) :])
    os.chdir(folder)
    if sys.argv[1:2] == ["tokenize"]:
        import_module("pipelines.corpus.child").subprocess = WarmDecoders().fork_here()
    try:
        code = import_module("codecshards.__main__").main()
    except SystemExit as end:  # as argparse ends
        code = end.code
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)  # to take everything imported down would copy all of it first


if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # not the folder of tests
    for name in PRELOADED:
        import_module(name)
    gc.freeze()
    serve(sys.argv[1])
