"""What `read_audio` and `stream_audio` are given, looked at before anything is opened."""

from __future__ import annotations

import io
import math
import mmap
import os
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from tokenizer.audio.readers.base import HIGHEST_RATE
from tokenizer.audio.readers.shared import SharedFile
from tokenizer.errors import ShapeError

_IN_MEMORY = (bytes, bytearray, memoryview, mmap.mmap)


def require_arguments(
    file: Any,
    sample_rate: float | None,
    channels: int | None,
    start: float | None,
    end: float | None,
    stream: int | None = None,
) -> None:
    """Refuse files, rates, channels, times and tracks that cannot be.

    Raises:
        ShapeError: one of them; the message says what to give instead.
    """
    if not isinstance(file, SharedFile):
        _require_file(file)
    if sample_rate is not None and not (
        _is_number(sample_rate) and 0 < sample_rate <= HIGHEST_RATE and sample_rate % 1 == 0
    ):
        raise ShapeError(f"sample_rate={sample_rate!r}: give whole Hz above 0, to {HIGHEST_RATE}")
    if channels is not None and not (_is_number(channels) and channels in (1, 2)):
        raise ShapeError(f"channels={channels!r}: 1 or 2")
    for name, time in (("start", start), ("end", end)):
        if time is not None and not (_is_number(time) and math.isfinite(time) and time >= 0):
            raise ShapeError(f"{name}={time!r}: give seconds from 0")
    if stream is not None and not isinstance(stream, Integral):
        raise ShapeError(f"stream={stream!r}: give a number from 0")


def _is_number(value: object) -> bool:
    """Whether it is one of Python's or NumPy's, and no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool)


def _require_file(file: Any) -> None:
    """Refuse what is no path and no binary file that can be read from anywhere."""
    if isinstance(file, str | os.PathLike):
        if "://" in str(file) and not Path(file).exists():
            raise ShapeError(
                f"{file}: a URL, not a path: open it, as with fsspec.open(URL).open(), and give "
                "the file"
            )
        return
    if isinstance(file, _IN_MEMORY):
        raise ShapeError(
            f"audio in memory as {type(file).__name__}: give io.BytesIO(…) of it, or a path"
        )
    if not all(hasattr(file, name) for name in ("read", "seek", "tell")):
        raise ShapeError(f"{type(file).__name__} is no file: give a path, or an open binary file")
    if isinstance(file, io.TextIOBase):
        raise ShapeError("a file that is open as text: open it with 'rb'")
    if getattr(file, "closed", False):
        raise ShapeError("a file that has been closed")
    if not getattr(file, "seekable", lambda: True)():
        raise ShapeError(
            "a file that cannot be sought in, as a pipe: give io.BytesIO(file.read()) instead"
        )
