"""The bytes of a shard, checked: local files are read in place, remote ones are fetched whole.

A shard is compared with the SHA-256 of its commit record when it is first touched: page and member
checksums guard codes, but neither a Parquet footer nor a tar header has one, and a flipped bit
there would shift rows in silence. Shards are small (10 MB for two hours at 6 kbps), so that this
costs milliseconds, once a process. A local file that changes afterwards is noticed by its size and
time, and its pages' own checksums are still verified at every read.
"""

from __future__ import annotations

import hashlib
import io
import os
from abc import ABC, abstractmethod
from threading import Lock
from typing import IO, Any

from pipelines.output.cache import ByteCache
from tokenizer.errors import OutputError, ShardError

_REMEDY = "if it was edited since, load it again; else restore it or tokenize it again"


class Blob(ABC):
    """A shard's bytes. Every method may be called from several threads and raises `ShardError`."""

    def __init__(self, name: str, size: int | None, sha256: str | None) -> None:
        self.name = name
        """for messages: path or URL"""
        self._size = size
        self._sha256 = sha256

    @property
    def hashed(self) -> bool:
        """Whether there is a hash that the whole content is compared with."""
        return self._sha256 is not None

    @abstractmethod
    def size(self) -> int:
        """Bytes, as they are now."""

    @abstractmethod
    def read(self, start: int, length: int) -> bytes:
        """Exactly this range."""

    @abstractmethod
    def open(self) -> IO[bytes]:
        """The whole as a file."""

    def _compare(self, size: int, digest: str | None) -> None:
        if self._size is not None and size != self._size:
            raise ShardError(
                f"{self.name}: damaged: {size} bytes, {self._size} were committed: {_REMEDY}"
            )
        if digest != self._sha256:
            raise ShardError(
                f"{self.name}: damaged: not the bytes that were committed (SHA-256): {_REMEDY}"
            )


class LocalBlob(Blob):
    """A file on a file system."""

    def __init__(self, path: str, size: int | None, sha256: str | None) -> None:
        super().__init__(path, size, sha256)
        self._state: tuple[int, int] | None = None
        self._lock = Lock()

    def size(self) -> int:
        handle = self._open()
        try:
            return os.fstat(handle).st_size
        finally:
            os.close(handle)

    def read(self, start: int, length: int) -> bytes:
        handle = self._open()
        try:
            content = os.pread(handle, length, start)
            while len(content) < length:
                more = os.pread(handle, length - len(content), start + len(content))
                if not more:
                    raise ShardError(
                        f"{self.name}: damaged: ends after {start + len(content)} bytes, "
                        f"{start + length} are needed"
                    )
                content += more
            return content
        except OSError as error:
            raise ShardError(f"{self.name}: cannot be read: {error.strerror}") from error
        finally:
            os.close(handle)

    def open(self) -> IO[bytes]:
        os.close(self._open())
        return open(self.name, "rb")  # noqa: PTH123

    def _open(self) -> int:
        """A descriptor of the file, whose content is what was committed. A thousand shards must not
        hold one each."""
        try:
            handle = os.open(self.name, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError as error:
            raise ShardError(f"{self.name}: cannot be read: it is gone: {_REMEDY}") from error
        except OSError as error:
            raise ShardError(f"{self.name}: cannot be read: {error.strerror}") from error
        try:
            self._check(handle)
        except BaseException:
            os.close(handle)
            raise
        return handle

    def _check(self, handle: int) -> None:
        found = os.fstat(handle)
        state = (found.st_size, found.st_mtime_ns)
        if state == self._state:
            return
        with self._lock:
            if state == self._state:
                return
            if self._state is not None and not self.hashed:
                raise ShardError(f"{self.name}: changed while it was read: load the data set again")
            if self._sha256 is not None:
                with os.fdopen(os.dup(handle), "rb") as file:
                    self._compare(found.st_size, hashlib.file_digest(file, "sha256").hexdigest())
            else:
                self._compare(found.st_size, None)
            self._state = state


class RemoteBlob(Blob):
    """An object that fsspec reads, fetched whole and kept as long as the cache has room for it."""

    def __init__(
        self,
        fs: Any,
        path: str,
        name: str,
        size: int | None,
        sha256: str | None,
        cache: ByteCache[bytes],
    ) -> None:
        super().__init__(name, size, sha256)
        self._fs = fs
        self._path = path
        self._cache = cache

    def size(self) -> int:
        return len(self._whole())

    def read(self, start: int, length: int) -> bytes:
        content = self._whole()[start : start + length]
        if len(content) != length:
            raise ShardError(f"{self.name}: damaged: ends before {start + length} bytes")
        return content

    def open(self) -> IO[bytes]:
        return io.BytesIO(self._whole())

    def _whole(self) -> bytes:
        return self._cache.get(self.name, self._fetch)

    def _fetch(self) -> bytes:
        try:
            content: bytes = self._fs.cat_file(self._path)
        except (OSError, OutputError) as error:
            raise ShardError(f"{self.name}: cannot be read: {error}") from error
        self._compare(
            len(content), None if self._sha256 is None else hashlib.sha256(content).hexdigest()
        )
        return content
