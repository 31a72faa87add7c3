"""Recordings of a folder that has a layout: what the corpus says about each, laid over what the
folder itself tells."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from pipelines.corpus.layouts.base import BadRow, Folder, Layout, Packed, Row, parent
from pipelines.corpus.layouts.channels import ChannelRows
from pipelines.corpus.sources.base import estimate_seconds, is_remote, rejected
from pipelines.corpus.sources.identity import FILE, STREAM, VERSION, Versions, file_version
from pipelines.corpus.tables.alignment import ALIGNMENT, ALIGNMENTS, within
from pipelines.corpus.tables.columns import UnusedColumns
from pipelines.corpus.tables.hints import Hints
from pipelines.corpus.tables.values import clean, take_fields
from pipelines.corpus.tables.word_times import SegmentTimes
from pipelines.system.places import local_path, scheme, spelled
from tokenizer.errors import FailureKind, RecordingError, SourceError
from tokenizer.types import Recording

LISTED = "listed"
"""key of a locator: the file was named by a list, which may name any local file"""
_OF_WHOLE = (ALIGNMENT, ALIGNMENTS, "segments")
"""metadata with times in a whole file"""
_UP = 3
"""folders above a list in which its relative paths may begin: Kaldi's begin where it was run"""


@dataclass(slots=True)
class LaidOut:
    """Turns what a layout says into recordings, and counts."""

    folder: Folder
    layout: Layout
    hints: Hints
    of_file: Callable[[str], Recording]
    """the plain folder's recording of a file"""
    follow_links: bool
    audio: list[str]
    """what is a recording though no row says so; empty where the SOURCE is one list"""
    tar: str = ""
    """where the folder is a tar, its name, which ids begin with: nothing can be named but what is
    in it"""
    used: int = 0
    with_text: int = 0
    _ids: dict[str, str] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)
    """files of the folder that rows are about"""
    _root: str | None = None
    _versions: Versions = field(default_factory=Versions)
    _lost: int = 0
    _bad: int = 0
    _left: int = 0
    _elsewhere: int = 0
    _first: str = ""
    _unused: UnusedColumns = field(default_factory=UnusedColumns)
    _times: SegmentTimes = field(default_factory=SegmentTimes)
    _channels: ChannelRows = field(default_factory=ChannelRows)

    def recordings(self) -> Iterator[Recording]:
        """Every recording: those of rows, rows that are none, and audio without a row.

        Raises:
            SourceError: not one row can be used, or no split is called as asked.
        """
        splits: set[str] = set()
        found = self._as_told(splits)
        yield from self._times.settle(found) if self.layout.is_table else found
        if self.hints.layout_split is not None and self.hints.layout_split not in splits:
            raise SourceError(
                f"--layout-split {self.hints.layout_split}: the {self.layout.title} layout of "
                f"{self.folder.spec} has {', '.join(sorted(splits - {''})) or 'no splits'}"
            )
        if not self.used:
            raise SourceError(
                f"{self.folder.spec}: {self.layout.title} layout, and no row of it can be used"
                f"{'; ' + self._first if self._first else ''}; --layout folder takes audio alone"
            )
        if self.hints.layout_split is None:
            yield from self._without_row()

    def _as_told(self, splits: set[str]) -> Iterator[Recording]:
        """Recordings of rows, and rows that are none; adds what splits there are."""
        for row in self._channels.arranged(self.layout.rows(self.folder)):
            if isinstance(row, BadRow):
                yield self._reject(row)
                continue
            splits.add(row.split or "")
            if self.hints.layout_split not in (None, row.split):
                self._seen.add(row.path)
                self._elsewhere += 1
                continue
            if row.stream is not None and self.hints.stream not in (None, row.stream):
                self._seen.add(row.path)
                continue
            try:
                recording = self._recording(row)
            except RecordingError as error:
                yield self._reject(BadRow(row.place, str(error), error.kind))
            except ValueError as error:
                yield self._reject(BadRow(row.place, str(error)))
            else:
                self.used += 1
                self.with_text += recording.text is not None
                yield recording

    def notes(self) -> Iterator[str]:
        """What was recognised, in one line, and what is amiss with it in others."""
        text = f", {self.layout.reads}"
        if self.with_text not in (0, self.used):
            text += f" (for {self.with_text:,} of them)"
        asked = self.hints.layout_split
        of_split = f" of the split {asked} ({self._elsewhere:,} of others)" if asked else ""
        yield (
            f"{self.layout.title} layout: {self.used:,} recordings{of_split}{text}; "
            "--layout folder takes audio alone"
        )
        if self._left:
            yield f"{self._left:,} more recordings have no row there: taken without text"
        if self._lost:
            yield f"{self._lost:,} rows name files that are not there: they are failures"
        if self._bad:
            yield f"{self._bad:,} lines are no rows: they are failures"
        yield from self._channels.notes()
        yield from self.folder.notes
        for note in self._unused.notes():
            yield note.replace("--map", "give the table as SOURCE, with --map")

    @property
    def _within(self) -> str:
        return f"{self.tar}/" if self.tar else ""

    def _without_row(self) -> Iterator[Recording]:
        for name in self.audio:
            if name not in self._seen:
                self._left += 1
                yield self.of_file(name)

    def _reject(self, row: BadRow) -> Recording:
        missing = row.kind is FailureKind.NOT_FOUND
        self._lost, self._bad = self._lost + missing, self._bad + (not missing)
        message = clean(f"{self.folder.spec}/{row.place}: {row.message}")
        self._first = self._first or message
        base = id = self._within + clean(
            row.place.replace(", line ", "#line-").replace(", row ", "#row-")
        )
        number = 1
        while id in self._ids:
            id, number = f"{base}.{number}", number + 1
        self._ids[id] = row.place
        return rejected(id, self.folder.spec, row.kind, message)

    def _recording(self, row: Row) -> Recording:
        """A row's recording.

        Raises:
            ValueError, RecordingError: it cannot be one.
        """
        values = dict(row.values) | ({"split": row.split} if row.split else {})
        fields, meta = take_fields(values)
        if self.layout.is_table:
            self._unused.add({name: row.values[name] for name in row.values.keys() & meta.keys()})
        if row.member is not None:
            plain = self._member(row.path, row.member)
        else:
            plain = self._listed(row) if row.listed else self._own(row.path)
        id = plain.id if row.id is None else clean(f"{self._within}{row.id}")
        if id in self._ids:
            raise ValueError(f"{id} is there already, in {self._ids[id]}")
        self._ids[id] = row.place
        if "rejected" in plain.locator:
            return replace(plain, id=id)
        if row.start is not None or row.end is not None:
            plain = _of_part(plain, row)
            if ALIGNMENT in plain.meta and ALIGNMENT not in meta:
                self._times.own.add(id)
        return replace(
            plain,
            id=id,
            locator=dict(plain.locator) | ({} if row.stream is None else {STREAM: row.stream}),
            start=row.start,
            end=row.end,
            channel=row.channel,
            seconds=_seconds(row, plain),
            meta={**plain.meta, **meta},
            text=fields["text"] or plain.text,
            language=fields["language"] or plain.language,
            speaker=fields["speaker"] or plain.speaker,
        )

    def _own(self, name: str) -> Recording:
        found = self.folder.find(name)
        if found is None:
            raise RecordingError(FailureKind.NOT_FOUND, f"{name}: no such file", "list")
        self._seen.add(found)
        return self.of_file(found)

    def _member(self, tar: str, member: Packed) -> Recording:
        """The audio that is packed in a tar of the folder."""
        name = clean(member.name)
        return Recording(
            id=f"{tar.removesuffix('.tar')}/{name}",
            uri=f"{self.folder.spec.rstrip('/')}/{tar}",
            locator={
                "member": name,
                "offset": member.offset,
                "size": member.size,
                VERSION: member.version,
                **({} if member.file is None else {FILE: member.file}),
            },
            seconds=estimate_seconds(name, member.size),
        )

    def _listed(self, row: Row) -> Recording:
        """A file that a list names: one of the folder where it is there, else any local one."""
        path = row.path
        spec = self.folder.spec.rstrip("/")
        if path.startswith(f"{spec}/"):
            inside = [path.removeprefix(f"{spec}/")]
        else:
            inside = [posixpath.normpath(f"{home}{path}") for home in _above_in(row.base or "")]
        exact = (name for name in inside if name in self.folder.files)
        own = next(exact, None) or next(filter(None, map(self.folder.find, inside)), None)
        if own is not None and self.hints.audio_root is None:
            return self._own(own)
        if self.tar:
            raise RecordingError(FailureKind.NOT_FOUND, f"{path}: not in the tar", "list")
        uri = self._resolve(path, row.base or "")
        for name in _in_folder(uri, spec):
            if name in self.folder.files:
                return self._own(name)
        if not is_remote(uri) and not os.path.lexists(uri):
            raise RecordingError(FailureKind.NOT_FOUND, f"{uri}: no such file", "list")
        version = self._versions.of(uri) if is_remote(uri) else file_version(uri)
        locator = {LISTED: True} | ({} if version is None else {VERSION: version})
        return Recording(id=path, uri=uri, locator=locator)

    def _resolve(self, path: str, base: str) -> str:
        remote = is_remote(self.folder.spec)
        if is_remote(path) or remote:
            leads_out = scheme(path) or path.startswith(("/", "~")) or ".." in path.split("/")
            if leads_out and scheme(path) != scheme(self.folder.spec) and not self.follow_links:
                raise RecordingError(
                    FailureKind.UNREADABLE,
                    f"{path!r}: leads out of SOURCE; --follow-links reads it all the same",
                    "check",
                )
            if leads_out:
                return path if is_remote(path) else local_path(path)
        if scheme(path) or path.startswith(("/", "~")):
            return spelled(local_path(path))
        if self.hints.audio_root is not None:
            return spelled(f"{local_path(self.hints.audio_root).rstrip('/')}/{path}")
        place = f"{self.folder.spec.rstrip('/')}/{base}".rstrip("/")
        if remote:
            return f"{place}/{path}"
        return spelled(os.path.normpath(f"{self._above(place, path)}/{path}"))

    def _above(self, place: str, path: str) -> str:
        """The folder that relative paths begin in: the list's, or the next above it where the first
        file is."""
        if self._root is None or not os.path.lexists(f"{self._root}/{path}"):
            roots = [place]
            for _ in range(_UP):
                roots.append(roots[-1].rpartition("/")[0])
            found = next((root for root in roots if os.path.lexists(f"{root}/{path}")), None)
            if found is None:
                return place
            self._root = found
        return self._root


def _in_folder(uri: str, spec: str) -> Iterator[str]:
    """What a file may be called in a folder, which a list may name by links that lead there."""
    for path in [uri] if is_remote(uri) else [uri, os.path.realpath(uri)]:
        if path.startswith(f"{spec}/"):
            yield path.removeprefix(f"{spec}/")


def _above_in(base: str) -> Iterator[str]:
    """A folder in the folder, and those above it there in which a list's paths may begin."""
    yield base
    for _ in range(_UP):
        if not base:
            return
        base = parent(base.rstrip("/"))
        yield base


def _of_part(plain: Recording, row: Row) -> Recording:
    """What lies beside a file, of a part of it: what is said in the whole of it is not said there,
    but for the words whose times are known."""
    words = within(plain.meta.get(ALIGNMENT, []), row.start or 0.0, row.end)
    meta = {name: value for name, value in plain.meta.items() if name not in _OF_WHOLE}
    text = " ".join(word[2] for word in words) or None
    return replace(plain, text=text, meta=meta | ({ALIGNMENT: words} if words else {}))


def _seconds(row: Row, plain: Recording) -> float | None:
    if row.end is not None:
        return row.end - (row.start or 0.0)
    return plain.seconds if row.seconds is None else row.seconds
