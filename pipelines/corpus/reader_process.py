"""The child process that decodes: `main`, with FD PARENT as arguments. Started by
`pipelines.corpus.reader`."""

from __future__ import annotations

import errno
import os
import pickle
import queue
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import BinaryIO

from av.error import FFmpegError

from pipelines.corpus.open_files import OpenFiles, name_of
from pipelines.corpus.reader import BEAT, BEGUN, BLOCK, END, FAILED, DecodeReport, DecodeSettings
from pipelines.corpus.sources.identity import STREAM
from pipelines.corpus.tables.alignment import ALIGNMENT
from pipelines.system.blame import EXIT_NO_MEMORY
from pipelines.system.remote import work_for
from tokenizer.allocator import keep_freed_memory
from tokenizer.audio import AudioReport, AudioStream, stream_audio
from tokenizer.audio.containers.following import may_go_on
from tokenizer.audio.cutting.recording import cut_by_header, cut_by_listening
from tokenizer.audio.quality.meter import QualityMeter
from tokenizer.audio.readers.base import opened
from tokenizer.audio.readers.opening import count_channels
from tokenizer.audio.readers.shared import SharedFile
from tokenizer.cuts import CutRule, Cuts
from tokenizer.errors import FailureKind, RecordingError, SourceUnavailable, UsageError
from tokenizer.types import Recording

_BEAT_EVERY = 2.0
"""seconds between signs of life while a large file is hashed, or decoded up to a segment"""
_WATCH_EVERY = 1.0


def main() -> None:
    """Decode what comes in, until the other end goes away."""
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
        self._files = OpenFiles(settings.source, self._now_and_then, settings.tags)
        self._last_beat = 0.0
        self._sending = threading.Lock()

    def beat(self) -> None:
        """Say that work goes on; also from another thread, while this one waits for a store."""
        with suppress(OSError):  # the parent has gone: whoever sends next notices
            self._send(BEAT, b"")

    def _now_and_then(self) -> None:
        """Beat, unless that was done just now."""
        if time.monotonic() - self._last_beat > _BEAT_EVERY:
            self.beat()
            self._last_beat = time.monotonic()

    def _at(self, seconds: float) -> None:
        """Beat, and say how far it is."""
        if time.monotonic() - self._last_beat > _BEAT_EVERY:
            self._send(BEAT, f"{seconds:.1f}".encode())
            self._last_beat = time.monotonic()

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
        if self._settings.only_channels:
            return self._count_channels(recording)
        if self._settings.cut is not None:
            return self._cut(recording, self._settings.cut)
        began = time.process_time()
        with self._files.opened(recording) as file:
            stream = self._stream(recording, file.audio, file.name)
            meter = QualityMeter(self._settings.quality, file.name)
            stream.listener = meter.add
            for block in stream:
                self._send(BLOCK, block.tobytes())
            quality = meter.result()
            seconds = time.process_time() - began
            return DecodeReport(stream.report, file.sha256, seconds, quality, file.tags)

    def _stream(
        self, recording: Recording, file: str | BinaryIO | SharedFile, name: str
    ) -> AudioStream:
        settings = self._settings
        chosen = recording.channel if recording.channel is not None else settings.chosen
        return stream_audio(
            file,
            settings.sample_rate or None,
            settings.channels or None,
            start=recording.start,
            end=recording.end,
            downmix=settings.downmix,
            channel=chosen,
            stream=self._stream_of(recording),
            allow_truncated=settings.allow_truncated,
            allow_damaged=settings.allow_damaged,
            name=name,
            second=settings.second,
        )

    def _stream_of(self, recording: Recording) -> int | None:
        """Which of the file's streams is read: what was asked for comes first."""
        asked = self._settings.stream
        return recording.locator.get(STREAM) if asked is None else asked

    def _cut(self, recording: Recording, rule: CutRule) -> DecodeReport:
        """Where to cut a recording: by its header if that is enough."""
        began = time.process_time()
        cuts = None
        if not (self._settings.allow_truncated or self._settings.allow_damaged):
            cuts = self._cut_by_header(recording, rule)
        found = _NOTHING_READ
        if cuts is None:
            with self._files.opened(recording) as file:
                stream = self._stream(recording, file.audio, file.name)
                words = [(word[0], word[1]) for word in recording.meta.get(ALIGNMENT, ())]
                cuts = cut_by_listening(stream, rule, words, self._at)
                found = stream.report
        return DecodeReport(found, "", time.process_time() - began, cuts=cuts)

    def _cut_by_header(self, recording: Recording, rule: CutRule) -> Cuts | None:
        file = self._settings.source.open_head(recording)
        try:
            whole = replace(recording, start=None, end=None)
            stream = self._stream(whole, file, name_of(recording))
            try:
                cuts = cut_by_header(stream, rule, recording.start, recording.end)
                if cuts is None or not cuts.pieces or stream.facts.container != "flac":
                    return cuts
                with opened(file) as handle:  # decoding reads on in a second stream
                    return None if may_go_on(handle) else cuts
            finally:
                stream.close()
        finally:
            if not isinstance(file, str):
                file.close()

    def _count_channels(self, recording: Recording) -> DecodeReport:
        file = self._settings.source.open_head(recording)
        try:
            count = count_channels(file, name_of(recording), self._stream_of(recording))
        finally:
            if not isinstance(file, str):
                file.close()
        return DecodeReport(replace(_NOTHING_READ, source_channels=count), "")

    def _send(self, kind: bytes, body: bytes) -> None:
        with self._sending:
            self._connection.send_bytes(kind + body)


_NOTHING_READ = AudioReport(
    source_sample_rate=0,
    source_channels=0,
    source_samples=0,
    num_samples=0,
    container="",
    codec="",
    decoder="",
    flags=(),
)
_OF_THE_MACHINE = {
    errno.ENOSPC: f"{tempfile.gettempdir()} is full: make room, or set TMPDIR to another folder",
    errno.EDQUOT: f"the quota of {tempfile.gettempdir()} is used up: make room, or set TMPDIR to "
    "another folder",
    errno.EMFILE: "too many open files: raise `ulimit -n`",
    errno.ENFILE: "too many open files on this machine",
}
"""errors that reading a recording gives, and that are not of the recording"""
_OF_THE_PLACE = {
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.ENXIO,
    errno.ENODEV,
    errno.ENOTCONN,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
}
"""what a disk, a share or its permissions do to a file, and perhaps to all beside it"""


def _input_output(recording: Recording, error: OSError) -> RecordingError | UsageError:
    if error.errno in _OF_THE_MACHINE and not isinstance(error, FFmpegError):
        return SourceUnavailable(
            f"{_OF_THE_MACHINE[error.errno]}, then run the same command again ({recording.uri})"
        )
    reason = str(error).splitlines()[0] if str(error) else ""
    # What the file system refuses is no matter of decoding, and may be so of the whole corpus.
    refused = error.errno in _OF_THE_PLACE and not isinstance(error, FFmpegError)
    return RecordingError(
        FailureKind.UNREADABLE,
        f"{recording.uri}: {type(error).__name__}: {reason}",
        "open" if refused else "decode",
    )


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
