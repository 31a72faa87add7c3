"""`--cut`: long recordings are planned as segments.

Where to cut is found in the processes that a run decodes in, several at a time: a file that a
decoder crashes or hangs on costs its recording. What comes back of a recording is a list of places,
so that memory does not grow with its length, but for a few bytes a second while it is read.
"""

from __future__ import annotations

import json
import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from pipelines.corpus.cut_rows import segments
from pipelines.corpus.reader import Decoder, DecodeReport, DecodeSettings
from pipelines.corpus.sources.base import EstimateFromHeader, Guess
from pipelines.corpus.tables.alignment import ALIGNMENT
from pipelines.system.machine import usable_cores
from pipelines.system.words import many
from tokenizer.audio.cutting.vad import require_silero
from tokenizer.cuts import VAD, CutRule
from tokenizer.errors import RecordingError
from tokenizer.types import SPLIT, Recording

_AHEAD = 1_024
"""recordings that wait for the one before them to be cut"""
_TOGETHER = 32
"""recordings, segments of one file, that one process looks at after each other"""
_SAID_EVERY = 0.5
"""seconds between words about how far it is"""
NOT_CUT = {"not_cut": True}
"""in the locator of what could not be cut: the source itself lists it as a recording like others"""
Look = RecordingError | DecodeReport


@dataclass(slots=True)
class CutCount:
    """What has been done so far."""

    looked: int = 0
    """recordings that were opened"""
    cut: int = 0
    segments: int = 0
    seconds: float = 0.0
    """that were looked through"""
    left_out: float = 0.0
    """seconds of silence"""
    lost: int = 0
    """stretches that are too short"""
    lost_seconds: float = 0.0
    lost_first: str = ""
    forced: int = 0
    untold: int = 0
    """cut recordings with a text and no times of words"""
    failed: int = 0

    def so_far(self, under_way: float) -> str:
        """In a line, with the seconds of what is not done yet."""
        return (
            f"cutting: {many(self.looked, 'recording')} looked through, "
            f"{(self.seconds + under_way) / 3600:,.2f} h, {many(self.segments, 'segment')} so far"
        )

    def notes(self, rule: CutRule) -> Iterator[str]:
        """All of it, a line for each thing that someone may want to know."""
        yield (
            f"--cut {rule.kind}: {many(self.cut, 'recording')} of over {rule.most:g} s into "
            f"{many(self.segments, 'segment')}"
            + (f", {self.forced} cuts where there was no pause" if self.forced else "")
        )
        if self.left_out > 0:
            yield f"--cut {rule.kind}: {self.left_out:,.1f} s of silence left out between segments"
        if self.lost:
            yield (
                f"--cut {rule.kind}: {self.lost} sounds ({self.lost_seconds:,.1f} s) shorter than "
                f"{rule.least:g} s left out, the first in {self.lost_first}: a lower --cut-min "
                "keeps them"
            )
        if self.untold:
            yield (
                f"--cut {rule.kind}: {many(self.untold, 'recording')} with text and no times of "
                "words: the segments have no text"
            )
        if self.failed:
            yield (
                f"--cut {rule.kind}: {many(self.failed, 'recording')} that could not be cut: "
                "failures, each with its reason"
            )


class Cutting:
    """Cuts what is longer than the rule allows, or of unknown length and found to be. What a
    source knows to be short enough is not opened."""

    def __init__(
        self,
        rule: CutRule,
        settings: DecodeSettings,
        say: Callable[[str], None] = lambda text: None,
        processes: int | None = None,
    ) -> None:
        """
        Args:
            rule: what is asked for.
            settings: as in the run.
            say: is told how far it is.
            processes: that read at the same time; None is one for each core.

        Raises:
            UsageError: Silero's VAD is asked for, and not installed.
        """
        if rule.kind == VAD:
            require_silero()
        self.rule = rule
        # All channels, whatever the codec has, since each may be the one that speaks.
        apart = settings.chosen == SPLIT
        self._settings = replace(
            settings,
            sample_rate=0,
            channels=0 if apart else 2,
            chosen=None if apart else settings.chosen,
            quality=(),
            cut=rule,
        )
        self._say, self._last = say, time.monotonic()
        self._processes = processes or usable_cores()
        self._decoders: list[Decoder] = []
        self.count = CutCount()

    def rows(self, recordings: Iterable[Recording]) -> Iterator[Recording]:
        """What is to be planned, in the recordings' order. One that cannot be decoded, or in which
        nothing is heard, is planned as what it is: a failure.

        Raises:
            UsageError: the corpus's store does not answer, or files cannot be opened from here.
        """
        idle: queue.SimpleQueue[Decoder] = queue.SimpleQueue()
        decoders = [Decoder(self._settings) for _ in range(self._processes)]
        self._decoders = decoders
        for decoder in decoders:
            idle.put(decoder)

        def look(group: Sequence[Recording]) -> list[Look]:
            decoder = idle.get()
            try:
                return list(_look(decoder, group))
            finally:
                decoder.read = 0.0
                idle.put(decoder)

        pool = ThreadPoolExecutor(self._processes, "cutting")
        waiting: deque[tuple[Sequence[Recording], Future[list[Look]] | None]] = deque()
        held = 0
        try:
            for group in self._groups(recordings):
                asks = self._is_asked(group[0])
                waiting.append((group, pool.submit(look, group) if asks else None))
                held += len(group)
                while waiting and (held > _AHEAD or _is_done(waiting[0][1])):
                    held -= len(waiting[0][0])
                    yield from self._taken(*waiting.popleft())
            while waiting:
                yield from self._taken(*waiting.popleft())
        finally:
            _stop(pool, decoders, [looked for _, looked in waiting if looked is not None])

    def notes(self) -> Iterator[str]:
        """What was done."""
        return self.count.notes(self.rule)

    def _is_asked(self, recording: Recording) -> bool:
        """Whether it has to be opened."""
        if "rejected" in recording.locator:
            return False
        if recording.end is not None:
            return recording.end - (recording.start or 0.0) > self.rule.most
        seconds = recording.seconds
        return (
            seconds is None
            or isinstance(seconds, Guess | EstimateFromHeader)
            or seconds > self.rule.most
        )

    def _groups(self, recordings: Iterable[Recording]) -> Iterator[list[Recording]]:
        """Recordings that are looked at after each other: those of one file, so that it is read
        once; the others one by one."""
        group: list[Recording] = []
        place = ""
        for recording in recordings:
            asks = self._is_asked(recording)
            here = _place(recording) if asks else ""
            if group and not (asks and here == place and len(group) < _TOGETHER):
                yield group
                group = []
            group.append(recording)
            place = here
        if group:
            yield group

    def _taken(
        self, group: Sequence[Recording], looked: Future[list[Look]] | None
    ) -> Iterator[Recording]:
        if looked is None:
            yield from group
            return
        while True:
            try:
                looks = looked.result(timeout=_SAID_EVERY)
                break
            except TimeoutError:
                self._tell()
        for recording, look in zip(group, looks, strict=True):
            yield from self._cut(recording, look)
        self._tell()

    def _cut(self, recording: Recording, look: Look) -> Iterator[Recording]:
        count = self.count
        count.looked += 1
        if isinstance(look, RecordingError):
            count.failed += 1
            locator = {**recording.locator, **NOT_CUT, "rejected": [str(look.kind), look.message]}
            yield replace(recording, locator=locator, seconds=0.1)
            return
        cuts = look.cuts
        if cuts is None:
            raise RuntimeError(f"{recording.id}: no cuts in a report about them")
        count.seconds += cuts.samples / cuts.sample_rate
        if cuts.pieces:
            count.cut += 1
            count.segments += len(cuts.pieces)
            count.left_out += cuts.left_out / cuts.sample_rate
            count.forced += cuts.forced
            count.untold += bool(recording.text) and ALIGNMENT not in recording.meta
        if cuts.lost:
            count.lost += len(cuts.lost)
            count.lost_seconds += sum(end - start for start, end in cuts.lost) / cuts.sample_rate
            count.lost_first = count.lost_first or recording.id
        yield from segments(recording, cuts, "truncated" in look.audio.flags)

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._last >= _SAID_EVERY:
            self._last = now
            going = sum(decoder.read for decoder in self._decoders)
            self._say(self.count.so_far(going))


def _look(decoder: Decoder, group: Sequence[Recording]) -> Iterator[Look]:
    for decoding in decoder.decode(group):
        try:
            for _ in decoding:
                pass
            yield decoding.report
        except RecordingError as error:
            yield error


def _stop(
    pool: ThreadPoolExecutor, decoders: Sequence[Decoder], looked: Sequence[Future[list[Look]]]
) -> None:
    """End all processes, also in the middle of a file."""
    pool.shutdown(wait=False, cancel_futures=True)
    while not all(one.done() for one in looked):  # a process may just be starting
        for decoder in decoders:
            decoder.stop()
        time.sleep(0.05)
    for decoder in decoders:
        decoder.close()


def _is_done(looked: Future[list[Look]] | None) -> bool:
    return looked is None or looked.done()


def _place(recording: Recording) -> str:
    """What segments of one file share."""
    return json.dumps([recording.uri, dict(recording.locator)], sort_keys=True)
