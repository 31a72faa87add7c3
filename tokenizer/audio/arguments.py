"""What `read_audio` and `stream_audio` are given, looked at before anything is opened."""

from __future__ import annotations

import io
import math
import mmap
import os
from pathlib import Path
from typing import Any

from tokenizer.audio.readers.shared import SharedFile
from tokenizer.errors import ShapeError

_IN_MEMORY = (bytes, bytearray, memoryview, mmap.mmap)
_MOST_CHANNELS = 2


def require_arguments(
    file: Any,
    sample_rate: float | None,
    channels: int | None,
    start: float | None,
    end: float | None,
) -> None:
    """Refuse files, rates, channels and times that cannot be.

    Raises:
        ShapeError: one of them; the message says what to give instead.
    """
    if not isinstance(file, SharedFile):
        _require_file(file)
    if sample_rate is not None and (isinstance(sample_rate, str) or not _is_rate(sample_rate)):
        raise ShapeError(f"sample_rate={sample_rate!r}: give whole Hz above 0")
    if channels is not None and (isinstance(channels, str) or not 1 <= channels <= _MOST_CHANNELS):
        raise ShapeError(f"channels={channels!r}: 1 or 2")
    for name, time in (("start", start), ("end", end)):
        if time is None:
            continue
        if isinstance(time, str) or not (math.isfinite(time) and time >= 0):
            raise ShapeError(f"{name}={time!r}: give seconds from 0")


def _is_rate(rate: float) -> bool:
    return 0 < rate < math.inf and rate == int(rate)


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
