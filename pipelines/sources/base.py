"""What a source is: a list of recordings, and a way to open each. A new kind is one subclass and one registry row."""

from __future__ import annotations

import errno
import stat
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypedDict, cast

from fsspec.utils import get_protocol

from pipelines.remote import MissingBucket, Unanswered, download
from tokenizer.errors import CodecshardsError, FailureKind, RecordingError, SourceError
from tokenizer.types import Recording

AUDIO_EXTENSIONS = frozenset(
    [
        "3gp",
        "aac",
        "ac3",
        "aif",
        "aifc",
        "aiff",
        "alac",
        "amr",
        "ape",
        "au",
        "avi",
        "caf",
        "dsf",
        "dts",
        "eac3",
        "flac",
        "flv",
        "gsm",
        "m4a",
        "m4b",
        "mka",
        "mkv",
        "mov",
        "mp2",
        "mp3",
        "mp4",
        "mpc",
        "mpeg",
        "mpg",
        "oga",
        "ogg",
        "ogv",
        "oma",
        "opus",
        "ra",
        "rm",
        "shn",
        "snd",
        "spx",
        "sph",
        "tak",
        "thd",
        "tta",
        "voc",
        "w64",
        "wav",
        "wave",
        "webm",
        "wma",
        "wv",
    ]
)
"""endings of what is taken for a recording, without the dot; others are not even counted"""

_BYTES_A_SECOND = {
    "wav": 176_400,
    "wave": 176_400,
    "aif": 176_400,
    "aiff": 176_400,
    "aifc": 176_400,
    "au": 176_400,
    "w64": 176_400,
    "caf": 176_400,
    "sph": 32_000,
    "flac": 90_000,
    "ape": 85_000,
    "wv": 90_000,
    "tta": 90_000,
    "tak": 85_000,
    "opus": 12_000,
    "ogg": 16_000,
    "oga": 16_000,
    "spx": 4_000,
    "amr": 1_600,
    "mp4": 200_000,
    "mkv": 200_000,
    "mov": 200_000,
    "webm": 100_000,
    "avi": 200_000,
}
"""typical bitrates, to size shards with before anything is decoded"""
_OTHERS = 20_000


class Source(ABC):
    """A corpus. Picklable and cheap to make; nothing is read before `scan` or `open`."""

    spec: str
    """what names it, in a form that any process can open again (`pipelines.sources.open_source`)"""

    @abstractmethod
    def scan(self) -> Iterator[Recording]:
        """Every recording, always in the same order. Reads no audio.

        Raises:
            SourceError: the corpus cannot be listed.
        """

    @abstractmethod
    def open(self, recording: Recording) -> str | BinaryIO:
        """A recording's file: a local path where there is one, else a seekable binary file.

        Raises:
            RecordingError: it is not there (NOT_FOUND) or cannot be read (UNREADABLE).
        """


def is_remote(uri: str) -> bool:
    """Whether a path is a URL that fsspec opens, not a local file."""
    return get_protocol(uri) not in ("file", "local")


def extension(name: str) -> str:
    """Lower-case ending of a file name, without the dot."""
    return PurePosixPath(name).suffix.lower().lstrip(".")


def is_audio(name: str) -> bool:
    """Whether a file's name says that it is audio."""
    return extension(name) in AUDIO_EXTENSIONS


def estimate_seconds(name: str, size: int) -> float:
    """Length of a recording as its size and format suggest; only shards are sized by it."""
    return size / _BYTES_A_SECOND.get(extension(name), _OTHERS)


def open_file(uri: str) -> str | BinaryIO:
    """A local file's path, or a remote file's content in a temporary file (disk, not memory).

    Raises:
        RecordingError: NOT_FOUND, UNREADABLE or UNAVAILABLE.
        SourceUnavailable: its store does not answer, for anything.
        SourceError: credentials or a package are missing.
    """
    if not is_remote(uri):
        require_regular(uri)
        return uri
    return fetch_file(uri)


def fetch_file(uri: str, start: int = 0, size: int | None = None) -> BinaryIO:
    """A remote file, or `size` bytes of it from `start`, in a temporary file; errors as in `open_file`."""
    # Downloaded once: the bytes are hashed and decoded, and decoders seek.
    temporary = cast(BinaryIO, tempfile.TemporaryFile(prefix="codecshards-"))  # noqa: SIM115
    try:
        download(uri, temporary, start, size)
    except BaseException as error:
        temporary.close()
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SourceError(f"{tempfile.gettempdir()} is full: remote recordings pass through it; set TMPDIR") from error
        raise not_opened(uri, error) from error
    return temporary


def require_regular(path: str) -> None:
    """Refuse what is missing or no regular file: opening a FIFO would wait for ever.

    Raises:
        RecordingError: NOT_FOUND or UNREADABLE.
    """
    try:
        mode = Path(path).stat().st_mode
    except OSError as error:
        raise not_opened(path, error) from error
    if not stat.S_ISREG(mode):
        raise RecordingError(FailureKind.UNREADABLE, f"{path}: not a regular file", "open")


def not_opened(uri: str, error: BaseException) -> BaseException:
    """The error for a file that does not open; what is no input/output error stays itself."""
    if isinstance(error, CodecshardsError):
        return error
    if isinstance(error, FileNotFoundError):
        what = error.strerror if isinstance(error, MissingBucket) else "no such file"
        return RecordingError(FailureKind.NOT_FOUND, f"{uri}: {what}", "open")
    if isinstance(error, Unanswered):
        return RecordingError(FailureKind.UNAVAILABLE, f"{uri}: {error.strerror}", "open")
    if isinstance(error, Exception):
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return RecordingError(FailureKind.UNREADABLE, f"{uri}: {reason}", "open")
    return error


FIELDS = ("text", "language", "speaker")


class Fields(TypedDict):
    """A recording's own fields, as arguments of `Recording`: the names in `FIELDS`."""

    text: str | None
    language: str | None
    speaker: str | None


def take_fields(values: Mapping[str, Any]) -> tuple[Fields, dict[str, Any]]:
    """Split loose values into a recording's own fields (as strings) and the rest, which goes to `meta`."""
    fields = Fields(text=_text(values, "text"), language=_text(values, "language"), speaker=_text(values, "speaker"))
    rest = {str(key): plain(value) for key, value in values.items() if key not in FIELDS and value is not None}
    return fields, rest


def _text(values: Mapping[str, Any], name: str) -> str | None:
    return None if values.get(name) is None else str(values[name])


def plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return plain(value.item())
    return str(value)
