"""WebDataset tars: audio members with `.txt`, `.json` or `.cls` beside them, read by byte range."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from braceexpand import braceexpand

from pipelines.remote import filesystem, open_remote
from pipelines.sources.base import Source, estimate_seconds, fetch_file, is_audio, is_remote, not_opened, require_regular
from pipelines.sources.sidecars import READ_AS, read_sidecars
from tokenizer.errors import SourceError
from tokenizer.types import Recording

COMPRESSED = (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz")


class TarSource(Source):
    """Tars by pattern (`data-{000..012}.tar`) or folder. The id is `ARCHIVE/MEMBER`, as keys may repeat between archives."""

    def __init__(self, spec: str) -> None:
        self.spec = spec if is_remote(spec) else os.path.abspath(spec)  # noqa: PTH100  (a pattern is no path yet)

    def scan(self) -> Iterator[Recording]:
        archives = self._archives()
        stems = [archive.rsplit("/", 1)[-1].removesuffix(".tar") for archive in archives]
        if len(set(stems)) < len(stems):  # the same name in several folders
            stems = [archive.removesuffix(".tar") for archive in archives]
        for archive, stem in zip(archives, stems, strict=True):
            yield from _scan_archive(archive, stem)

    def open(self, recording: Recording) -> str | BinaryIO:
        if is_remote(recording.uri):
            return fetch_file(recording.uri, int(recording.locator["offset"]), int(recording.locator["size"]))
        try:
            require_regular(recording.uri)
            raw = Path(recording.uri).open("rb")  # noqa: SIM115
        except OSError as error:
            raise not_opened(recording.uri, error) from error
        part = ByteRange(raw, int(recording.locator["offset"]), int(recording.locator["size"]))
        return cast(BinaryIO, io.BufferedReader(part, 1 << 16))

    def _archives(self) -> list[str]:
        for name in braceexpand(self.spec):
            if name.endswith(COMPRESSED):
                raise SourceError(f"{name}: compressed archives cannot be read by byte range: unpack it to a .tar first")
        if not self.spec.endswith(".tar"):
            fs, root = filesystem(self.spec)
            found = sorted(path for path in fs.find(root) if path.endswith(".tar"))
            return [fs.unstrip_protocol(path) for path in found] if is_remote(self.spec) else found
        return list(braceexpand(self.spec))


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


def _scan_archive(archive: str, stem: str) -> Iterator[Recording]:
    """Members of one archive, in its order; samples share the part of the name before the first dot."""
    try:
        with open_remote(archive) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            group: list[tarfile.TarInfo] = []
            for member in tar:
                if not member.isfile():
                    continue
                if group and _key(member.name) != _key(group[0].name):
                    yield from _recordings(archive, stem, tar, group)
                    group = []
                group.append(member)
            yield from _recordings(archive, stem, tar, group)
    except (OSError, tarfile.TarError) as error:
        raise SourceError(f"{archive}: not a readable tar: {error}") from error


def _key(name: str) -> str:
    folder, _, base = name.rpartition("/")
    return f"{folder}/{base.split('.', 1)[0]}"


def _ending(name: str) -> str:
    return name.rsplit(".", 1)[-1].lower()


def _recordings(archive: str, stem: str, tar: tarfile.TarFile, group: list[tarfile.TarInfo]) -> Iterator[Recording]:
    audio = [member for member in group if is_audio(member.name)]
    if not audio:
        return
    readers: dict[str, Callable[[], bytes]] = {
        _ending(member.name): partial(_read, tar, member) for member in group if _ending(member.name) in READ_AS
    }
    fields, meta = read_sidecars(readers)
    for member in audio:
        yield Recording(
            id=f"{stem}/{member.name}",
            uri=archive,
            locator={"member": member.name, "offset": member.offset_data, "size": member.size},
            seconds=estimate_seconds(member.name, member.size),
            meta=meta,
            **fields,
        )


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return b"" if file is None else file.read()
