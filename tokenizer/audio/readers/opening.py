"""Which reader opens a file, and where it begins to read."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

from tokenizer.audio.containers.following import GOING_ON, may_go_on
from tokenizer.audio.containers.headers import is_plain_wav, read_wav_header, wav_may_hide
from tokenizer.audio.containers.mpeg import is_free_format
from tokenizer.audio.containers.ogg import read_links
from tokenizer.audio.readers.base import (
    AudioFile,
    Reader,
    SourceFacts,
    opened,
    require_track,
)
from tokenizer.audio.readers.chain import ChainReader
from tokenizer.audio.readers.finished import finished_file
from tokenizer.audio.readers.jumping import Jumps
from tokenizer.audio.readers.pyav import NotOpened, PyAVReader
from tokenizer.audio.readers.sndfile import MAGIC, SoundFileReader
from tokenizer.errors import FailureKind, RecordingError

SEEK_SECONDS = 5.0
"""starts before this are reached by decoding"""


def open_reader(
    file: AudioFile,
    name: str,
    start: float,
    allow_damaged: bool,
    stream: int | None = None,
    *,
    end: float | None = None,
    jumps: Jumps | None = None,
) -> tuple[Reader, int]:
    """A reader of one track of sound (`PyAVReader`), and the sample at which it begins: `start`
    (seconds), or one shortly before it, where that can be reached without decoding what is before.

    Args:
        file: to read.
        name: what errors call it.
        start: seconds at which what is wanted begins.
        allow_damaged, stream: as `PyAVReader` has them.
        end: seconds at which it ends.
        jumps: what earlier calls on the same file have found out.

    Raises:
        RecordingError: nothing that can be decoded (NOT_AUDIO), a header that cannot be
            (BAD_HEADER), no such track (CHANNELS).
    """
    file = finished_file(file)
    plain = _plain(file, name, start)
    if plain is not None:
        return _single(plain[0], name, stream), plain[1]
    _rewind(file)
    reader = _opened(file, name, stream, allow_damaged)
    if not isinstance(reader, PyAVReader):
        return reader, 0
    if reader.is_misread:
        return _misread(file, reader, name, start)
    if reader.facts.container == "ogg":
        return _paged(file, reader, name, allow_damaged, stream), 0
    if start <= SEEK_SECONDS:
        return reader, 0
    if reader.facts.container == "mp3":
        at = (jumps or Jumps()).jump(reader, file, start, end)
        if at is not None:
            return reader, at
        reader.close()
        _rewind(file)
        return PyAVReader(file, name, allow_damaged=allow_damaged, stream=stream), 0
    return _seek(file, reader, name, start, jumps or Jumps())


def count_channels(file: AudioFile, name: str, stream: int | None = None) -> int:
    """Channels of a track of sound, as `open_reader` finds them, from what stands at a file's
    beginning and end.

    Raises:
        RecordingError: as `open_reader`.
    """
    file = finished_file(file)
    with opened(file) as handle:
        header = read_wav_header(handle)
        if stream in (None, 0) and header is not None and header.is_plain:
            hidden = wav_may_hide(handle)
            if not hidden:
                return header.channels
    _rewind(file)
    reader = _opened(file, name, stream)
    reader.close()
    return reader.facts.channels


def _opened(file: AudioFile, name: str, stream: int | None, allow_damaged: bool = False) -> Reader:
    """FFmpeg's reader, or libsndfile's for what FFmpeg does not know."""
    try:
        return PyAVReader(file, name, allow_damaged=allow_damaged, stream=stream)
    except NotOpened as error:
        reason = str(error)
    except RecordingError as error:
        if error.kind is not FailureKind.BAD_HEADER or not _is_free(file):
            raise
        reason = error.message
    return _single(_rescue(file, name, reason), name, stream)


def _is_free(file: AudioFile) -> bool:
    """Whether it is MPEG audio in the free format, which FFmpeg does not decode."""
    with opened(file) as handle:
        return is_free_format(handle)


def _single(reader: Reader, name: str, stream: int | None) -> Reader:
    """A reader of a kind of file that has one track of sound."""
    try:
        require_track(name, stream, 1)
    except RecordingError:
        reader.close()
        raise
    return reader


def _plain(file: AudioFile, name: str, start: float) -> tuple[Reader, int] | None:
    """libsndfile's reader for plain WAVE, which it opens in a fifth of FFmpeg's time, for the same
    samples; else None."""
    with opened(file) as handle:
        if not is_plain_wav(handle):
            return None
    _rewind(file)
    try:
        reader = SoundFileReader(file, name)
    except RecordingError:  # it looks at a file's name, too
        return None
    first = min(round(start * reader.facts.sample_rate), reader.facts.declared or 0)
    reader.seek(first)
    return reader, first


def _misread(file: AudioFile, reader: PyAVReader, name: str, start: float) -> tuple[Reader, int]:
    """libsndfile's reader for WAVE that FFmpeg reads as something else, judged by its header."""
    reader.close()
    _rewind(file)
    found = SoundFileReader(file, name)
    found.alone = True
    found.facts = replace(
        found.facts, layout=reader.facts.layout, declared=reader.facts.declared, tolerance=1
    )
    first = min(round(start * found.facts.sample_rate), found.frames)
    found.seek(first)
    return found, first


def _paged(
    file: AudioFile, reader: PyAVReader, name: str, allow_damaged: bool, stream: int | None
) -> Reader:
    """Ogg, with what its pages say; a chain is read link by link."""
    with opened(file) as handle:
        links = [link for link in read_links(handle, reader.facts.track) if link.offsets]
    if not links:
        return reader
    if len(links) == 1:
        reader.use(links[0])
        return reader
    reader.close()
    try:
        return ChainReader(file, name, links, allow_damaged, stream)
    except NotOpened as error:
        raise RecordingError(
            FailureKind.NOT_AUDIO, f"{name}: no audio that can be decoded ({error})", "open"
        ) from error


def _rescue(file: AudioFile, name: str, reason: str) -> Reader:
    """Try libsndfile on what FFmpeg cannot open."""
    with opened(file) as handle:
        known = handle.read(4) in MAGIC
    free = _is_free(file)
    _rewind(file)
    try:
        if known or free:
            found = SoundFileReader(file, name)
            if free:  # whose length libsndfile only estimates
                found.alone, found.facts = True, replace(found.facts, declared=None)
            return found
        raise RecordingError(FailureKind.NOT_AUDIO, reason)
    except RecordingError as error:
        if error.kind is not FailureKind.NOT_AUDIO:
            raise
        message = f"{name}: no audio that can be decoded ({reason})"
        raise RecordingError(FailureKind.NOT_AUDIO, message, "open") from error


def _seek(
    file: AudioFile, reader: PyAVReader, name: str, start: float, jumps: Jumps
) -> tuple[Reader, int]:
    """Jump to the start (seconds) where that is exact to the bit; elsewhere keep the reader, and
    decode up to it."""
    place = None if isinstance(file, str) else file.tell()
    _rewind(file)
    try:
        exact = SoundFileReader(file, name)
        alike = exact.is_like(reader.facts.codec) and _agree(exact.facts, reader)
        if not alike or _goes_on(file, exact.facts, jumps):
            exact.close()
            raise RecordingError(FailureKind.NOT_AUDIO, f"{name}: cannot begin anywhere")
        first = min(round(start * exact.facts.sample_rate), exact.facts.declared or 0)
        exact.seek(first)
    except RecordingError:
        if place is not None and not isinstance(file, str):  # the first reader goes on where it was
            file.seek(place)
        return reader, 0
    reader.close()
    exact.facts = replace(exact.facts, layout=reader.facts.layout)
    return exact, first


def _agree(facts: SourceFacts, reader: PyAVReader) -> bool:
    """Whether both decoders see the same sound, whole; where they do not, something is missing or
    the length is unknown."""
    theirs = reader.facts
    if theirs.declared not in (None, facts.declared) or facts.declared != reader.length:
        return False
    return (facts.sample_rate, facts.channels) == (theirs.sample_rate, theirs.channels)


def _goes_on(file: AudioFile, facts: SourceFacts, jumps: Jumps) -> bool:
    """Whether there may be more than libsndfile counts, so that it could seek into that instead."""
    if facts.container not in GOING_ON:
        return False
    if jumps.goes_on is None:
        with opened(file) as handle:
            jumps.goes_on = may_go_on(handle)
    return jumps.goes_on


def require_regular_file(path: str) -> None:
    """Opening a FIFO would wait for ever; a folder is no recording."""
    try:
        status = Path(path).stat()
    except FileNotFoundError as error:
        raise RecordingError(FailureKind.NOT_FOUND, f"{path}: no such file", "open") from error
    except OSError as error:
        raise RecordingError(FailureKind.UNREADABLE, f"{path}: {error.strerror}", "open") from error
    if not stat.S_ISREG(status.st_mode):
        raise RecordingError(FailureKind.UNREADABLE, f"{path}: not a regular file", "open")
    if not os.access(path, os.R_OK):
        raise RecordingError(FailureKind.UNREADABLE, f"{path}: permission denied", "open")
    if not status.st_size:
        raise RecordingError(FailureKind.NOT_AUDIO, f"{path}: an empty file", "open")


def _rewind(file: AudioFile) -> None:
    """Decoders read a handle from the place where it is."""
    if not isinstance(file, str):
        file.seek(0)
