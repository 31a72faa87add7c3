"""A folder that is there whole or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.system.places import is_remote, local_path
from tokenizer.errors import OutputError


@contextmanager
def new_folder(place: str) -> Iterator[Path]:
    """A folder beside the new one to write to, which gets its name at the end of the block. What a
    run that was killed has left of it (`.NAME.partial`) is replaced.

    Raises:
        OutputError: there is something already, another run is at it, or it cannot be written.
    """
    if is_remote(place):
        raise OutputError(f"{place}: give a local folder, and copy it from there")
    target = Path(os.path.abspath(local_path(place)))  # noqa: PTH100  (links stay as they are)
    _require_empty(target, place)
    work = target.with_name(f".{target.name}.partial")
    try:
        work.mkdir(parents=True, exist_ok=True)
        handle = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise OutputError(f"{place} cannot be written: {error.strerror}: {work}") from error
    try:
        _lock(handle, work, place)
        _clear(work)
        try:
            yield work
            _make_durable(work)
            _require_empty(target, place)
            work.rename(target)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
    except OSError as error:
        raise OutputError(f"{place} cannot be written: {error.strerror or error}") from error
    finally:
        os.close(handle)


def _require_empty(target: Path, place: str) -> None:
    if target.is_dir() and not any(target.iterdir()):
        return
    if os.path.lexists(target):
        raise OutputError(f"{place} is there already: choose another folder, or remove it")


def _lock(handle: int, work: Path, place: str) -> None:
    """Two runs must not write one folder; the system lets go of the lock when its holder dies."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mine = os.fstat(handle).st_ino == work.stat().st_ino
    except (BlockingIOError, FileNotFoundError):
        mine = False
    if not mine:
        raise OutputError(f"{place} is being written by another run")


def _clear(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _make_durable(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
