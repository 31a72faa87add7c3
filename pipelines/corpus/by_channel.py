"""`--channels split`: a recording of several channels is planned as a row for each.

How many there are is read from the files' headers, in processes of their own: a header that a
decoder crashes or hangs on costs its recording.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice

from pipelines.corpus.cutting import Cutting
from pipelines.corpus.lengths import with_lengths
from pipelines.corpus.own_keys import beside
from pipelines.corpus.reader import Decoder, DecodeSettings
from pipelines.corpus.sources.base import Source
from pipelines.corpus.tables.word_times import WordCount
from pipelines.system.machine import usable_cores
from pipelines.system.words import many
from tokenizer.errors import RecordingError
from tokenizer.types import SPLIT, Recording

RECORDING = "recording"
"""key of `meta`: the id of the recording that a row is one channel of"""
_READERS = 8
"""processes at most that read headers"""
_AT_A_TIME = 2_048
"""recordings that are looked at together"""
_FEW = 64
"""headers that are not worth another process"""


def planned(
    source: Source,
    channels: str | None,
    stream: int | None,
    timeout: float,
    recordings: Iterable[Recording] | None = None,
    cutting: Cutting | None = None,
) -> Iterator[Recording]:
    """What a source lists, with lengths from headers where the source knows none, and by channel
    where `channels` says so; the source's notes then say what was done.

    Args:
        recordings: those of them that are meant; None is all.
        cutting: cuts those that are long, all channels of one at the same places.

    Raises:
        UsageError: it cannot be listed, or its files cannot be opened from here.
    """
    words = WordCount()
    listed = words.watch(source.scan() if recordings is None else recordings)
    listed = with_lengths(source, listed, doubt=cutting is not None)
    if cutting is not None:
        listed = cutting.rows(listed)
    if channels != SPLIT:
        yield from listed
    else:
        by_channel = ByChannel(source, stream, timeout)
        yield from by_channel.rows(listed)
        source.note(by_channel.note())
    for note in cutting.notes() if cutting is not None else ():
        source.note(note)
    for note in words.notes():
        source.note(note)


class ByChannel:
    """Rows `ID#0`, `ID#1` … for the channels of recording `ID`, one after the other, of the same
    times; `meta.recording` is `ID`, `meta.channel` the number, `meta.channels` how many there are.

    A recording of one channel stays as it is, and so does one whose layout says which channel it
    is. One whose header cannot be read is planned as it is, and fails when its turn comes.
    """

    def __init__(self, source: Source, stream: int | None, timeout: float) -> None:
        """`stream` and `timeout` as `DecodeSettings` has them."""
        self._settings = DecodeSettings(
            source, 0, 0, stream=stream, only_channels=True, timeout=timeout
        )
        self._split = self._rows = self._single = self._unread = 0
        self._last: tuple[str, int | None] = ("", None)

    def rows(self, recordings: Iterable[Recording]) -> Iterator[Recording]:
        """What is to be planned.

        Raises:
            UsageError: the corpus's store does not answer, or files cannot be opened from here.
        """
        coming, readers = iter(recordings), min(_READERS, usable_cores())
        decoders = [Decoder(self._settings) for _ in range(readers)]
        try:
            while block := list(islice(coming, _AT_A_TIME)):
                counts = self._counts(block, decoders)
                for recording in block:
                    yield from self._of(recording, counts)
                self._last = _place(block[-1]), counts.get(_place(block[-1]))
        finally:
            for decoder in decoders:
                decoder.close()

    def note(self) -> str:
        """What was done, in one line."""
        said = [f"--channels split: {many(self._split, 'recording')} into {self._rows} rows"]
        if self._single:
            said.append(f"{self._single} of one channel, a row each")
        if self._unread:
            said.append(f"{self._unread} with headers that could not be read")
        return ", ".join(said)

    def _of(self, recording: Recording, counts: dict[str, int | None]) -> Iterator[Recording]:
        if not _asked(recording):
            yield recording
            return
        count = counts[_place(recording)]
        if count is None or count == 1:
            self._single, self._unread = self._single + (count == 1), self._unread + (count is None)
            yield recording
            return
        self._split, self._rows = self._split + 1, self._rows + count
        for channel in range(count):
            said = {RECORDING: recording.id, "channel": channel, "channels": count}
            yield replace(
                recording,
                id=f"{recording.id}#{channel}",
                channel=channel,
                meta=beside(recording.meta, said),
            )

    def _counts(
        self, recordings: Sequence[Recording], decoders: Sequence[Decoder]
    ) -> dict[str, int | None]:
        """Channels by place, each file looked at once; None where its header cannot be read."""
        files = {_place(one): one for one in recordings if _asked(one)}
        known = {self._last[0]: self._last[1]} if self._last[0] in files else {}
        todo = [one for place, one in files.items() if place not in known]
        used = decoders[: max(1, min(len(decoders), len(todo) // _FEW))]
        parts = [todo[number :: len(used)] for number in range(len(used))]
        with ThreadPoolExecutor(len(used)) as pool:
            for part, counts in zip(parts, pool.map(_read, used, parts), strict=True):
                known |= dict(zip(map(_place, part), counts, strict=True))
        return known


def _read(decoder: Decoder, recordings: Sequence[Recording]) -> list[int | None]:
    counts: list[int | None] = []
    for decoding in decoder.decode(recordings):
        try:
            for _ in decoding:
                pass
            counts.append(decoding.report.audio.source_channels)
        except RecordingError:
            counts.append(None)
    return counts


def _asked(recording: Recording) -> bool:
    """Whether its channels are to be counted."""
    return recording.channel is None and "rejected" not in recording.locator


def _place(recording: Recording) -> str:
    """What segments of one file share."""
    return json.dumps([recording.uri, dict(recording.locator)], sort_keys=True)
