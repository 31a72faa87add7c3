"""What a layout is: it looks at a folder's list of files, says whether that is its own, and then
tells what is known of each recording."""

from __future__ import annotations

import gzip
import json
import re
import tarfile
import unicodedata
import zlib
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from pipelines.corpus.sources.base import is_audio
from pipelines.corpus.sources.identity import member_version
from pipelines.corpus.sources.listing import Listing
from pipelines.corpus.sources.members import Broken, read_members
from pipelines.corpus.tables.lines import NOT_UTF8, marked_encoding
from tokenizer.errors import FailureKind, SourceError

_SPLIT = re.compile(r"(train|dev|test|val|valid|validation|validated|eval)([-_].*)?", re.IGNORECASE)
"""folders that are called like parts of a corpus: `train`, `train-clean-100`, `dev_other`"""


@dataclass(frozen=True, slots=True)
class Packed:
    """A member of a tar."""

    name: str
    offset: int
    """of its content"""
    size: int
    version: str
    """`pipelines.corpus.sources.identity`"""
    file: str | None = None
    """version of the tar"""


@dataclass(frozen=True, slots=True)
class OneOf:
    """A part of a recording of which a row is one channel; rows of one part have equal ones."""

    recording: str
    told_in: str
    """the list: parts in several are not brought together"""
    span: tuple[float, float]
    """where it is, in seconds"""
    whole: bool = True
    channels: int = 2
    """how many there are"""

    @property
    def name(self) -> str:
        """Of the part."""
        start, end = self.span
        return self.recording if self.whole else f"{self.recording}#{start:.12g}-{end:.12g}"


@dataclass(frozen=True, slots=True)
class Row:
    """What a corpus says about one recording."""

    path: str
    """of the audio: a name in the folder; where `listed`, as the list has it"""
    place: str
    """`metadata.csv, line 3`, for messages"""
    values: Mapping[str, Any] = field(default_factory=dict)
    """`text`, `speaker`, `language`; what else there is goes into meta"""
    id: str | None = None
    """None: the file's name in the folder"""
    start: float | None = None
    end: float | None = None
    seconds: float | None = None
    split: str | None = None
    channel: int | None = None
    """the one channel of the file that is meant, from 0; None is all of them"""
    stream: int | None = None
    """the one stream of sound in the file that is meant, from 0; None is as the file says"""
    number: int | None = None
    """where there is a row for each channel: which of `one_of` it is, from 0"""
    one_of: OneOf | None = None
    member: Packed | None = None
    """where `path` is a tar of the folder: the member of it that is the audio"""
    base: str | None = None
    """where a relative path of a list begins (a folder's name in the folder, "" is the folder
    itself); None: `path` is a name in the folder"""

    @property
    def listed(self) -> bool:
        """Whether the path is one of a list, which may name any file."""
        return self.base is not None


@dataclass(frozen=True, slots=True)
class BadRow:
    """A line that is about no recording: it becomes a failure."""

    place: str
    message: str
    kind: FailureKind = FailureKind.BAD_ROW


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a folder has a layout."""

    yes: bool
    why_not: str = ""
    """where it only half looks like it: what is amiss; empty where nothing looks like it"""


YES, NO = Fit(True), Fit(False)


def half(why: str) -> Fit:
    """A folder that looks like a layout and is not quite."""
    return Fit(False, why)


class Folder:
    """The files below a folder, as layouts look at them."""

    def __init__(
        self,
        spec: str,
        listing: Listing,
        read: Callable[[str], bytes],
        encoding: str | None = None,
        open_binary: Callable[[str], BinaryIO] | None = None,
    ) -> None:
        """`read` gives a file's content by its name in the folder, `open_binary` the file;
        `encoding` is that of its texts, None for UTF-8."""
        self.encoding = encoding
        self._open = open_binary
        self.notes: list[str] = []
        """lines that a layout has to say about what it did not use"""
        self.spec = spec
        self.files = listing.files
        self._read = read
        self.used: set[str] = set()
        """names of files that were read"""
        self.given: set[str] = set()
        """lists that are the SOURCE themselves: their names need not say what they are"""

    @cached_property
    def audio(self) -> dict[str, None]:
        """Names of the audio files, in order."""
        return {name: None for name in self.files if is_audio(name)}

    @cached_property
    def stems(self) -> dict[str, str]:
        """Names of audio files without their endings → the first such file."""
        found: dict[str, str] = {}
        for name in self.audio:
            found.setdefault(name.rpartition(".")[0], name)
        return found

    def find(self, name: str) -> str | None:
        """The file of this name; where there is none, the only one whose name differs in case, or
        in how its accents are composed, as copies between systems leave them."""
        if name in self.files:
            return name
        alike = self._alike.get(_folded(name), [])
        return alike[0] if len(alike) == 1 else None

    @cached_property
    def _alike(self) -> dict[str, list[str]]:
        found: defaultdict[str, list[str]] = defaultdict(list)
        for name in self.files:
            found[_folded(name)].append(name)
        return dict(found)

    @cached_property
    def by_name(self) -> dict[str, list[str]]:
        """Files that are no audio, by the last part of their names."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for name in self.files:
            if name not in self.audio:
                found[name.rpartition("/")[2]].append(name)
        return dict(found)

    def ending_in(self, *endings: str) -> list[str]:
        """Files that are no audio and whose names end so."""
        return [
            name for last, names in self.by_name.items() if last.endswith(endings) for name in names
        ]

    def content(self, name: str) -> bytes:
        """A file, unpacked where it ends in `.gz`.

        Raises:
            SourceError: it cannot be read.
        """
        try:
            content = self._read(name)
            if name.endswith(".gz"):
                content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise SourceError(f"{self.spec}/{name}: cannot be read: {error}") from error
        self.used.add(name)
        return content

    def packed(self, name: str) -> Iterator[Packed | Broken]:
        """Members of a tar, in its order.

        Raises:
            SourceError: it is none, or cannot be read.
        """
        self.used.add(name)
        if self._open is None or name not in self.files:
            raise SourceError(f"{self.spec}/{name}: no such file")
        try:
            with self._open(name) as file:
                for each in read_members(file):
                    if isinstance(each, Broken):
                        yield each
                        continue
                    version = member_version(file, each.offset, each.size)
                    of_tar = self.files[name].version
                    yield Packed(each.name, each.offset, each.size, version, of_tar)
        except (OSError, tarfile.TarError) as error:
            raise SourceError(f"{self.spec}/{name}: not a readable tar: {error}") from error

    def text(self, name: str, errors: str = "strict") -> str:
        """A text file.

        Args:
            errors: "replace" puts U+FFFD for bytes that are no text.

        Raises:
            SourceError: it cannot be read.
            ValueError: it is not written in the encoding that it should be.
        """
        content = self.content(name)
        try:
            known = marked_encoding(content) or self.encoding or "utf-8-sig"
            return content.decode(known, errors)
        except UnicodeDecodeError as error:
            raise ValueError(NOT_UTF8) from error

    def lines(self, name: str) -> Iterator[tuple[str, str | BadRow]]:
        """Place and text of each line that is not blank."""
        content = self.content(name)
        known = marked_encoding(content) or self.encoding
        if known is not None and known.startswith(("utf-16", "utf-32")):
            content, known = content.decode(known, "replace").encode(), None
        if b"\n" not in content:  # as Excel on a Mac ends lines
            content = content.replace(b"\r", b"\n")
        for number, raw in enumerate(content.split(b"\n"), 1):
            place = f"{name}, line {number}"
            try:
                line = raw.decode(known or ("utf-8-sig" if number == 1 else "utf-8")).rstrip("\r")
            except UnicodeDecodeError:
                yield place, BadRow(place, NOT_UTF8)
                continue
            if line.strip():
                yield place, line

    def objects(self, name: str) -> Iterator[tuple[str, dict[str, Any] | BadRow]]:
        """Place and value of each line of JSON lines."""
        for place, line in self.lines(name):
            if isinstance(line, BadRow):
                yield place, line
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield place, BadRow(place, f"not JSON: {error}")
                continue
            if isinstance(value, dict):
                yield place, value
            else:
                yield (
                    place,
                    BadRow(place, f"a JSON object is expected, not {type(value).__name__}"),
                )

    def first_line(self, name: str) -> str:
        """The first line that is not blank; empty where there is none, or it is no text."""
        try:
            line = next((line for _, line in self.lines(name)), "")
        except SourceError:
            return ""
        return line if isinstance(line, str) else ""

    def first_object(self, name: str) -> dict[str, Any]:
        """The first line of JSON lines; empty where it is none."""
        return as_object(self.first_line(name))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


class Layout(ABC):
    """A way to lay out a corpus. It has no state: what it needs to know is in the folder."""

    title: str
    """as people call it"""
    reads: str
    """where text and the rest come from, for the line that is said: `text from metadata.csv`"""

    is_table: bool = False
    """whether columns of a table are what rows are made of, so that one may have been overlooked"""

    @abstractmethod
    def fits(self, folder: Folder) -> Fit:
        """Whether a folder has this layout. Reads little: names, and the first lines of tables."""

    @abstractmethod
    def rows(self, folder: Folder) -> Iterator[Row | BadRow]:
        """What the corpus says, always in the same order."""

    def belongs(self, name: str, first_line: str) -> bool:
        """Whether a file that was given as SOURCE is a list of this layout."""
        return False

    def beside(self, name: str) -> list[str] | None:
        """Files that such a list is read with, by their names beside it; None: all below its
        folder."""
        return []


def as_object(line: str) -> dict[str, Any]:
    """A line's JSON object; empty where it is none."""
    try:
        value = json.loads(line or "null")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def parent(name: str) -> str:
    """The folder of a name, with `/` behind it; empty at the top."""
    head, slash, _ = name.rpartition("/")
    return head + slash


def split_of(name: str, spec: str = "") -> str | None:
    """The part of a corpus that a name is in, by its folders, or by the folder that is the
    corpus."""
    parts = [*PurePosixPath(name).parts[-2::-1], spec.rstrip("/").rpartition("/")[2]]
    return next((part for part in parts if _SPLIT.fullmatch(part)), None)


def in_line(folder: Folder, name: str, parse: Callable[[str, str], Row]) -> Iterator[Row | BadRow]:
    """A row from each line of a file; `parse` takes its place and text, and raises `ValueError`
    where it is none."""
    for place, line in folder.lines(name):
        if isinstance(line, BadRow):
            yield line
            continue
        try:
            yield parse(place, line)
        except ValueError as error:
            yield BadRow(place, str(error))
