"""What a file's own tags say of it: artist, title, album and the like, whatever they are written
in (ID3, Vorbis comments, MP4 atoms, RIFF INFO, APE)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import av
from av.error import FFmpegError

from tokenizer.audio.readers.formats import FORMATS

_NAMES = {
    "title": ("title",),
    "artist": ("artist", "author"),
    "album": ("album",),
    "album_artist": ("album_artist", "albumartist", "album artist"),
    "genre": ("genre",),
    "date": ("date", "year", "tdrc", "tyer", "creation_date"),
    "track": ("track", "tracknumber"),
    "disc": ("disc", "discnumber"),
    "composer": ("composer",),
    "performer": ("performer",),
    "publisher": ("publisher", "label", "organization"),
    "copyright": ("copyright",),
    "license": ("license",),
    "language": ("language",),
    "isrc": ("isrc", "tsrc"),
    "bpm": ("bpm", "tbpm", "tmpo"),
}
"""what is kept, and what containers call it, best first; lyrics, pictures and what encoders write
of themselves are not"""
_YEAR = re.compile(r"(?<!\d)(1\d{3}|20\d{2})(?!\d)")
_LONGEST = 1_000
"""characters of a value"""
_PROBED = {"format_whitelist": FORMATS, "max_probe_packets": "1", "analyzeduration": "0"}
"""no more of the sound is looked at than tells what the file is"""


def read_tags(file: str | BinaryIO) -> dict[str, Any]:
    """Tags of a file by their usual names, and `year` as a number; empty where it has none, or
    cannot be opened, which whoever decodes it will say. A handle is left at the file's start."""
    av.logging.set_level(av.logging.PANIC)
    try:
        with av.open(
            file, mode="r", metadata_errors="surrogateescape", options=dict(_PROBED)
        ) as container:
            found = _lower(container.metadata)
            for stream in container.streams.audio[:1]:
                found = {**_lower(stream.metadata), **found}
    except (FFmpegError, ValueError, OSError):
        return {}
    finally:
        if not isinstance(file, str):
            file.seek(0)
    return dict(_kept(found))


def _lower(metadata: Mapping[str, str]) -> dict[str, str]:
    return {key.lower(): value for key, value in metadata.items()}


def _kept(found: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    for name, called in _NAMES.items():
        value = next((text for key in called if (text := _clean(found.get(key, "")))), "")
        if not value or (name == "language" and value == "und"):
            continue
        yield name, value
        year = _YEAR.search(value) if name == "date" else None
        if year is not None:
            yield "year", int(year[0])


def _clean(value: str) -> str:
    """A value as one line of text. Bytes that are no UTF-8 are taken for Windows' Western European,
    which those who tag in none of Unicode's encodings mean most often."""
    raw = value.encode("utf-8", "surrogateescape")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", "replace")
    text = "".join(
        " " if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char for char in text
    )
    return " ".join(text.split())[:_LONGEST]
