"""One audio file as SOURCE, local or on anything fsspec opens, with what lies beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from pipelines.corpus.layouts import layout_by_name
from pipelines.corpus.layouts.base import Folder
from pipelines.corpus.layouts.laid_out import LISTED, LaidOut
from pipelines.corpus.sources.base import is_audio, is_remote
from pipelines.corpus.sources.folder import FolderSource, printable_name
from pipelines.corpus.sources.identity import info_version, stat_version
from pipelines.corpus.sources.listing import Entry, Listing
from pipelines.corpus.sources.sidecars import READ_AS, gathered
from pipelines.corpus.tables.hints import PLAIN
from pipelines.system.places import scheme
from pipelines.system.remote import filesystem
from tokenizer.errors import SourceError
from tokenizer.types import Recording

_WEB = ("http", "https")
_INFO = "info.json"
"""what yt-dlp writes beside a file"""


class FileSource(FolderSource):
    """A source of one recording, whose id is the file's name. Text and meta come from files of the
    same name beside it, as in a folder; not from the web, where some servers answer to any name."""

    follows = frozenset()
    is_one_file = True

    def __init__(self, spec: str) -> None:
        # Not resolved: a link that is named is meant, and the name is the id.
        self.spec = spec if is_remote(spec) else os.path.abspath(spec)  # noqa: PTH100

    @property
    def home(self) -> str:
        return self.spec.rpartition("/")[0]

    @property
    def name(self) -> str:
        return printable_name(_shown(self.spec))[0]

    @staticmethod
    def fits(spec: str) -> bool:
        return is_audio(_shown(spec)) and _entry(spec) is not None

    def scan(self) -> Iterator[Recording]:
        name, entry = self.spec.rpartition("/")[2], _entry(self.spec)
        if entry is None:
            raise SourceError(f"{self.spec}: no such file")
        beside = {each: found for each in self._beside(name) if (found := self._there(each))}
        listing = Listing({name: entry, **beside})
        others = (each for each in beside if not each.endswith(f".{_INFO}"))
        sidecars = gathered(others, [name]).get(str(PurePosixPath(name).with_suffix("")), [])

        def of_file(_: str) -> Recording:
            found = self._recording(name, entry, sidecars)
            return replace(found, id=self.name, locator={**found.locator, LISTED: True})

        folder, layout = Folder(self.home, listing, self._read), layout_by_name("ytdlp")
        self.notes = ()
        if self.hints.layout == PLAIN or not layout.fits(folder).yes:
            yield of_file(name)
            return
        self.layout = layout.title
        laid = LaidOut(folder, layout, self.hints, of_file, self.follow_links, [name])
        yield from laid.recordings()
        self.notes = tuple(laid.notes())

    def files(self) -> None:
        return None

    def _beside(self, name: str) -> Iterator[str]:
        """Names that a sidecar may have."""
        stem = str(PurePosixPath(name).with_suffix(""))
        if scheme(self.spec) not in _WEB:
            endings = [*READ_AS, *(() if is_remote(self.spec) else map(str.upper, READ_AS)), _INFO]
            yield from (each for ending in endings if (each := f"{stem}.{ending}") != name)
            yield from (f"{name}.{ending}" for ending in ("srt", "vtt", "json"))

    def _there(self, name: str) -> Entry | None:
        return _entry(f"{self.home}/{name}")


def _shown(spec: str) -> str:
    """The name of a file; of a page on the web without what is asked of it behind a `?`."""
    path = unquote(urlsplit(spec).path) if scheme(spec) in _WEB else spec
    return path.rpartition("/")[2]


def _entry(spec: str) -> Entry | None:
    """A file that is there; None for anything else."""
    try:
        if not is_remote(spec):
            status = Path(spec).stat()
            is_file = Path(spec).is_file()
            return Entry(status.st_size, stat_version(status)) if is_file else None
        fs, path = filesystem(spec)
        info: dict[str, Any] = fs.info(path)
    except (OSError, ValueError):  # a NUL in a name is a ValueError
        return None
    if info.get("type") != "file":
        return None
    return Entry(int(info.get("size") or 0), info_version(info))
