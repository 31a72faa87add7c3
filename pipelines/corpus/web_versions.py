"""Versions of files on the web, where there are no lists of folders: each is asked for by itself,
many at a time, while the corpus is listed."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from pipelines.corpus.sources.identity import VERSION, info_version
from pipelines.system.places import scheme
from pipelines.system.remote import AS_SOURCE, connect
from tokenizer.types import Recording

_THREADS = 32
_AHEAD = 256
"""recordings that wait for an answer"""
_MUTE = 5
"""files in a row of which a host says nothing, until it is asked no more"""
_JUST_NOW = 60.0
"""seconds"""
_WEB = ("http", "https")


def with_web_versions(recordings: Iterable[Recording]) -> Iterator[Recording]:
    """The recordings as they come; those of files on the web with their size and time, or ETag, as
    far as their hosts tell."""
    hosts = _Hosts()
    waiting: deque[tuple[Recording, Future[str | None] | None]] = deque()
    last: tuple[str, Future[str | None] | None] = ("", None)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="web") as pool:
        try:
            for recording in recordings:
                if not _is_asked_for(recording):
                    if not waiting:
                        yield recording
                        continue
                    waiting.append((recording, None))
                else:
                    if last[0] != recording.uri:  # parts of one file stand together
                        last = recording.uri, pool.submit(hosts.version, recording.uri)
                    waiting.append((recording, last[1]))
                if len(waiting) > _AHEAD:
                    yield _told(*waiting.popleft())
            while waiting:
                yield _told(*waiting.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class _Hosts:
    """Asks hosts, and leaves those alone that never say anything."""

    def __init__(self) -> None:
        self._mute: Counter[str] = Counter()

    def version(self, uri: str) -> str | None:
        """What its host says of a file; None where it says nothing."""
        host = urlsplit(uri).netloc
        if self._mute[host] >= _MUTE:
            return None
        found = _lasting(_asked_once(uri))
        self._mute[host] = 0 if found is not None else self._mute[host] + 1
        return found


def _asked_once(uri: str) -> str | None:
    """Without patience: whoever reads the file waits for its host."""
    try:
        fs, path = connect(uri, AS_SOURCE)
        return info_version(fs.info(path))
    except Exception:  # whatever it is, opening the file says it better
        return None


def _lasting(version: str | None) -> str | None:
    """A version without a time that is just now: some hosts call every answer as old as itself."""
    size, _, stamp = (version or "").partition("-")
    with suppress(ValueError, TypeError):
        if time.time() - parsedate_to_datetime(stamp).timestamp() < _JUST_NOW:
            return size or None
    return version


def _is_asked_for(recording: Recording) -> bool:
    return (
        recording.uri[:4].lower() == "http"  # all others at once
        and scheme(recording.uri) in _WEB
        and VERSION not in recording.locator
        and "rejected" not in recording.locator
    )


def _told(recording: Recording, asked: Future[str | None] | None) -> Recording:
    version = None if asked is None else asked.result()
    if version is None:
        return recording
    return replace(recording, locator={**recording.locator, VERSION: version})
