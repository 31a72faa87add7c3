"""An output folder on a file system, shared or not."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from pipelines.output.storage.base import Storage, as_output_error
from pipelines.system.words import printable
from tokenizer.errors import OutputError

_NO_HARD_LINKS = {
    errno.EPERM,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EMLINK,
    errno.EXDEV,
}
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}

TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{32}\.tmp")
"""a name under which a file is being written, and its own in it"""
LOCK = "manifest/.lock"
"""held by a process of this machine or another while it does what a file system cannot do in one
step"""


class LocalStorage(Storage):
    """A folder on a file system, shared or not."""

    def __init__(self, root: str) -> None:
        self.root = str(Path(root).resolve())
        try:
            self.root.encode()
        except UnicodeEncodeError as error:  # Parquet's library opens no such path
            raise OutputError(
                f"{printable(self.root)}: the name is not UTF-8: choose or rename the folder"
            ) from error

    def read(self, name: str) -> bytes:
        return self._path(name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        with self.stage(name) as path:
            Path(path).write_bytes(content)

    def create(self, name: str, content: bytes) -> bool:
        target = self._path(name)
        temporary = self._temporary(name)
        with as_output_error(self.root):
            try:
                self._write_durably(temporary, content)
                try:
                    os.link(temporary, target)
                except FileExistsError:
                    return False
                except OSError as error:
                    if error.errno not in _NO_HARD_LINKS:
                        raise
                    return self._create_without_links(temporary, target)
                _sync_folder(target.parent)
                return True
            finally:
                temporary.unlink(missing_ok=True)

    def move(self, name: str, to: str) -> bool:
        with as_output_error(self.root):
            target = self._path(to)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._path(name).replace(target)
            except FileNotFoundError:
                return False
            _sync_folder(target.parent)
            return True

    def exists(self, name: str) -> bool:
        return self._path(name).exists()

    def remove(self, name: str) -> None:
        with as_output_error(self.root):
            self._path(name).unlink(missing_ok=True)

    def remove_if(self, name: str, content: bytes) -> bool:
        with as_output_error(self.root):
            if not self.exists(name):
                return False
            with self._lock():
                path = self._path(name)
                try:
                    if path.read_bytes() != content:
                        return False
                    path.unlink()
                except FileNotFoundError:
                    return False
                return True

    def list(self, folder: str) -> list[str]:
        try:
            return sorted(entry.name for entry in os.scandir(self._path(folder)) if entry.is_file())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def find(self, folder: str) -> Mapping[str, int]:
        root = self._path(folder)
        found = {}
        for place, folders, files in os.walk(root):
            links = [name for name in folders if Path(place, name).is_symlink()]
            for name in [*files, *links]:
                path = Path(place, name)
                with suppress(FileNotFoundError):
                    found[str(path.relative_to(root))] = path.lstat().st_size
        return dict(sorted(found.items()))

    def leftovers(self, folder: str, silent: float) -> Sequence[str]:
        root, found = self._path(folder), []
        for path in root.rglob(".*.tmp"):
            name = TEMPORARY.fullmatch(path.name)
            with suppress(FileNotFoundError):
                if name is not None and (
                    path.stat().st_mtime < time.time() - silent
                    or os.path.samestat(path.stat(), path.with_name(name.group(1)).stat())
                ):
                    found.append(str(path.relative_to(root)))
        return sorted(found)

    def size(self, name: str) -> int:
        return self._path(name).stat().st_size

    def open(self, name: str) -> IO[bytes]:
        return self._path(name).open("rb")

    @contextmanager
    def fetch(self, name: str) -> Iterator[str]:
        yield str(self._path(name))

    @contextmanager
    def stage(self, name: str) -> Iterator[str]:
        with as_output_error(self.root):
            temporary = self._temporary(name)
            try:
                yield str(temporary)
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
                temporary.replace(self._path(name))
                _sync_folder(temporary.parent)
            except FileNotFoundError as error:
                if temporary.exists():
                    raise
                raise OutputError(
                    f"{self.root}: {name} was removed while it was written: who deletes files "
                    "there?"
                ) from error
            finally:
                temporary.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return Path(self.root, name)

    def _temporary(self, name: str) -> Path:
        target = self._path(name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self.root} cannot be written: {error.strerror}: {error.filename}"
            ) from error
        return target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")

    @staticmethod
    def _write_durably(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def _create_without_links(self, temporary: Path, target: Path) -> bool:
        """File systems without hard links: look and rename, while nobody else does. What appears is
        whole."""
        with self._lock():
            if target.exists():
                return False
            temporary.replace(target)
            _sync_folder(target.parent)
            return True

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Keep others out. The system lets go of the lock when its holder dies."""
        path = self._path(LOCK)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
            yield
        finally:
            os.close(handle)


def _sync_folder(folder: Path) -> None:
    """A rename is durable once its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # some network file systems cannot
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
