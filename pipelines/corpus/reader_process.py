"""The child process that decodes: `main`, with FD PARENT as arguments. Started by
`pipelines.corpus.reader`."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import queue
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import BinaryIO

from av.error import FFmpegError

from pipelines.corpus.reader import BEAT, BEGUN, BLOCK, END, FAILED, DecodeReport, DecodeSettings
from pipelines.system.blame import EXIT_NO_MEMORY
from pipelines.system.remote import work_for
from tokenizer.allocator import keep_freed_memory
from tokenizer.audio import stream_audio
from tokenizer.audio.quality.meter import QualityMeter
from tokenizer.errors import FailureKind, RecordingError, SourceUnavailable, UsageError
from tokenizer.types import Recording

_HASH_BLOCK = 1 << 20
_BEAT_EVERY = 2.0
"""seconds between signs of life while hashing a large file"""
_WATCH_EVERY = 1.0


def main() -> None:
    """Decode what comes in, until the other end goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    keep_freed_memory()
    connection = Connection(int(sys.argv[1]))
    _die_with(int(sys.argv[2]))
    settings: DecodeSettings = connection.recv()
    worker = _Worker(connection, settings)
    work_for(worker.beat, min(_BEAT_EVERY, settings.timeout / 4))
    # Requests are taken off the pipe at once, so that the parent never waits to send while we wait
    # to send.
    requests: queue.SimpleQueue[Recording | None] = queue.SimpleQueue()
    threading.Thread(target=_take_requests, args=(connection, requests), daemon=True).start()
    while (recording := requests.get()) is not None:
        worker.work(recording)


class _Worker:
    """Decodes one recording after the other."""

    def __init__(self, connection: Connection, settings: DecodeSettings) -> None:
        self._connection = connection
        self._settings = settings
        self._hashed: tuple[object, str] | None = None
        self._sending = threading.Lock()

    def beat(self) -> None:
        """Say that work goes on; also from another thread, while this one waits for a store."""
        with suppress(OSError):  # the parent has gone: whoever sends next notices
            self._send(BEAT, b"")

    def work(self, recording: Recording) -> None:
        try:
            self._send(BEGUN, b"")
            report = self._decode(recording)
            self._send(END, pickle.dumps(report))
        except (
            RecordingError,
            UsageError,
        ) as error:  # what cannot be used now, and why, is the parent's to say
            self._send(FAILED, pickle.dumps(error))
        except (BrokenPipeError, ConnectionResetError):
            os._exit(0)  # the parent has gone
        except MemoryError as error:
            if not isinstance(
                error, FFmpegError
            ):  # whose word for sizes that cannot be is the same
                os._exit(EXIT_NO_MEMORY)
            self._send(
                FAILED,
                pickle.dumps(
                    RecordingError(FailureKind.DAMAGED, f"{recording.uri}: {error}", "decode")
                ),
            )
        except OSError as error:
            self._send(FAILED, pickle.dumps(_input_output(recording, error)))
        except (
            Exception
        ) as error:  # whatever a decoder raises is this recording's failure, never the run's
            reason = str(error).splitlines()[0] if str(error) else ""
            message = f"{recording.uri}: {type(error).__name__}: {reason}"
            self._send(FAILED, pickle.dumps(RecordingError(FailureKind.DAMAGED, message, "decode")))

    def _decode(self, recording: Recording) -> DecodeReport:
        began = time.process_time()
        file = self._settings.source.open(recording)
        try:
            digest = self._hash(recording, file)
            stream = stream_audio(
                file,
                self._settings.sample_rate,
                self._settings.channels,
                start=recording.start,
                end=recording.end,
                downmix=self._settings.downmix,
                allow_truncated=self._settings.allow_truncated,
                allow_damaged=self._settings.allow_damaged,
                name=_name(recording),
                second=self._settings.second,
            )
            meter = QualityMeter(self._settings.quality, _name(recording))
            stream.listener = meter.add
            for block in stream:
                self._send(BLOCK, block.tobytes())
            quality = meter.result()
            return DecodeReport(stream.report, digest, time.process_time() - began, quality)
        finally:
            if not isinstance(file, str):
                file.close()

    def _hash(self, recording: Recording, file: str | BinaryIO) -> str:
        """SHA-256 of the source's bytes; segments of one file hash it once."""
        status = Path(file).stat() if isinstance(file, str) else None
        version = (status.st_size, status.st_mtime_ns) if status else ()
        key = (recording.uri, json.dumps(dict(recording.locator), sort_keys=True), version)
        if self._hashed is None or self._hashed[0] != key:
            self._hashed = (key, _sha256(file, self.beat))
        return self._hashed[1]

    def _send(self, kind: bytes, body: bytes) -> None:
        with self._sending:
            self._connection.send_bytes(kind + body)


_OF_THE_MACHINE = {
    errno.ENOSPC: f"{tempfile.gettempdir()} is full: make room, or set TMPDIR to another folder",
    errno.EDQUOT: f"the quota of {tempfile.gettempdir()} is used up: make room, or set TMPDIR to "
    "another folder",
    errno.EMFILE: "too many open files: raise `ulimit -n`",
    errno.ENFILE: "too many open files on this machine",
}
"""errors that reading a recording gives, and that are not of the recording"""


def _input_output(recording: Recording, error: OSError) -> RecordingError | UsageError:
    if error.errno in _OF_THE_MACHINE and not isinstance(error, FFmpegError):
        return SourceUnavailable(
            f"{_OF_THE_MACHINE[error.errno]}, then run the same command again ({recording.uri})"
        )
    reason = str(error).splitlines()[0] if str(error) else ""
    return RecordingError(
        FailureKind.UNREADABLE, f"{recording.uri}: {type(error).__name__}: {reason}", "decode"
    )


def _name(recording: Recording) -> str:
    member = recording.locator.get("member")
    return f"{recording.uri}/{member}" if member else recording.uri


def _sha256(file: str | BinaryIO, beat: Callable[[], None]) -> str:
    digest, last = hashlib.sha256(), time.monotonic()
    handle = Path(file).open("rb") if isinstance(file, str) else file  # noqa: SIM115
    try:
        while block := handle.read(_HASH_BLOCK):
            digest.update(block)
            if time.monotonic() - last > _BEAT_EVERY:
                beat()
                last = time.monotonic()
    finally:
        if isinstance(file, str):
            handle.close()
        else:
            handle.seek(0)
    return digest.hexdigest()


def _take_requests(connection: Connection, requests: queue.SimpleQueue[Recording | None]) -> None:
    try:
        while True:
            requests.put(connection.recv())
    except (EOFError, OSError):
        os._exit(0)


def _die_with(parent: int) -> None:
    """Exit when the parent has died, also while a decoder hangs."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_EVERY)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
