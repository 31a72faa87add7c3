"""One list of a layout as SOURCE: `wav.scp`, `cuts.jsonl.gz`, LJSpeech's `metadata.csv`."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from pipelines.corpus.layouts import LAYOUTS, layout_by_name
from pipelines.corpus.layouts.base import Folder, Layout
from pipelines.corpus.layouts.laid_out import LaidOut
from pipelines.corpus.layouts.packed import is_tarred
from pipelines.corpus.sources.base import is_remote
from pipelines.corpus.sources.folder import FolderSource
from pipelines.corpus.sources.listing import Entry, Listing, is_folder, list_folder
from pipelines.system.remote import open_remote
from tokenizer.errors import CodecshardsError, SourceError
from tokenizer.types import Recording

_LONGEST = 1 << 20
"""bytes that a first line may have"""


class ListSource(FolderSource):
    """The rows of a list, and of what lies beside it and belongs to it; audio that it does not name
    is no part of it."""

    @property
    def home(self) -> str:
        return self.spec.rpartition("/")[0]

    @staticmethod
    def fits(spec: str) -> bool:
        named = spec.endswith((".scp", ".jsonl", ".jsonl.gz", ".csv", ".txt")) or is_tarred(spec)
        if not named or is_folder(spec):
            return False
        layout = _layout(spec, None)
        if layout is None:
            return False
        return layout.beside("") is not None or layout.fits(_folder(ListSource(spec), layout)).yes

    def scan(self) -> Iterator[Recording]:
        layout = _layout(self.spec, self.hints.layout)
        if layout is None:
            raise SourceError(f"{self.spec}: no list of a layout that is known")
        folder = _folder(self, layout)
        fit = layout.fits(folder)
        if not fit.yes:
            raise SourceError(f"{self.spec}: {layout.title} layout: {fit.why_not or 'not quite'}")

        def of_file(name: str) -> Recording:
            return self._recording(name, folder.files[name], [])

        self.layout = layout.title
        laid = LaidOut(folder, layout, self.hints, of_file, self.follow_links, [])
        yield from laid.recordings()
        self.notes = tuple(laid.notes())


def _layout(spec: str, asked: str | None) -> Layout | None:
    """The layout that a list is of."""
    first = _first_line(spec)
    for name in LAYOUTS if asked is None else [asked]:
        layout = layout_by_name(name)
        if layout.belongs(spec.rpartition("/")[2], first):
            return layout
    return None


def _first_line(spec: str) -> str:
    """Of a file, as text; empty where it has none, or cannot be read: whoever reads it as a table
    says why."""
    if not is_remote(spec) and not Path(spec).is_file():
        return ""
    try:
        with open_remote(spec) if is_remote(spec) else Path(spec).open("rb") as raw:
            file = cast(IO[bytes], gzip.open(raw) if spec.endswith(".gz") else raw)  # noqa: SIM115
            # Remote files know no `readline(size)`.
            return file.read(_LONGEST).partition(b"\n")[0].decode("utf-8-sig").strip()
    except (OSError, EOFError, ValueError, zlib.error, CodecshardsError):
        return ""


def _folder(source: ListSource, layout: Layout) -> Folder:
    """What a layout may look at: the list, and what belongs to it."""
    name = source.spec.rpartition("/")[2]
    others = layout.beside(name)
    if others is None:
        listing = list_folder(source.home, follow_links=source.follow_links)
    else:
        there = [each for each in others if _is_there(f"{source.home}/{each}")]
        listing = Listing({each: Entry() for each in sorted({name, *there})})
    folder = Folder(source.home, listing, source._read, source.hints.encoding, source._open_binary)
    folder.given = {name, *(others or [])} & set(listing.files)
    return folder


def _is_there(path: str) -> bool:
    if not is_remote(path):
        return Path(path).is_file()
    from pipelines.system.remote import filesystem

    fs, inside = filesystem(path)
    return bool(fs.isfile(inside))
