"""Audio decoded in a process that may be killed: a decoder that crashes or hangs costs one
recording, not the run.

this process                              child (`pipelines.corpus.reader_process`)
Decoder ── recordings, a few ahead ──▶    opens, hashes, decodes, resamples, checks
        ◀── blocks, a bounded number ──   one recording after the other, in order
"""

from __future__ import annotations

import pickle
import time
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.corpus.child import Child
from pipelines.corpus.sources.base import Source
from pipelines.system.blame import FAILURES, Death, DeathKind, Trial
from tokenizer.audio.stream import AudioReport
from tokenizer.cuts import CutRule, Cuts
from tokenizer.errors import FailureKind, RecordingError, UsageError
from tokenizer.types import Recording

AHEAD_RECORDINGS = 16
"""recordings that the child knows of in advance"""
BLOCK, BEAT, END, FAILED, BEGUN = b"BLCK", b"BEAT", b"END ", b"FAIL", b"BGUN"
"""first four bytes of every message; samples follow them aligned"""
_AGAIN = b"AGN "
"""the child is another one, and the recording comes from its beginning once more"""
STARTS = 40
"""children in a row that may die before they have begun on anything"""
START_SECONDS = 120.0
"""at least, that a child has until it begins: a busy machine, or an environment on a network, loads
slowly"""


@dataclass(frozen=True, slots=True)
class DecodeSettings:
    """What every recording is turned into, and how."""

    source: Source
    sample_rate: int
    channels: int
    downmix: bool = False
    chosen: str | None = None
    """one of `tokenizer.types.CHANNEL_CHOICES`, for recordings that do not say which channel they
    are; None is all channels"""
    stream: int | None = None
    """the file's track of sound, from 0; None is its default"""
    only_channels: bool = False
    """decode nothing, and report how many channels there are"""
    cut: CutRule | None = None
    """hand out no samples, and report where a recording is to be cut"""
    allow_truncated: bool = False
    allow_damaged: bool = False
    quality: tuple[str, ...] = ()
    """measures of `tokenizer.audio.quality`"""
    tags: bool = False
    """read what files say of themselves: `tokenizer.audio.tags`"""
    second: bool = False
    """read each by a second way, to hold the first against it"""
    timeout: float = 120.0
    """seconds without a sign of life after which the child is killed; those in which it, or this
    process, is stopped do not count"""


@dataclass(frozen=True, slots=True)
class DecodeReport:
    """What was found, known once a recording has ended."""

    audio: AudioReport
    source_sha256: str
    seconds: float = 0.0
    """of one core: hashing, decoding, resampling, measuring, handing over"""
    quality: Mapping[str, float | None] = field(default_factory=dict)
    """by measure; None where it says nothing of this recording"""
    tags: Mapping[str, Any] = field(default_factory=dict)
    """of the file, where they were asked for"""
    cuts: Cuts | None = None
    """where `DecodeSettings.cut` asks for them"""


class Decoding:
    """One recording on its way: iterate once for blocks float32 `[channels, n]`, then read
    `report`."""

    def __init__(self, decoder: Decoder, recording: Recording) -> None:
        self.recording = recording
        self._decoder = decoder
        self._ended = False
        self._report: DecodeReport | None = None
        self._given = _Given()
        self._given_before = _Given()

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
            RecordingError: the recording cannot be decoded, or its decoder crashed or hung on it,
                alone and again.
            SourceUnavailable: the corpus's store does not answer, or this machine is not as it was:
                no recording's fault.
            SourceError: it cannot be opened from here: credentials, a package.
            UsageError: the decoder's process does not start.
        """
        while not self._ended:
            kind, body = self._decoder.receive(self.recording)
            if kind == BLOCK:
                new = self._new_part(body)
                if new:
                    yield np.frombuffer(new, np.float32).reshape(
                        self._decoder.settings.channels, -1
                    )
            elif kind == _AGAIN:
                self._given_before, self._given = (
                    max(self._given_before, self._given, key=lambda given: given.bytes),
                    _Given(),
                )
            elif kind == END:
                self._ended = True
                self._require_same(self._given.bytes >= self._given_before.bytes)
                self._report = pickle.loads(body)
                self._decoder.busy += self.report.seconds
            elif kind == FAILED:
                self._ended = True
                raise pickle.loads(body)

    def _new_part(self, body: memoryview) -> memoryview:
        """What a block has that was not handed out before an earlier child died; blocks begin and
        end at the same places."""
        before, now = self._given_before, self._given
        known = now.bytes < before.bytes
        now.add(body)
        if not known:
            return body
        if now.bytes >= before.bytes:
            self._require_same(now == before)
        return body[:0]

    def _require_same(self, same: bool) -> None:
        if not same:
            self._ended = True
            message = (
                f"{self.recording.uri}: read twice, as its decoder died, and it had other samples "
                "the second time"
            )
            raise RecordingError(FailureKind.DAMAGED, message, "decode")

    def skip(self) -> None:
        """Throw the rest away."""
        try:
            for _ in self:
                pass
        except RecordingError:
            pass


@dataclass(slots=True)
class _Given:
    """What one child has sent of a recording."""

    bytes: int = 0
    crc: int = 0

    def add(self, body: memoryview) -> None:
        self.bytes += len(body)
        self.crc = zlib.crc32(body, self.crc)


class Decoder:
    """A child process that decodes, started when it is needed and replaced when it dies.

    What a death says about a recording, `pipelines.system.blame` decides: the recording is tried
    again in a fresh child, alone.
    """

    def __init__(self, settings: DecodeSettings) -> None:
        self.settings = settings
        self.waited = 0.0
        """seconds spent waiting for blocks"""
        self.busy = 0.0
        """seconds of one core that recordings which were read to their end have taken"""
        self.read = 0.0
        """seconds of the recording at the head of the line that were looked through, where it is
        to be cut"""
        self._child: Child | None = None
        self._sent: deque[Recording] = deque()
        self._trial: Trial | None = None
        """of the recording at the head of the line, once a child has died on it"""
        self._stopped = False
        self._starts = 0
        """children in a row that have died before they had begun"""

    def decode(self, recordings: Iterable[Recording]) -> Iterator[Decoding]:
        """Decode recordings in order, the next ones while the current one is being used."""
        coming = iter(recordings)
        if self._sent:  # an earlier call was broken off: its recordings are still in the pipe
            self.close()
        while True:
            while (
                len(self._sent) < AHEAD_RECORDINGS and (recording := next(coming, None)) is not None
            ):
                self._sent.append(recording)
                if self._child is not None and self._trial is None:
                    self._child.send(recording)
            if not self._sent:
                return
            current = Decoding(self, self._sent[0])
            yield current
            current.skip()
            self._sent.popleft()
            self._acquit()

    def receive(self, recording: Recording) -> tuple[bytes, memoryview]:
        """The next message about `recording`, the one at the head of the line.

        Raises:
            UsageError: no child can be started, or `stop` was called.
        """
        if self._stopped:
            raise UsageError("the process that decodes was stopped")
        child = self._child or self._start()
        began = time.monotonic()
        timeout = self.settings.timeout
        message = child.next_message(timeout if child.begun else max(timeout, START_SECONDS))
        self.waited += time.monotonic() - began
        if isinstance(message, Death) and not self._stopped:
            return self._died(recording, child, message)
        if isinstance(message, Death):
            raise UsageError("the process that decodes was stopped")
        kind = message[:4]
        if kind == BEAT and len(message) > 4:
            self.read = float(message[4:])
        if kind == BEGUN:
            child.begun = True
            self._starts = 0
        return kind, memoryview(message)[4:]

    def start(self) -> None:
        """Start the child before there is work for it."""
        if self._child is None:
            self._start()

    def close(self) -> None:
        """End the child; it is started again when it is needed."""
        self._sent.clear()
        self._trial = None
        if self._child is not None:
            self._child.kill()
            self._child = None

    def stop(self) -> None:
        """End the child for good, also while another thread waits for it: that gets an error."""
        self._stopped = True
        if self._child is not None:
            self._child.end()

    def _start(self) -> Child:
        """A fresh child, which is told of the recordings in line; on trial, the first one is
        alone."""
        self._child = Child(self.settings)
        for recording in list(self._sent)[: 1 if self._trial else None]:
            self._child.send(recording)
        return self._child

    def _acquit(self) -> None:
        """The recording at the head of the line is done: its child is given those behind it."""
        if self._trial is None:
            return
        self._trial = None
        if self._child is not None:
            for waiting in self._sent:
                self._child.send(waiting)

    def _died(self, recording: Recording, child: Child, death: Death) -> tuple[bytes, memoryview]:
        """Go on with another child; the recording has failed once there is evidence against it."""
        child.kill()
        verdict = None
        if child.begun:
            alone = self._trial is not None
            self._trial = self._trial or Trial(recording.id)
            verdict = self._trial.died(death, alone)
        else:
            self._count_start(child, death)
        if verdict is None:
            time.sleep(self._trial.pause if self._trial else 0.0)
            self._start()
            return _AGAIN, memoryview(b"")
        self._child = None
        kind = FAILURES.get(death.kind, FailureKind.CRASHED)
        return FAILED, memoryview(
            pickle.dumps(RecordingError(kind, f"{recording.uri}: {verdict}", "decode"))
        )

    def _count_start(self, child: Child, death: Death) -> None:
        """What fails before it has begun says nothing about any recording, and something is wrong
        where all do."""
        self._starts += 1
        if death.kind in (DeathKind.CRASHED, DeathKind.HUNG):  # whatever it is, it will not go away
            self._starts += STARTS // 4
        if self._starts >= STARTS:
            self._child = None
            raise UsageError(
                f"the process that decodes cannot start: {child.last_words() or death.what}"
            )
