"""What an output folder must be able to do: every write is atomic, and first writer wins where that
matters."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import IO

from tokenizer.errors import OutputError

_HOPELESS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EFBIG,
    errno.ENOTDIR,
    errno.EIO,
}


class Storage(ABC):
    """Names are relative to the root, with forward slashes. Every method raises `OutputError` when
    OUT cannot be used."""

    root: str

    @abstractmethod
    def read(self, name: str) -> bytes:
        """A file's content; `FileNotFoundError` when it is not there."""

    def read_all(self, names: Iterable[str]) -> Iterator[bytes | None]:
        """The contents of many files, in their order; None for one that is not there. A store with
        a long way to it is asked for several at once."""
        for name in names:
            try:
                yield self.read(name)
            except FileNotFoundError:
                yield None

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Replace a file: readers see the old content or the new, whole."""

    @abstractmethod
    def create(self, name: str, content: bytes) -> bool:
        """Write a file unless it is there: of several writers exactly one gets True, whole."""

    @abstractmethod
    def move(self, name: str, to: str) -> bool:
        """Rename a file, replacing; False when it is not there."""

    @abstractmethod
    def exists(self, name: str) -> bool: ...

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file if it is there."""

    @abstractmethod
    def remove_if(self, name: str, content: bytes) -> bool:
        """Remove a file that holds exactly this; whether it did. Local: in one step, for all who
        remove by this method."""

    @abstractmethod
    def list(self, folder: str) -> list[str]:
        """Names of the files in a folder (without it), sorted; none when there is no such
        folder."""

    @abstractmethod
    def find(self, folder: str) -> Mapping[str, int]:
        """Sizes of all that lies in a folder and in those below it, by their names in it; what is
        no file is there too."""

    def leftovers(self, folder: str, silent: float) -> Sequence[str]:
        """Names in a folder and those below it under which a file was being written by a process
        that has been killed: what was written is there under its own name, or nothing was for
        `silent` seconds. None where files appear whole by themselves."""
        del folder, silent
        return []

    def uploads(self, folder: str) -> Sequence[tuple[str, str]]:
        """Names in a folder under which an upload in parts has begun and not ended, and what
        `abort` needs to know of each. None where the store has none or does not list them."""
        del folder
        return []

    def abort(self, name: str, upload: str) -> None:
        """Throw away the parts of an upload; a store that refuses keeps them."""
        del name, upload

    @abstractmethod
    def size(self, name: str) -> int: ...

    @abstractmethod
    def open(self, name: str) -> IO[bytes]:
        """A seekable file to read; `FileNotFoundError` when it is not there."""

    @abstractmethod
    def fetch(self, name: str) -> AbstractContextManager[str]:
        """A context that gives a local path to a file's content, its own or a copy's;
        `FileNotFoundError` when it is not there, at the latest as the path is opened."""

    @abstractmethod
    def stage(self, name: str) -> AbstractContextManager[str]:
        """A context that gives a local path to write to, and has the file durable under `name` once
        it ends well."""


@contextmanager
def as_output_error(root: str) -> Iterator[None]:
    """Failures that no retry mends become one line for the user."""
    try:
        yield
    except OSError as error:
        if error.errno in _HOPELESS:
            raise OutputError(f"{root} cannot be written: {error.strerror or error}") from error
        raise
