"""What a source is: a list of recordings, and a way to open each. A new kind is one subclass and
one registry row."""

from __future__ import annotations

import errno
import stat
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, cast

from pipelines.corpus.sources.downloads import Unanswered, download
from pipelines.corpus.tables.hints import Hints
from pipelines.system.outages import causes, status_of
from pipelines.system.places import is_remote
from pipelines.system.remote import MissingBucket, open_remote
from tokenizer.audio.containers.glance import Glance
from tokenizer.audio.containers.lengths import Length, length_of
from tokenizer.errors import CodecshardsError, FailureKind, RecordingError, SourceError
from tokenizer.types import Recording

__all__ = [
    "AUDIO_EXTENSIONS",
    "EstimateFromHeader",
    "FromHeader",
    "Guess",
    "Place",
    "Source",
    "estimate_seconds",
    "extension",
    "fetch_file",
    "is_audio",
    "is_remote",
    "open_file",
    "open_head",
    "refuse_rejected",
    "rejected",
    "told",
]

_ENDINGS = """
    3g2 3gp 3gpp 8svx aa3 aac ac3 adts aif aifc aiff alac amr ape apl asf au avi avr awb bwf caf
    dff dsf dts dtshd eac3 ec3 f4a f4v flac flv gsm iff ircam isma ismv m1a m2a m2ts m4a m4b m4p m4r
    m4v mac mk3d mka mks mkv mlp mogg mov mp1 mp2 mp3 mp4 mpa mpc mpeg mpg mpga mpp mts mxf nist
    oga ogg ogm ogv ogx oma omg opus paf psp pvf qcp ra rf64 rm rmvb rso sd2 sds sf shn snd
    sox sph spx svx tak thd trp truehd ts tta vob voc w64 wav wave weba webm wma wmv wv wve xwma
"""
AUDIO_EXTENSIONS = frozenset(_ENDINGS.split())
"""endings of what is taken for a recording, without the dot: those of what FFmpeg and libsndfile
read; others are counted"""

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
_REFUSED = frozenset((401, 403))
"""what HTTP says to those who may not have a file"""


class Source(ABC):
    """A corpus. Picklable and cheap to make; nothing is read before `scan` or `open`."""

    spec: str
    """what names it, in a form that any process can open again
    (`pipelines.corpus.sources.open_source`), with `prefix` before it where there is one"""
    notes: tuple[str, ...] = ()
    """after `scan`: a line for each kind of thing that was found and is not used"""
    follow_links: bool = False
    """read also what links and paths in the data lead to outside of it"""
    check_versions: bool = True
    """fail recordings that are not what they were when the corpus was listed"""

    hints: Hints = Hints()
    """what the user says about its layout and columns"""
    follows: frozenset[str] = frozenset()
    """flags of `Hints` that mean something to it"""

    def note(self, text: str) -> None:
        """Add a line to `notes`."""
        self.notes = (*self.notes, text)

    layout: str = ""
    """after `scan`: the title of the layout that was recognised; empty where it has none"""
    is_one_file: bool = False
    """a file that the user named, not a place where files lie"""

    prefix: str = ""
    """what it was asked for by, as in `tar:SPEC`, where its spec alone would mean another source"""

    def __init__(self, spec: str) -> None:
        self.spec = spec

    @staticmethod
    def fits(spec: str) -> bool:
        """Whether a spec without a prefix is of this kind; asked in the order of the registry."""
        return False

    @property
    def address(self) -> str | tuple[str, ...]:
        """What opens this very source again."""
        return f"{self.prefix}:{self.spec}" if self.prefix else self.spec

    @property
    def name(self) -> str:
        """The last part of its spec."""
        return self.spec.rstrip("/").rpartition("/")[2]

    @property
    def places(self) -> tuple[str, ...]:
        """Specs of what is away as a whole where a disk is not mounted."""
        return (self.spec,)

    @abstractmethod
    def scan(self) -> Iterator[Recording]:
        """Every recording, always in the same order. Reads no audio.

        What cannot be used is a recording too, made by `rejected`: it is planned, and fails with
        its reason.

        Raises:
            SourceError: the corpus cannot be listed.
        """

    def files(self) -> Mapping[str, str | None] | None:
        """Versions, by URI, of the files that `scan` finds recordings in
        (`pipelines.corpus.sources.identity`), where it costs far less to look at them than to scan;
        None where it does not. Where they are those of the plan, a scan would give the same."""
        return None

    @abstractmethod
    def open(self, recording: Recording) -> str | BinaryIO:
        """A recording's file: a local path where there is one, else a seekable binary file.

        Raises:
            RecordingError: it is not there (NOT_FOUND), cannot be read (UNREADABLE), is another one
                than when the corpus was listed (CHANGED), or was rejected then.
        """

    def place(self, recording: Recording) -> Place | None:
        """Where the bytes of a recording that was just listed are; None where they are not to be
        looked at for its length, because that would cost more than it is worth. Asked in many
        threads."""
        return None

    def open_head(self, recording: Recording) -> str | BinaryIO:
        """The same file, to look at its header: where it is remote, what is read of it is fetched.

        Raises:
            RecordingError: as `open`.
        """
        return self.open(recording)


def rejected(id: str, uri: str, kind: FailureKind, message: str) -> Recording:
    """A recording that cannot be one: it fails with this kind and message when its turn comes."""
    return Recording(id=id, uri=uri, locator={"rejected": [str(kind), message]}, seconds=0.1)


def refuse_rejected(recording: Recording) -> None:
    """Raise why a recording was rejected, if it was.

    Raises:
        RecordingError: as `rejected` was told.
    """
    if "rejected" in recording.locator:
        kind, message = recording.locator["rejected"]
        raise RecordingError(FailureKind(kind), message, "list")


def extension(name: str) -> str:
    """Lower-case ending of a file name, without the dot."""
    return PurePosixPath(name).suffix.lower().lstrip(".")


def is_audio(name: str) -> bool:
    """Whether a file's name says that it is audio."""
    return extension(name) in AUDIO_EXTENSIONS


class Guess(float):
    """Seconds that a file's size suggests, told from those that are known; the plan stores a
    number."""


class FromHeader(float):
    """Seconds that a file's header says, to the sample."""


class EstimateFromHeader(float):
    """Seconds that a file's header says more or less (`tokenizer.audio.containers.glance`)."""


class Place(NamedTuple):
    """Where the bytes of a recording's file lie, to look at its header."""

    uri: str
    offset: int = 0
    size: int | None = None
    """None is up to the file's end"""
    path: bytes | None = None
    """of a local file whose name is no text"""


def seconds_said(length: Length, start: float | None = None) -> FromHeader | EstimateFromHeader:
    """What a header says, from `start` on."""
    kind = FromHeader if length.exact else EstimateFromHeader
    return kind(max(0.0, length.seconds - (start or 0.0)))


def seconds_of_bytes(content: Any) -> float | None:
    """Length of a file that is in memory, or mapped there, of which little is looked at; None where
    its header does not say."""
    glance = Glance(lambda start, stop: bytes(content[start:stop]), len(content))
    length = length_of(glance)
    return None if length is None else seconds_said(length)


def estimate_seconds(name: str, size: int) -> Guess:
    """Length of a recording as its size and format suggest; only shards are sized by it."""
    return Guess(size / _BYTES_A_SECOND.get(extension(name), _OTHERS))


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


def open_head(uri: str) -> str | BinaryIO:
    """As `open_file`, but of a remote file only what is read is fetched."""
    if not is_remote(uri):
        return open_file(uri)
    try:
        return cast(BinaryIO, open_remote(uri))
    except BaseException as error:
        raise not_opened(uri, error) from error


def fetch_file(uri: str, start: int = 0, size: int | None = None) -> BinaryIO:
    """A remote file, or `size` bytes of it from `start`, in a temporary file; errors as in
    `open_file`."""
    # Downloaded once: the bytes are hashed and decoded, and decoders seek.
    temporary = cast(BinaryIO, tempfile.TemporaryFile(prefix="codecshards-"))  # noqa: SIM115
    try:
        download(uri, temporary, start, size)
    except BaseException as error:
        temporary.close()
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SourceError(
                f"{tempfile.gettempdir()} is full: remote recordings pass through it; set TMPDIR"
            ) from error
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


def told(error: BaseException) -> str:
    """What an error says: of a file that is missing, stores' clients give the name alone."""
    nameless = isinstance(error, FileNotFoundError) and not error.strerror
    return "no such file" if nameless else str(error)


def not_opened(uri: str, error: BaseException) -> BaseException:
    """The error for a file that does not open; what is no input/output error stays itself."""
    if isinstance(error, CodecshardsError):
        return error
    if isinstance(error, FileNotFoundError):
        # fsspec says so of what a web host refuses, too.
        refused = _REFUSED & {status_of(cause)[0] for cause in causes(error)}
        if refused:
            message = f"{uri}: its host refuses it (HTTP {next(iter(refused))})"
            return RecordingError(FailureKind.UNREADABLE, message, "open")
        what = error.strerror if isinstance(error, MissingBucket) else "no such file"
        return RecordingError(FailureKind.NOT_FOUND, f"{uri}: {what}", "open")
    if isinstance(error, Unanswered):
        return RecordingError(FailureKind.UNAVAILABLE, f"{uri}: {error.strerror}", "open")
    if isinstance(error, Exception):
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return RecordingError(FailureKind.UNREADABLE, f"{uri}: {reason}", "open")
    return error
