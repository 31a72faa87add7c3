"""Audio decoded in a process that may be killed: a decoder that crashes or hangs costs one recording, not the run.

this process                              child (`pipelines.decode_worker`)
Decoder ── recordings, a few ahead ──▶    opens, hashes, decodes, resamples, checks
        ◀── blocks, a bounded number ──   one recording after the other, in order
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe

import numpy as np
from numpy.typing import NDArray

from pipelines.machine import own_command
from pipelines.sources.base import Source
from tokenizer.audio.stream import AudioReport
from tokenizer.errors import FailureKind, RecordingError
from tokenizer.types import Recording

AHEAD_RECORDINGS = 16
"""recordings that the child knows of in advance"""
AHEAD_BLOCKS = 32
"""blocks of about a second that wait to be used: 12 MB at 48 kHz stereo"""
BLOCK, BEAT, END, FAILED = b"BLCK", b"BEAT", b"END ", b"FAIL"
"""first four bytes of every message; samples follow them aligned"""
_GONE = b"GONE"


@dataclass(frozen=True, slots=True)
class DecodeSettings:
    """What every recording is turned into, and how."""

    source: Source
    sample_rate: int
    channels: int
    downmix: bool = False
    allow_truncated: bool = False
    allow_damaged: bool = False
    second: bool = False
    """read each by a second way, to hold the first against it"""
    timeout: float = 120.0
    """seconds without a sign of life after which the child is killed"""


@dataclass(frozen=True, slots=True)
class DecodeReport:
    """What was found, known once a recording has ended."""

    audio: AudioReport
    source_sha256: str
    seconds: float = 0.0
    """of one core: hashing, decoding, resampling, handing over"""


class Decoding:
    """One recording on its way: iterate once for blocks float32 `[channels, n]`, then read `report`."""

    def __init__(self, decoder: Decoder, recording: Recording) -> None:
        self.recording = recording
        self._decoder = decoder
        self._ended = False
        self._report: DecodeReport | None = None

    @property
    def report(self) -> DecodeReport:
        """What was found.

        Raises:
            RuntimeError: the recording has not ended, or has failed.
        """
        if self._report is None:
            raise RuntimeError(f"{self.recording.id}: no report before the end")
        return self._report

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Blocks, about a second each.

        Raises:
            RecordingError: the recording cannot be decoded, or its decoder crashed or hung.
            SourceUnavailable: the corpus's store does not answer.
            SourceError: it cannot be opened from here: credentials, a package.
        """
        while not self._ended:
            kind, body = self._decoder.receive(self.recording)
            if kind == BLOCK:
                yield np.frombuffer(body, np.float32).reshape(self._decoder.settings.channels, -1)
            elif kind == END:
                self._ended = True
                self._report = pickle.loads(body)
                self._decoder.busy += self.report.seconds
            elif kind == FAILED:
                self._ended = True
                raise pickle.loads(body)

    def skip(self) -> None:
        """Throw the rest away."""
        try:
            for _ in self:
                pass
        except RecordingError:
            pass


class Decoder:
    """A child process that decodes, started when it is needed and replaced when it dies."""

    def __init__(self, settings: DecodeSettings) -> None:
        self.settings = settings
        self.waited = 0.0
        """seconds spent waiting for blocks"""
        self.busy = 0.0
        """seconds of one core that recordings which were read to their end have taken"""
        self._child: _Child | None = None
        self._sent: deque[Recording] = deque()

    def decode(self, recordings: Iterable[Recording]) -> Iterator[Decoding]:
        """Decode recordings in order, the next ones while the current one is being used."""
        coming = iter(recordings)
        if self._sent:  # an earlier call was broken off: its recordings are still in the pipe
            self.close()
        while True:
            while len(self._sent) < AHEAD_RECORDINGS and (recording := next(coming, None)) is not None:
                self._sent.append(recording)
                if self._child is not None:
                    self._child.send(recording)
            if not self._sent:
                return
            current = Decoding(self, self._sent[0])
            yield current
            current.skip()
            self._sent.popleft()

    def receive(self, recording: Recording) -> tuple[bytes, memoryview]:
        """The next message about `recording`, the one at the head of the line."""
        child = self._child or self._start()
        began = time.monotonic()
        try:
            message = child.messages.get(timeout=self.settings.timeout)
        except queue.Empty:
            return self._failed(recording, FailureKind.TIMED_OUT, f"no progress for {self.settings.timeout:g} s")
        finally:
            self.waited += time.monotonic() - began
        if message == _GONE:
            return self._failed(recording, FailureKind.CRASHED, f"the decoder died of {child.cause_of_death()}")
        return message[:4], memoryview(message)[4:]

    def start(self) -> None:
        """Start the child before there is work for it."""
        if self._child is None:
            self._start()

    def close(self) -> None:
        """End the child; it is started again when it is needed."""
        self._sent.clear()
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _start(self) -> _Child:
        self._child = _Child(self.settings)
        for recording in self._sent:
            self._child.send(recording)
        return self._child

    def _failed(self, recording: Recording, kind: FailureKind, what: str) -> tuple[bytes, memoryview]:
        # Another child goes on behind the recording at the head of the line.
        if self._child is not None:
            self._child.kill()
        self._child = _Child(self.settings)
        for waiting in list(self._sent)[1:]:
            self._child.send(waiting)
        error = RecordingError(kind, f"{recording.uri}: {what}", "decode")
        return FAILED, memoryview(pickle.dumps(error))


class _Child:
    """One life of the child process, with a thread that takes its messages off the pipe."""

    def __init__(self, settings: DecodeSettings) -> None:
        ours, theirs = Pipe(duplex=True)
        self._connection = ours
        command = own_command("pipelines.decode_worker", str(theirs.fileno()), str(os.getpid()))
        # NumPy's library of products would start a thread a core in each child, and nothing here needs one.
        alone = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], env=alone, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        theirs.close()
        self.messages: queue.Queue[bytes] = queue.Queue(AHEAD_BLOCKS)
        self._closing = threading.Event()
        threading.Thread(target=self._pump, args=(ours,), daemon=True, name="decoder-pump").start()
        self.send(settings)

    def send(self, value: DecodeSettings | Recording) -> None:
        # An error means that it has died: the pump says so to whoever waits for its messages.
        with suppress(OSError):
            self._connection.send(value)

    def kill(self) -> None:
        self._closing.set()
        self._process.kill()
        self._process.wait()

    def cause_of_death(self) -> str:
        code = self._process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

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
