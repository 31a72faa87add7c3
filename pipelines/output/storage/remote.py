"""An output folder on an object store: anything fsspec writes to."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any

from fsspec.utils import get_protocol

from pipelines.output.storage.base import Storage, as_output_error
from pipelines.system.outages import has_no_conditions, is_refused
from pipelines.system.remote import AS_OUTPUT, MissingBucket, filesystem
from tokenizer.errors import OutputError

_BLOCK = 1 << 20
_AT_ONCE = 64
"""requests that are under way together where many small files are read"""


class RemoteStorage(Storage):
    """An object store: objects appear whole, and are created by a conditional put. It waits for
    outages to end."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        try:
            self._fs, self._base = filesystem(self.root, AS_OUTPUT)
        except ValueError as error:
            raise OutputError(f"{root} cannot be opened: {error}") from error
        self._one_state, self._looked = get_protocol(self.root) == "hf", False
        """whether it is a commit on the Hub: it is read, and written by `push` alone"""
        self._is_s3 = get_protocol(self.root) in ("s3", "s3a")

    def read(self, name: str) -> bytes:
        with self._told("read", name):
            self._look_again()
            content: bytes = self._fs.cat_whole(self._path(name))
            return content

    def read_all(self, names: Iterable[str]) -> Iterator[bytes | None]:
        def read(name: str) -> bytes | None:
            try:
                return self.read(name)
            except FileNotFoundError:
                return None

        coming = iter(names)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            waiting = deque(pool.submit(read, name) for name in islice(coming, 2 * _AT_ONCE))
            try:
                while waiting:
                    yield waiting.popleft().result()
                    waiting.extend(pool.submit(read, name) for name in islice(coming, 1))
            finally:
                for one in waiting:
                    one.cancel()

    def write(self, name: str, content: bytes) -> None:
        with self._told("written", name):
            self._fs.pipe_file(self._path(name), content)

    def create(self, name: str, content: bytes) -> bool:
        with self._told("written", name):
            try:
                self._fs.pipe_file(self._path(name), content, mode="create")
            except OSError as error:
                if has_no_conditions(error):
                    raise OutputError(
                        f"{self.root}: this store has no conditional puts (If-None-Match), by "
                        "which runs agree who commits a shard: choose a folder, or another store"
                    ) from error
                if not is_refused(error):
                    raise
                return self._holds(name, content)
            return True

    def move(self, name: str, to: str) -> bool:
        with self._told("written", to):
            try:
                self._look_again()
                # Not `copy`, for which a name may be a pattern.
                self._fs.cp_file(self._path(name), self._path(to))
            except MissingBucket:
                raise
            except FileNotFoundError:
                return False
            self.remove(name)
            return True

    def exists(self, name: str) -> bool:
        with self._told("read", name):
            self._look_again()
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
        with self._told("removed", name):
            try:
                self._look_again()
                tag = self._fs.info(self._path(name)).get("ETag")
                # The tag is older than what is read: a content that was not there with it is not
                # removed with it either.
                if self.read(name) != content:
                    return False
                return bool(self._fs.remove_tagged(self._path(name), tag))
            except MissingBucket:
                raise
            except FileNotFoundError:
                return False

    def list(self, folder: str) -> list[str]:
        with self._told("listed", folder):
            self._look_again()
            try:
                found = self._fs.ls(self._path(folder), detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return []
            return sorted(
                str(entry["name"]).rsplit("/", 1)[-1] for entry in found if entry["type"] == "file"
            )

    def find(self, folder: str) -> Mapping[str, int]:
        with self._told("listed", folder):
            self._look_again()
            root = self._path(folder)
            try:
                found = self._fs.find(root, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return {}
            return {
                str(path)[len(root) + 1 :]: int(entry.get("size") or 0)
                for path, entry in sorted(found.items())
            }

    def uploads(self, folder: str) -> Sequence[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        # Not every store lists them, nor to everyone: what stays is no fault of a run.
        with suppress(Exception):
            bucket, prefix, _ = self._fs.split_path(self._path(folder) + "/")
            asked = {"Bucket": bucket, "Prefix": prefix}
            more = self._is_s3
            while more:
                answer = self._fs.call_s3("list_multipart_uploads", **asked)
                for one in answer.get("Uploads", ()):
                    if one["Key"].startswith(prefix):
                        found.append((one["Key"][len(prefix) :], one["UploadId"]))
                more = bool(answer.get("IsTruncated"))
                asked["KeyMarker"] = answer.get("NextKeyMarker", "")
                asked["UploadIdMarker"] = answer.get("NextUploadIdMarker", "")
        return found

    def abort(self, name: str, upload: str) -> None:
        with suppress(Exception):
            bucket, key, _ = self._fs.split_path(self._path(name))
            self._fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload)

    def size(self, name: str) -> int:
        with self._told("read", name):
            self._look_again()
            return int(self._fs.size(self._path(name)))

    def open(self, name: str) -> IO[bytes]:
        with self._told("read", name):
            self._look_again()
            file: IO[bytes] = self._fs.open(self._path(name))
            return file

    @contextmanager
    def fetch(self, name: str) -> Iterator[str]:
        # Without a buffer: what a full disk does not take is known before the file is closed.
        with tempfile.NamedTemporaryFile(prefix="codecshards-", buffering=0) as copy:
            with self._told("read", name), self.open(name) as file:
                while block := memoryview(file.read(_BLOCK)):
                    with as_output_error(copy.name):
                        while block:
                            block = block[copy.write(block) :]
            yield copy.name

    @contextmanager
    def stage(self, name: str) -> Iterator[str]:
        with tempfile.TemporaryDirectory(prefix="codecshards-") as folder:
            local = str(Path(folder, name.rsplit("/", 1)[-1]))
            with as_output_error(folder):
                yield local
            with self._told("written", name):
                self._fs.put_file(local, self._path(name))

    def locate(self, name: str) -> tuple[Any, str]:
        """The file system and the path on it, for readers that fetch whole objects at a time."""
        return self._fs, self._path(name)

    def _look_again(self) -> None:
        """Others write to a store meanwhile, and clients remember listings: also for a read or a
        copy, which then find nothing where an object has come since, and this writer's own where
        the answer to its put was lost. What lies on the Hub is a commit, of which one listing is
        enough, and requests are counted there."""
        if not self._looked:
            self._looked = self._one_state
            self._fs.invalidate_cache()

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
        if self._one_state and what in ("written", "removed"):
            raise OutputError(
                f"{self.root} can be read, not changed: download it (`hf download`), or make it "
                "anew here and `codecshards push` it"
            )
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
