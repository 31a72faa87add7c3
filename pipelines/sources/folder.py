"""A folder of audio files, recursively, local or on anything fsspec opens."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from pipelines.remote import filesystem, open_remote
from pipelines.sources.base import Source, estimate_seconds, extension, is_audio, is_remote, open_file
from pipelines.sources.sidecars import READ_AS, read_sidecars
from tokenizer.errors import SourceError
from tokenizer.types import Recording


class FolderSource(Source):
    """Every audio file below a folder; the id is its path in the folder, so it stays when the folder moves."""

    def __init__(self, spec: str) -> None:
        self.spec = spec if is_remote(spec) else str(Path(spec).resolve())

    def scan(self) -> Iterator[Recording]:
        listed = _walk_remote(self.spec) if is_remote(self.spec) else _walk_local(self.spec)
        files = dict(sorted(listed))
        by_stem: defaultdict[str, list[str]] = defaultdict(list)
        for name in files:
            if extension(name) in READ_AS:
                by_stem[str(PurePosixPath(name).with_suffix(""))].append(name)
        for name, size in files.items():
            if is_audio(name):
                sidecars = by_stem.get(str(PurePosixPath(name).with_suffix("")), [])
                yield self._recording(name, size, sidecars)

    def open(self, recording: Recording) -> str | BinaryIO:
        raw = recording.locator.get("name_hex")
        if raw is None:
            return open_file(recording.uri)
        return open_file(os.path.join(self.spec, os.fsdecode(bytes.fromhex(raw))))  # noqa: PTH118

    def _recording(self, name: str, size: int, sidecars: list[str]) -> Recording:
        readers: dict[str, Callable[[], bytes]] = {extension(s): partial(self._read, s) for s in sidecars}
        fields, meta = read_sidecars(readers)
        shown, locator = _printable(name)
        return Recording(
            id=shown,
            uri=f"{self.spec.rstrip('/')}/{shown}",
            locator=locator,
            seconds=estimate_seconds(name, size),
            meta=meta,
            **fields,
        )

    def _read(self, name: str) -> bytes:
        with open_remote(f"{self.spec.rstrip('/')}/{name}") as file:
            content: bytes = file.read()
        return content


def _printable(name: str) -> tuple[str, dict[str, Any]]:
    """A name that every format can store; one that is not UTF-8 keeps its bytes in the locator."""
    raw = os.fsencode(name)
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("utf-8", "backslashreplace"), {"name_hex": raw.hex()}
    return name, {}


def _walk_local(folder: str) -> Iterator[tuple[str, int]]:
    """Files below a folder with their sizes; links to folders are followed, each folder once."""
    seen: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        raise SourceError(f"{error.filename}: cannot be listed: {error.strerror}") from error

    for root, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        status = os.stat(root)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = os.path.relpath(root, folder)
        for name in names:
            if name.startswith("."):
                continue
            try:
                size = os.stat(os.path.join(root, name)).st_size  # noqa: PTH116, PTH118
            except OSError:
                size = 0  # a dangling link: it becomes a recorded failure when it is opened
            yield (name if inside == "." else f"{inside}/{name}"), size


def _walk_remote(spec: str) -> Iterator[tuple[str, int]]:
    fs, root = filesystem(spec)
    root = root.rstrip("/")
    for path, info in fs.find(root, detail=True).items():
        name = path[len(root) :].lstrip("/")
        if not any(part.startswith(".") for part in name.split("/")):
            yield name, int(info.get("size") or 0)
