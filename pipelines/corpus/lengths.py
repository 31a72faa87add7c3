"""Lengths of a corpus's recordings from their files' headers, while it is listed: in parallel, in
order, and with a bounded number of files looked at at a time.

A file is looked at by a few reads of bounded size (`tokenizer.audio.containers.lengths`), so that
nothing in it can crash or hold up whoever lists. What has no length that way keeps what its size
suggests. The same files give the same lengths.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice

from pipelines.corpus.sources.base import (
    EstimateFromHeader,
    FromHeader,
    Guess,
    Place,
    Source,
    seconds_said,
)
from pipelines.corpus.sources.downloads import answers
from pipelines.system.places import is_remote, scheme
from pipelines.system.remote import WEB, filesystem
from tokenizer.audio.containers.glance import Glance
from tokenizer.audio.containers.lengths import Length, length_of
from tokenizer.errors import SourceError, SourceUnavailable
from tokenizer.types import Recording

_AT_A_TIME = 128
"""recordings that are looked at by one thread, one after the other"""
_THREADS = 32
"""most of them wait for a disk or a store"""
_AHEAD = 64
"""blocks that are under way, or wait for one before them"""
_FEW = 8
"""recordings of remote files that are looked at by one thread"""
_AGREE = 0.1
"""how far a header's estimate may be from what a corpus says, and bear it out"""
_LOCAL_BLOCK, _LOCAL_LOOKS = 1 << 12, 64
_REMOTE_BLOCK, _REMOTE_LOOKS = 1 << 15, 6
"""bytes of a request, and how many a file is worth"""


def with_lengths(
    source: Source, recordings: Iterable[Recording], *, doubt: bool = False
) -> Iterator[Recording]:
    """The recordings as they come, those whose length the corpus does not say with that of their
    file's header.

    Args:
        source: of the recordings.
        recordings: as it lists them.
        doubt: look also where the corpus says a length, which gives way where a header says
            another, and is a guess where the header of a local file says none.

    Raises:
        SourceUnavailable: a store does not answer, for anything.
    """
    coming = iter(recordings)
    waiting: deque[Callable[[], list[Recording]]] = deque()
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="headers")
    try:
        while True:
            block = list(islice(coming, _AT_A_TIME))
            if not block:
                break
            if not waiting and not any(_asks(one, doubt) for one in block):
                yield from block
                continue
            waiting.append(_begin(pool, source, block, doubt))
            if len(waiting) > _AHEAD:
                yield from waiting.popleft()()
        while waiting:
            yield from waiting.popleft()()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(
    pool: ThreadPoolExecutor, source: Source, block: list[Recording], doubt: bool
) -> Callable[[], list[Recording]]:
    """Have a block looked at; what it gives waits for that."""
    size = _FEW if any(is_remote(one.uri) for one in block) else len(block)
    parts: list[Future[list[Recording]]] = [
        pool.submit(_look, source, block[at : at + size], doubt)
        for at in range(0, len(block), size)
    ]
    return partial(_gathered, parts)


def _gathered(parts: Sequence[Future[list[Recording]]]) -> list[Recording]:
    return [one for part in parts for one in part.result()]


def _asks(recording: Recording, doubt: bool) -> bool:
    """Whether its length is to be looked up."""
    known = recording.seconds is not None and type(recording.seconds) is not Guess
    looked_up = known and not (doubt and _is_stated(recording))
    return not looked_up and recording.end is None and "rejected" not in recording.locator


def _is_stated(recording: Recording) -> bool:
    """Whether the corpus says its length, and no header has."""
    return recording.seconds is not None and not isinstance(
        recording.seconds, Guess | FromHeader | EstimateFromHeader
    )


def _look(source: Source, recordings: Sequence[Recording], doubt: bool) -> list[Recording]:
    found: list[Recording] = []
    last: tuple[Place | None, Length | None] = (None, None)
    for recording in recordings:
        place = source.place(recording) if _asks(recording, doubt) else None
        if place is None:
            found.append(recording)
            continue
        if last[0] != place:  # parts of one file stand together
            last = place, length_at(place)
        found.append(_said(recording, place, last[1]))
    return found


def _said(recording: Recording, place: Place, length: Length | None) -> Recording:
    stated = recording.seconds if _is_stated(recording) else None
    if length is None:
        if stated is None or is_remote(place.uri):  # to open it would be to fetch it
            return recording
        return replace(recording, seconds=Guess(stated))
    said = seconds_said(length, recording.start)
    if stated is not None and not length.exact and abs(said - stated) <= _AGREE * stated:
        return recording
    return replace(recording, seconds=said)


def length_at(place: Place) -> Length | None:
    """The length of the recording in a file, or in a part of one; None where its header does not
    say, or cannot be read.

    Raises:
        SourceUnavailable: its store does not answer, for anything.
    """
    try:
        if is_remote(place.uri):
            return None if scheme(place.uri) in WEB else _remote_length(place)
        return _local_length(place)
    except SourceUnavailable:
        if not answers(place.uri):
            raise
        return None  # it is this one alone that cannot be had
    except (OSError, ValueError, SourceError):  # a NUL in a name is a ValueError
        return None  # whoever reads it says what is wrong


def _local_length(place: Place) -> Length | None:
    # Opening a FIFO would wait for ever without this.
    handle = os.open(place.path or place.uri, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            return None

        def fetch(start: int, stop: int) -> bytes:
            return os.pread(handle, stop - start, place.offset + start)

        there = max(0, status.st_size - place.offset)
        size = there if place.size is None else min(place.size, there)
        return length_of(Glance(fetch, size, _LOCAL_BLOCK, _LOCAL_LOOKS))
    finally:
        os.close(handle)


def _remote_length(place: Place) -> Length | None:
    fs, path = filesystem(place.uri)
    size = place.size
    if size is None:
        size = int(fs.info(path).get("size") or 0)

    def fetch(start: int, stop: int) -> bytes:
        found = fs.cat_file(path, start=place.offset + start, end=place.offset + stop)
        return bytes(found)

    return length_of(Glance(fetch, size, _REMOTE_BLOCK, _REMOTE_LOOKS))
