"""WebDataset tars: audio members with `.txt`, `.json` or `.cls` beside them, read by byte range."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from braceexpand import braceexpand

from pipelines.corpus.layouts.archive import MEMBER, Archive
from pipelines.corpus.layouts.packed import is_packed
from pipelines.corpus.sources.base import (
    Place,
    Source,
    fetch_file,
    is_remote,
    not_opened,
    refuse_rejected,
    require_regular,
    told,
)
from pipelines.corpus.sources.identity import (
    FILE,
    VERSION,
    changed,
    file_version,
    handle_version,
    member_version,
    remote_version,
    require_same,
)
from pipelines.corpus.sources.listing import by_ending, holds_only, is_folder, list_folder
from pipelines.corpus.tables.columns import splits_of_files
from pipelines.corpus.tables.values import clean
from pipelines.system.remote import open_remote
from tokenizer.errors import RecordingError, SourceError
from tokenizer.types import Recording

COMPRESSED = (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz")


class TarSource(Source):
    """Tars by pattern (`data-{000..012}.tar`) or folder. The id is `ARCHIVE/MEMBER`, as keys may
    repeat between archives."""

    follows = frozenset({"--layout", "--layout-split", "--encoding"})

    def __init__(self, spec: str) -> None:
        self.spec = spec if is_remote(spec) else os.path.abspath(spec)  # noqa: PTH100  (a pattern is no path yet)

    @staticmethod
    def fits(spec: str) -> bool:
        if _is_named(spec):
            return True
        return is_folder(spec) and holds_only(spec, "tar") and not is_packed(spec)

    def scan(self) -> Iterator[Recording]:
        archives, notes = self._archives()
        stems = [archive.rsplit("/", 1)[-1].removesuffix(".tar") for archive in archives]
        if len(set(stems)) < len(stems):  # the same name in several folders
            stems = [archive.removesuffix(".tar") for archive in archives]
        self.notes, others = tuple(notes), list[str]()
        home = self.spec.rstrip("/")
        if _is_named(self.spec):
            home = home.partition("{")[0].rpartition("/")[0]
        inside = [archive.removeprefix(f"{home}/") for archive in archives]
        splits = splits_of_files(inside)
        for archive, stem, name in zip(archives, stems, inside, strict=True):
            try:
                with _open_archive(archive) as file:
                    listed = Archive.read(archive, stem, file)
                    for recording in listed.recordings(file, self.hints):
                        yield _in_split(recording, splits.get(name))
            except (OSError, tarfile.TarError, RecordingError) as error:
                raise SourceError(f"{archive}: not a readable tar: {told(error)}") from error
            others += listed.others
            self.layout = listed.layout or self.layout
            for note in listed.notes:
                self.note(note if len(archives) == 1 else f"{stem}: {note}")
        if others:
            self.note(
                "not used, members that are neither audio nor beside any: "
                f"{by_ending([clean(name) for name in others])}"
            )

    def open(self, recording: Recording) -> str | BinaryIO:
        return open_member(recording, self.check_versions)

    def place(self, recording: Recording) -> Place | None:
        return member_place(recording)

    def files(self) -> Mapping[str, str | None]:
        return {archive: file_version(archive) for archive in self._archives()[0]}

    def _archives(self) -> tuple[list[str], list[str]]:
        """Their names, and notes on what is beside them."""
        local = not is_remote(self.spec)
        if _is_named(self.spec) or (local and os.path.isfile(self.spec)):  # noqa: PTH113
            there = local and os.path.lexists(self.spec)
            names = [self.spec] if there else list(braceexpand(self.spec))
            for name in names:
                if name.endswith(COMPRESSED):
                    raise SourceError(
                        f"{name}: compressed archives cannot be read by byte range: unpack it, and "
                        "give the folder, or unpack it to a .tar"
                    )
            return names, []
        listing = list_folder(self.spec, follow_links=self.follow_links)
        for name, entry in listing.files.items():
            if name.endswith(".tar") and entry.outside is not None:
                raise SourceError(
                    f"{self.spec}/{name}: a link that leaves the source; --follow-links follows it"
                )
        found = [
            f"{self.spec.rstrip('/')}/{name}" for name in listing.files if name.endswith(".tar")
        ]
        others = [clean(name) for name in listing.files if not name.endswith(".tar")]
        notes = [
            *listing.notes(),
            *([f"not read, beside the tars: {by_ending(others)}"] if others else []),
        ]
        return found, notes


def _is_named(spec: str) -> bool:
    """Whether a spec is a tar's name or a pattern of such; a folder may be called so too."""
    named = spec.endswith((".tar", *COMPRESSED))
    return named and (is_remote(spec) or not os.path.isdir(spec))  # noqa: PTH112


def _in_split(recording: Recording, split: str | None) -> Recording:
    """What its archive says, where nothing beside it says more."""
    if split is None or "rejected" in recording.locator:
        return recording
    return replace(recording, meta={"split": split, **recording.meta})


def open_member(recording: Recording, check_version: bool) -> BinaryIO:
    """A recording that is a member of a tar; errors as in `Source.open`."""
    refuse_rejected(recording)
    offset, size = int(recording.locator["offset"]), int(recording.locator["size"])
    try:
        if is_remote(recording.uri):  # with its header, by which it is known
            raw, offset = (
                fetch_file(recording.uri, offset - tarfile.BLOCKSIZE, size + tarfile.BLOCKSIZE),
                tarfile.BLOCKSIZE,
            )
        else:
            raw = _open_archive(recording.uri)
    except OSError as error:
        raise not_opened(recording.uri, error) from error
    if check_version:
        try:
            _require_planned(recording, raw, offset, size)
        except RecordingError:
            raw.close()
            raise
    part = ByteRange(raw, offset, size)
    return cast(BinaryIO, io.BufferedReader(part, 1 << 16))


def _require_planned(recording: Recording, raw: BinaryIO, offset: int, size: int) -> None:
    """Refuse a member that is not the one of the plan; `raw` is its archive, or a part of it.

    Raises:
        RecordingError: CHANGED.
    """
    name = f"{recording.uri}/{recording.locator[MEMBER]}"
    version, archive = (recording.locator.get(key) for key in (VERSION, FILE))
    if version and member_version(raw, offset, size) != version:
        raise changed(name, "another member is there")
    if archive:
        remote = is_remote(recording.uri)
        now = remote_version(recording.uri) if remote else handle_version(raw, recording.uri)
        require_same(name, archive, now)


def member_place(recording: Recording) -> Place:
    """Where the bytes of a recording in a tar lie."""
    return Place(recording.uri, int(recording.locator["offset"]), int(recording.locator["size"]))


def _open_archive(uri: str) -> BinaryIO:
    if is_remote(uri):
        return cast(BinaryIO, open_remote(uri))
    require_regular(uri)
    return Path(uri).open("rb")


class ByteRange(io.RawIOBase):
    """A part of a file, as a file."""

    def __init__(self, raw: BinaryIO, offset: int, size: int) -> None:
        super().__init__()
        self._raw, self._offset, self._size, self._at = raw, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._raw.seek(self._offset + self._at)
        content = self._raw.read(max(0, min(len(buffer), self._size - self._at)))
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)

    def close(self) -> None:
        self._raw.close()
        super().close()
