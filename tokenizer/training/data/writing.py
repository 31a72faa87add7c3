"""What cannot be written, in one line, whichever library was writing it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
