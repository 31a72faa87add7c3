"""Folders that one process writes to at a time, and what cannot be written, in one line, whichever
library was writing it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from tokenizer.errors import OutputError


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Write files of `what` in this block.

    Raises:
        OutputError: one of them cannot be written: the disk is full, say.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:  # safetensors has its own for a full disk
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{what} cannot be written: {reason}") from error


@contextmanager
def alone(folder: Path, what: str) -> Iterator[None]:
    """Have a folder, which is there, for this process as long as the block lasts.

    Raises:
        OutputError: another process has it.
    """
    held = os.open(folder, os.O_RDONLY)  # the folder itself: no file is left behind
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                f"{what} is being written by another process: wait for it, or give another folder"
            ) from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(held)
