"""A folder of audio files, recursively, local or on anything fsspec opens."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from pipelines.corpus.layouts import recognise
from pipelines.corpus.layouts.archive import MEMBER
from pipelines.corpus.layouts.base import Folder
from pipelines.corpus.layouts.laid_out import LISTED, LaidOut
from pipelines.corpus.sources.base import (
    Place,
    Source,
    estimate_seconds,
    extension,
    is_audio,
    is_remote,
    open_file,
    open_head,
    refuse_rejected,
    rejected,
)
from pipelines.corpus.sources.identity import VERSION, require_version
from pipelines.corpus.sources.listing import (
    Entry,
    Listing,
    by_ending,
    counted,
    is_folder,
    list_folder,
)
from pipelines.corpus.sources.sidecars import READ_AS, apart, gathered, read_sidecars
from pipelines.corpus.sources.tar import member_place, open_member
from pipelines.corpus.tables.hints import NotLaidOut
from pipelines.system.places import require_inside
from pipelines.system.remote import open_remote
from tokenizer.errors import FailureKind, SourceError
from tokenizer.types import Recording

_TABLES = re.compile(r".*\.(jsonl|ndjson|tsv|csv|parquet|trans\.txt)|wav\.scp|segments|utt2spk")
"""names of tables with transcripts beside the audio"""
_IGNORED = re.compile(r"(thumbs\.db|desktop\.ini)", re.IGNORECASE)
"""files that systems leave"""


class FolderSource(Source):
    """Every audio file below a folder; the id is its path in the folder, so it stays when the
    folder moves."""

    follows = frozenset({"--layout", "--layout-split", "--audio-root", "--encoding"})

    def __init__(self, spec: str) -> None:
        self.spec = spec if is_remote(spec) else str(Path(spec).resolve())

    @property
    def home(self) -> str:
        """The folder that names are relative to."""
        return self.spec

    @staticmethod
    def fits(spec: str) -> bool:
        return is_folder(spec)

    def scan(self) -> Iterator[Recording]:
        listing = list_folder(self.spec, follow_links=self.follow_links)
        audio = [
            name
            for name, entry in listing.files.items()
            if is_audio(name) or (entry.outside and "." not in name)
        ]
        by_stem = gathered((name for name in listing.files if extension(name) in READ_AS), audio)
        elsewhere = apart([name for names in by_stem.values() for name in names], audio)

        def of_file(name: str) -> Recording:
            sidecars = by_stem.get(_stem(name), [])
            if name in elsewhere:
                sidecars = [*sidecars, elsewhere[name]]
            return self._recording(name, listing.files[name], sidecars)

        folder = Folder(self.spec, listing, self._read, self.hints.encoding, self._open_binary)
        layout, halves = recognise(folder, self.hints.layout)
        if layout is not None:
            folder.used.clear()
            self.layout = layout.title
            laid = LaidOut(folder, layout, self.hints, of_file, self.follow_links, audio)
            yield from laid.recordings()
            self.notes = (
                *laid.notes(),
                *listing.notes(),
                *_unused(listing, set(audio), by_stem, folder.used | set(elsewhere.values())),
            )
            return
        self._refuse_hints_of_layouts()
        unused = _unused(listing, set(audio), by_stem, elsewhere.values())
        self.notes = (*halves, *listing.notes(), *unused)
        if not audio:
            said = "".join(f"; {note}" for note in self.notes)
            raise SourceError(
                f"{self.spec}: no recordings (a folder is searched for files with the endings of "
                f"audio){said}"
            )
        yield from map(of_file, audio)

    def files(self) -> Mapping[str, str | None] | None:
        # Of a store: what lies beside the audio is a request a file. A text that was corrected
        # there is seen once the audio is another too, or some is new.
        if not is_remote(self.spec) or self.hints.layout_split is not None:
            return None
        found = list_folder(self.spec, follow_links=self.follow_links).files
        return {
            f"{self.home.rstrip('/')}/{printable_name(name)[0]}": entry.version
            for name, entry in found.items()
            if is_audio(name)
        }

    def open(self, recording: Recording) -> str | BinaryIO:
        if MEMBER in recording.locator:
            return self._member(recording)
        return open_file(self._place(recording))

    def open_head(self, recording: Recording) -> str | BinaryIO:
        if MEMBER in recording.locator:
            return self._member(recording)
        return open_head(self._place(recording))

    def place(self, recording: Recording) -> Place | None:
        locator = recording.locator
        if MEMBER in locator:
            return member_place(recording)
        raw = locator.get("name_hex")
        if raw is not None:
            name = bytes.fromhex(raw)
            return Place(recording.uri, path=b"/".join([os.fsencode(self.home), name]))
        version = str(locator.get(VERSION) or "").partition("-")[0]
        size = int(version) if is_remote(recording.uri) and version.isdigit() else None
        return Place(recording.uri, size=size)

    def _member(self, recording: Recording) -> BinaryIO:
        """A recording that lies in a tar of the folder."""
        refuse_rejected(recording)
        if not (is_remote(recording.uri) or self.follow_links):
            require_inside(recording.uri, self.home)
        return open_member(recording, self.check_versions)

    def _place(self, recording: Recording) -> str:
        """Where a recording's file is.

        Raises:
            RecordingError: it is not to be opened.
        """
        refuse_rejected(recording)
        raw = recording.locator.get("name_hex")
        place = recording.uri
        listed = bool(recording.locator.get(LISTED))
        if raw is not None:
            place = os.path.join(self.home, os.fsdecode(bytes.fromhex(raw)))  # noqa: PTH118
        if not (listed or is_remote(place) or self.follow_links) and os.path.lexists(place):
            require_inside(place, self.home)
        if self.check_versions:
            require_version(place, recording.locator.get(VERSION))
        return place

    def _refuse_hints_of_layouts(self) -> None:
        given = [
            flag
            for flag in [*self.hints.of_layouts, *self.hints.of_tables]
            if flag not in ("--layout", "--encoding")
        ]
        if given:
            raise NotLaidOut(
                f"{given[0]}: {self.spec} is a folder of audio files without a layout that is known"
            )

    def _recording(self, name: str, entry: Entry, sidecars: list[str]) -> Recording:
        shown, locator = printable_name(name)
        uri = f"{self.home.rstrip('/')}/{shown}"
        if entry.outside is not None:
            message = (
                f"{uri}: a link that leaves the source, to {printable_name(entry.outside)[0]}; "
                "--follow-links follows it"
            )
            return rejected(shown, uri, FailureKind.UNREADABLE, message)
        readers: dict[str, Callable[[], bytes]] = {
            extension(s): partial(self._read, s) for s in sidecars
        }
        fields, meta = read_sidecars(readers, self.hints.encoding)
        if entry.version is not None:
            locator[VERSION] = entry.version
        return Recording(
            id=shown,
            uri=uri,
            locator=locator,
            seconds=estimate_seconds(name, entry.size),
            meta=meta,
            **fields,
        )

    def _open_binary(self, name: str) -> BinaryIO:
        path = f"{self.home.rstrip('/')}/{name}"
        if is_remote(path):
            return cast(BinaryIO, open_remote(path))
        if not self.follow_links:
            require_inside(path, self.home)
        if not Path(path).is_file():
            raise OSError("not a regular file")
        return Path(path).open("rb")

    def _read(self, name: str) -> bytes:
        path = f"{self.home.rstrip('/')}/{name}"
        if not is_remote(path):
            if not self.follow_links:
                require_inside(path, self.home)
            if not Path(path).is_file():  # opening a FIFO would wait for ever
                raise OSError("not a regular file")
            return Path(path).read_bytes()
        with open_remote(path) as file:
            content: bytes = file.read()
        return content


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _unused(
    listing: Listing,
    audio: set[str],
    by_stem: dict[str, list[str]],
    used: Collection[str] = (),
) -> Iterator[str]:
    """A line for each kind of file that is no recording and beside none, and was not `used`."""
    stems = {_stem(name) for name in audio}
    shown = {name: printable_name(name)[0] for name in listing.files}
    rest = [
        name
        for name in listing.files
        if name not in audio
        and name not in used
        and not _IGNORED.fullmatch(PurePosixPath(name).name)
    ]
    tables = [name for name in rest if _TABLES.fullmatch(PurePosixPath(name).name)]
    alone = [
        name
        for stem, names in by_stem.items()
        for name in names
        if stem not in stems and name not in tables and name not in used
    ]
    others = set(rest) - set(tables) - {name for names in by_stem.values() for name in names}
    if tables:
        names = counted([shown[name] for name in tables], "table", "tables")
        yield (
            f"not read: {names} beside the audio; if it holds transcripts, give it as SOURCE "
            "(.csv, .tsv, .jsonl or .parquet)"
        )
    if alone:
        yield (
            f"not used: {by_ending([shown[name] for name in alone])} (sidecars without audio of "
            "the same name)"
        )
    if others:
        yield (
            f"not taken for audio, by their endings: {by_ending([shown[name] for name in others])}"
        )


def printable_name(name: str) -> tuple[str, dict[str, Any]]:
    """A name that every format can store; one that is not UTF-8 keeps its bytes in the locator."""
    raw = os.fsencode(name)
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("utf-8", "backslashreplace"), {"name_hex": raw.hex()}
    return name, {}
