"""Files below a folder, local or on anything fsspec opens, and what was left out of the list and
why."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.corpus.sources.base import AUDIO_EXTENSIONS, extension, is_audio, is_remote
from pipelines.corpus.sources.identity import info_version, stat_version
from pipelines.system.places import leaves
from pipelines.system.remote import filesystem
from tokenizer.errors import SourceError

_OUTPUT = ("manifest/config.json", "manifest/plan.parquet")
"""files by which an output folder of `tokenize` is known"""
_CLIPS = "audit/media"
"""where an audit of an output folder puts the clips that people listen to"""
_OF_SYSTEMS = ("__MACOSX",)
"""folders that hold a system's own files, which may be called like audio"""
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, or what should be one."""

    size: int = 0
    version: str | None = None
    """`pipelines.corpus.sources.identity`"""
    outside: str | None = None
    """where a link leads that leaves the folder; it was not followed"""


@dataclass(slots=True)
class Listing:
    """What is below a folder, by name relative to it."""

    files: dict[str, Entry] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)
    """names that begin with a dot: files with the endings of audio, and folders, which are not
    looked into"""
    outputs: list[str] = field(default_factory=list)
    """folders that `tokenize` wrote"""
    audited: bool = False
    """the folder is one itself, and has been audited: the audit's clips are no recordings"""

    def notes(self) -> Iterator[str]:
        """A line for each kind of thing that was left out."""
        if self.hidden:
            yield (
                "left out: "
                f"{counted(self.hidden, 'hidden file or folder', 'hidden files and folders')} (a "
                "leading dot)"
            )
        if self.audited:
            yield f"left out: {_CLIPS}, as SOURCE is an output folder of codecshards, too"
        if self.outputs:
            yield (
                f"left out: {counted(self.outputs, 'output folder', 'output folders')} of "
                "codecshards inside SOURCE"
            )


def counted(names: list[str], one: str, many: str) -> str:
    """`5 things: a, b, c …`."""
    shown = ", ".join(sorted(names)[:_EXAMPLES]) + (" …" if len(names) > _EXAMPLES else "")
    return f"{len(names)} {one if len(names) == 1 else many}: {shown}"


def by_ending(names: list[str]) -> str:
    """`2 .md, 1 .png: cover.png, notes.md`: how many of which ending, and a few by name."""
    endings = Counter(
        f".{extension(name)}" if extension(name) else "without an ending" for name in names
    )
    numbers = ", ".join(
        f"{count} {ending}"
        for ending, count in sorted(endings.items(), key=lambda item: (-item[1], item[0]))
    )
    return (
        f"{numbers}: {', '.join(sorted(names)[:_EXAMPLES])}{' …' if len(names) > _EXAMPLES else ''}"
    )


def list_folder(spec: str, *, follow_links: bool = False) -> Listing:
    """Everything below a folder.

    Raises:
        SourceError: it cannot be listed.
    """
    listing = Listing()
    walk = (
        _walk_remote(spec, listing) if is_remote(spec) else _walk_local(spec, listing, follow_links)
    )
    listing.files = dict(sorted(walk))
    return listing


def is_hidden(name: str) -> bool:
    """Whether a name is meant to hide: one dot in front. `...And Justice for All` is a title."""
    return name.startswith(".") and not name.startswith("..")


def _walk_local(folder: str, listing: Listing, follow_links: bool) -> Iterator[tuple[str, Entry]]:
    """Files below a folder; links to folders are followed, each folder once."""
    seen: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        raise SourceError(f"{error.filename}: cannot be listed: {error.strerror}") from error

    for root, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        status = os.stat(root)  # noqa: PTH116
        inside = os.path.relpath(root, folder)
        prefix = "" if inside == "." else f"{inside}/"
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        if any(os.path.isfile(os.path.join(root, name)) for name in _OUTPUT):  # noqa: PTH113, PTH118
            if prefix:
                listing.outputs.append(inside)
                folders.clear()
                continue
            listing.audited = os.path.isdir(os.path.join(root, _CLIPS))  # noqa: PTH112, PTH118
        if listing.audited and inside == _CLIPS:
            folders.clear()
            continue
        listing.hidden += [f"{prefix}{name}" for name in folders if is_hidden(name)]
        listing.hidden += [f"{prefix}{name}" for name in names if is_hidden_audio(name)]
        folders[:] = sorted(
            name for name in folders if not is_hidden(name) and name not in _OF_SYSTEMS
        )
        for name in list(folders):
            path = f"{root}/{name}"
            if not follow_links and Path(path).is_symlink() and leaves(path, folder):
                folders.remove(name)
                yield f"{prefix}{name}", Entry(outside=os.path.realpath(path))
        for name in names:
            if not is_hidden(name):
                yield f"{prefix}{name}", _entry(os.path.join(root, name), folder, follow_links)  # noqa: PTH118


def is_hidden_audio(name: str) -> bool:
    """Whether a hidden file is called like audio. macOS keeps attributes of x.wav in ._x.wav."""
    last = name.rpartition("/")[2]
    return is_hidden(last) and is_audio(last) and not last.startswith("._")


def is_left_out(name: str) -> bool:
    """Whether a file of an archive is hidden, or a system's own."""
    *folders, last = name.split("/")
    return is_hidden(last) or any(part in _OF_SYSTEMS for part in folders)


def _entry(path: str, folder: str, follow_links: bool) -> Entry:
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            if not follow_links and leaves(path, folder):
                return Entry(outside=os.path.realpath(path))
            status = os.stat(path)  # noqa: PTH116
    except OSError:
        return Entry()  # a dangling link: it becomes a recorded failure when it is opened
    return Entry(status.st_size, stat_version(status))


def _walk_remote(spec: str, listing: Listing) -> Iterator[tuple[str, Entry]]:
    fs, root = filesystem(spec)
    root = root.rstrip("/")
    found = {
        path[len(root) :].lstrip("/"): info for path, info in fs.find(root, detail=True).items()
    }
    outputs = {
        name.removesuffix(mark).rstrip("/")
        for name in found
        for mark in _OUTPUT
        if name.endswith(f"/{mark}")
    }
    listing.outputs += sorted(outputs)
    if any(mark in found for mark in _OUTPUT):
        listing.audited = any(name.startswith(f"{_CLIPS}/") for name in found)
    left_out = (*outputs, *[_CLIPS] * listing.audited)
    for name, info in found.items():
        if any(name.startswith(f"{output}/") for output in left_out):
            continue
        parts = name.split("/")
        if any(is_hidden(part) for part in parts):
            if is_audio(name) and not parts[-1].startswith("._"):
                listing.hidden.append(name)
        elif not any(part in _OF_SYSTEMS for part in parts[:-1]):
            yield name, Entry(int(info.get("size") or 0), info_version(info))


def is_output(spec: str) -> bool:
    """Whether a folder is one that `tokenize` wrote."""
    if is_remote(spec):
        fs, root = filesystem(spec)
        return all(fs.exists(f"{root.rstrip('/')}/{mark}") for mark in _OUTPUT)
    return all(os.path.isfile(f"{spec}/{mark}") for mark in _OUTPUT)  # noqa: PTH113


def is_folder(spec: str) -> bool:
    """Whether a path or URL is a folder that is there."""
    if not is_remote(spec):
        return os.path.isdir(spec)  # noqa: PTH112
    fs, root = filesystem(spec)
    return bool(fs.isdir(root))


def holds_only(spec: str, ending: str) -> bool:
    """Whether a folder has files with this ending and no loose audio."""
    found = {extension(name) for name in list_folder(spec).files}
    return ending in found and not found & AUDIO_EXTENSIONS
