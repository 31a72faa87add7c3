"""Files of an output folder, local or on anything fsspec writes to: atomic, and first writer wins
where that matters."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from pipelines.system.outages import is_refused
from pipelines.system.places import is_remote, local_path
from pipelines.system.remote import AS_OUTPUT, MissingBucket, filesystem
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

LOCK = "manifest/.lock"
"""held by a process of this machine or another while it does what a file system cannot do in one
step"""


class Storage(ABC):
    """Names are relative to the root, with forward slashes. Every method raises `OutputError` when
    OUT cannot be used."""

    root: str

    @abstractmethod
    def read(self, name: str) -> bytes:
        """A file's content; `FileNotFoundError` when it is not there."""

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

    @abstractmethod
    def size(self, name: str) -> int: ...

    @abstractmethod
    def open(self, name: str) -> IO[bytes]:
        """A seekable file to read; `FileNotFoundError` when it is not there."""

    @abstractmethod
    def stage(self, name: str) -> AbstractContextManager[str]:
        """A context that gives a local path to write to, and has the file durable under `name` once
        it ends well."""


def open_storage(root: str) -> Storage:
    """The storage of an output folder; nothing is made or touched yet."""
    return RemoteStorage(root) if is_remote(root) else LocalStorage(local_path(root))


class LocalStorage(Storage):
    """A folder on a file system, shared or not."""

    def __init__(self, root: str) -> None:
        self.root = str(Path(root).resolve())

    def read(self, name: str) -> bytes:
        return self._path(name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        with self.stage(name) as path:
            Path(path).write_bytes(content)

    def create(self, name: str, content: bytes) -> bool:
        target = self._path(name)
        temporary = self._temporary(name)
        with _as_output_error(self.root):
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
        with _as_output_error(self.root):
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
        with _as_output_error(self.root):
            self._path(name).unlink(missing_ok=True)

    def remove_if(self, name: str, content: bytes) -> bool:
        with _as_output_error(self.root):
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

    def size(self, name: str) -> int:
        return self._path(name).stat().st_size

    def open(self, name: str) -> IO[bytes]:
        return self._path(name).open("rb")

    @contextmanager
    def stage(self, name: str) -> Iterator[str]:
        with _as_output_error(self.root):
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


class RemoteStorage(Storage):
    """An object store: objects appear whole, and are created by a conditional put. It waits for
    outages to end."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        try:
            self._fs, self._base = filesystem(self.root, AS_OUTPUT)
        except ValueError as error:
            raise OutputError(f"{root} cannot be opened: {error}") from error

    def read(self, name: str) -> bytes:
        with self._told("read", name):
            content: bytes = self._fs.cat_file(self._path(name))
            return content

    def write(self, name: str, content: bytes) -> None:
        with self._told("written", name):
            self._fs.pipe_file(self._path(name), content)

    def create(self, name: str, content: bytes) -> bool:
        with self._told("written", name):
            try:
                self._fs.pipe_file(self._path(name), content, mode="create")
            except OSError as error:
                if not is_refused(error):
                    raise
                return self._holds(name, content)
            return True

    def move(self, name: str, to: str) -> bool:
        with self._told("written", to):
            try:
                self._fs.copy(self._path(name), self._path(to))
            except MissingBucket:
                raise
            except FileNotFoundError:
                return False
            self.remove(name)
            return True

    def exists(self, name: str) -> bool:
        with self._told("read", name):
            self._fs.invalidate_cache()
            return bool(self._fs.exists(self._path(name)))

    def remove(self, name: str) -> None:
        with self._told("removed", name):
            try:
                self._fs.rm_file(self._path(name))
            except MissingBucket:
                raise
            except FileNotFoundError:
                return

    def remove_if(self, name: str, content: bytes) -> bool:
        # Two requests, since fsspec has no conditional delete: what another writes between them
        # would go too.
        try:
            if self.read(name) != content:
                return False
        except FileNotFoundError:
            return False
        self.remove(name)
        return True

    def list(self, folder: str) -> list[str]:
        with self._told("listed", folder):
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(self._path(folder), detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return []
            return sorted(
                str(entry["name"]).rsplit("/", 1)[-1] for entry in found if entry["type"] == "file"
            )

    def find(self, folder: str) -> Mapping[str, int]:
        with self._told("listed", folder):
            self._fs.invalidate_cache()
            root = self._path(folder)
            try:
                found = self._fs.find(root, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return {}
            return {
                str(path)[len(root) + 1 :]: int(entry.get("size") or 0)
                for path, entry in sorted(found.items())
            }

    def size(self, name: str) -> int:
        with self._told("read", name):
            self._fs.invalidate_cache()
            return int(self._fs.size(self._path(name)))

    def open(self, name: str) -> IO[bytes]:
        with self._told("read", name):
            self._fs.invalidate_cache()
            file: IO[bytes] = self._fs.open(self._path(name))
            return file

    @contextmanager
    def stage(self, name: str) -> Iterator[str]:
        with tempfile.TemporaryDirectory(prefix="codecshards-") as folder:
            local = str(Path(folder, name.rsplit("/", 1)[-1]))
            with _as_output_error(folder):
                yield local
            with self._told("written", name):
                self._fs.put_file(local, self._path(name))

    def locate(self, name: str) -> tuple[Any, str]:
        """The file system and the path on it, for readers that fetch whole objects at a time."""
        return self._fs, self._path(name)

    def _holds(self, name: str, content: bytes) -> bool:
        """Whether an object that was there when it was to be created is this writer's own.

        A put can be done and its answer lost; sent again, it is refused because of its own success.
        Contents tell writers apart: a commit record names its staged file, which nobody else's
        does. Equal contents are the same thing, whoever wrote it.
        """
        try:
            return self.read(name) == content
        except FileNotFoundError:  # withdrawn meanwhile
            return False

    @contextmanager
    def _told(self, what: str, name: str) -> Iterator[None]:
        """A missing object is the caller's to judge; whatever else the store says is one line for
        the user."""
        try:
            yield
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not isinstance(error, MissingBucket):
                raise
            reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
            hint = (
                " (check the credentials and their rights)"
                if isinstance(error, PermissionError)
                else ""
            )
            raise OutputError(f"{self.root}/{name} cannot be {what}: {reason}{hint}") from error

    def _path(self, name: str) -> str:
        return f"{self._base.rstrip('/')}/{name}"


@contextmanager
def _as_output_error(root: str) -> Iterator[None]:
    """Failures that no retry mends become one line for the user."""
    try:
        yield
    except OSError as error:
        if error.errno in _HOPELESS:
            raise OutputError(f"{root} cannot be written: {error.strerror or error}") from error
        raise


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
