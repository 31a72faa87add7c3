"""Every exception this project raises on purpose.

    CodecshardsError
    ├── UsageError              cannot be done as asked; the command line exits with 2
    │   ├── CodecLoadError      no such checkpoint, no network, another model, unknown bandwidth
    │   ├── SourceError         a corpus that is missing, empty, malformed, or has an id twice
    │   │   └── SourceUnavailable   its store or folder does not answer now
    │   └── OutputError         OUT cannot be written, is full, or holds another configuration
    │       └── ManifestError   a file of its manifest is damaged
    ├── ShapeError              a value's shape, dtype or range; also a ValueError
    ├── ShardError              a shard or commit record that is damaged, missing or another
    └── RecordingError          one recording cannot be tokenized; the others go on

`RecordingError` is the only one that a run survives.
"""

from __future__ import annotations

from enum import StrEnum


class CodecshardsError(Exception):
    """Base of all of them."""


class UsageError(CodecshardsError):
    """What was asked for cannot be done; the message says what to do instead, in one line."""


class CodecLoadError(UsageError):
    """A codec that cannot be loaded as asked."""


class SourceError(UsageError):
    """A corpus that cannot be listed."""


class SourceUnavailable(SourceError):
    """A corpus whose store or folder is away: no recording's fault, so that the run stops, and
    another one goes on."""


class OutputError(UsageError):
    """An output folder that cannot be used."""


class ManifestError(OutputError):
    """A file of an output's manifest that is not what was written."""


class ShapeError(CodecshardsError, ValueError):
    """A value that breaks the promises of its type."""


class ShardError(CodecshardsError):
    """A shard or commit record that is damaged, missing or not what was committed."""


class FailureKind(StrEnum):
    """Why a recording was not tokenized; the words that `inspect` counts."""

    NOT_FOUND = "not_found"
    """The file, row or archive member is not there (any more)."""
    UNREADABLE = "unreadable"
    """It is there and cannot be read: permissions, input/output errors, not a regular file."""
    CHANGED = "changed"
    """Another file, row or archive member is where the one was that the plan is about."""
    BAD_ROW = "bad_row"
    """A line of a manifest or a row of a table that says nothing usable."""
    NOT_AUDIO = "not_audio"
    """No audio stream, an unknown or refused container, a web page named .mp3, an empty file."""
    EMPTY = "empty"
    """An audio stream with no samples in it (or none between `start` and `end`)."""
    TRUNCATED = "truncated"
    """Ends before the length that its own header declares (kept with `allow_truncated`)."""
    DAMAGED = "damaged"
    """Packets that are missing, do not decode or have wrong checksums, or other audio than the
    header declares (kept with `allow_damaged`, but for the last)."""
    BAD_HEADER = "bad_header"
    """A sample rate, channel count or sample format that cannot be."""
    CHANNELS = "channels"
    """More than two channels, and no downmix was asked for."""
    NON_FINITE = "non_finite"
    """NaN, infinite or absurdly large samples."""
    TOO_LONG = "too_long"
    """Longer than the codec can encode in one piece (codecs without windows)."""
    CRASHED = "crashed"
    """The decoder process died on it."""
    TIMED_OUT = "timed_out"
    """The decoder made no progress on it."""
    QUARANTINED = "quarantined"
    """The shard's process died three times and this recording is at fault."""
    ENCODER = "encoder"
    """The codec refused it or gave non-finite output."""
    MEASURE = "measure"
    """A quality measure of another package failed on it."""
    FILTERED = "filtered"
    """Read well, and not what `--keep` asks for: no error of the run."""
    DROPPED = "dropped"
    """Taken out by `codecshards edit --drop`: no error of the run, and it stays out."""
    UNAVAILABLE = "unavailable"
    """Its store answers, but not for it, however often it was asked; it may be there another
    day."""


MENDABLE = frozenset(
    {
        FailureKind.NOT_FOUND,
        FailureKind.UNREADABLE,
        FailureKind.CHANGED,
        FailureKind.CRASHED,
        FailureKind.TIMED_OUT,
        FailureKind.QUARANTINED,
        FailureKind.ENCODER,
        FailureKind.MEASURE,
        FailureKind.UNAVAILABLE,
    }
)
"""Kinds of failures that may be none another day, of the same file: those of stores, machines and
other packages. The others are of what is in a file."""


class RecordingError(CodecshardsError):
    """One recording cannot be tokenized.

    Attributes:
        kind: why, as a `FailureKind`.
        message: one readable line; it names the file.
        stage: where it was noticed: "list", "open", "decode", "check", "measure", "keep",
            "encode" or "write".
    """

    def __init__(self, kind: FailureKind, message: str, stage: str = "decode") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.stage = stage

    def __reduce__(self) -> tuple[type[RecordingError], tuple[FailureKind, str, str]]:
        # Crosses process borders: the default reduction would lose kind and stage.
        return type(self), (self.kind, self.message, self.stage)


def why_unwritten(error: Exception) -> str:
    """Why a file cannot be written, as the system or libsndfile says it, which has no more than
    "System error" for a full disk."""
    said = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return f"{said.rstrip('.')}: a full disk?" if getattr(error, "code", None) == 2 else said
