"""Tags of files, written by FFmpeg's command line and byte by byte."""

from __future__ import annotations

import io
import json
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tokenizer.audio.tags import read_tags

TOLD = {
    "title": 'Für "Elise"; line two',
    "artist": "Ä & Ö",
    "album": "First",
    "genre": "Rock",
    "date": "2004-05-01",
    "track": "3/12",
    "composer": "Nobody",
}
"""written as they are here but for the title's line end"""
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs FFmpeg's command")


@needs_ffmpeg
@pytest.mark.parametrize(
    "ending", ["mp3", "flac", "ogg", "opus", "m4a", "wv", "mka", "aiff", "wma"]
)
def test_tags_are_those_that_were_written(tmp_path: Path, ending: str) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(4_800), 48_000)
    path = tmp_path / f"a.{ending}"
    told = TOLD | {"title": 'Für "Elise";\nline two'}
    written = [part for key, value in told.items() for part in ("-metadata", f"{key}={value}")]
    also = ["-write_id3v2", "1"] if ending == "aiff" else []
    also += ["-c:a", "libvorbis"] if ending == "ogg" else []
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", *written, *also, path]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    assert read_tags(str(path)) == {**TOLD, "year": 2004}
    with path.open("rb") as file:
        assert read_tags(file) == {**TOLD, "year": 2004} and file.tell() == 0


def riff(**info: bytes) -> bytes:
    """A WAVE file with such a LIST of INFO."""
    sink = io.BytesIO()
    soundfile.write(sink, np.zeros(480), 48_000, format="WAV", subtype="PCM_16")
    chunks = b"".join(
        key.encode() + struct.pack("<I", len(text)) + text + b"\0" * (len(text) % 2)
        for key, text in info.items()
    )
    wave = sink.getvalue() + b"LIST" + struct.pack("<I", len(chunks) + 4) + b"INFO" + chunks
    return b"RIFF" + struct.pack("<I", len(wave) - 8) + wave[8:]


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (b"M\xf6tley", "Mötley"),
        ("Mötley".encode(), "Mötley"),
        (b"bell\x07 and\x1b[31m red\x00", "bell and [31m red"),
        (b"x" * 5_000, "x" * 1_000),
        (b"\x81\x8d", "\ufffd\ufffd"),
    ],
)
def test_whatever_bytes_there_are_it_is_text(raw: bytes, wanted: str) -> None:
    found = read_tags(io.BytesIO(riff(IART=raw, INAM=b"  ", ISFT=b"Lavf60")))
    assert found == {"artist": wanted}
    json.dumps(found, allow_nan=False).encode()


@pytest.mark.parametrize("content", [b"", b"no audio at all", b"ID3\x04\0\0\x7f\x7f\x7f\x7f"])
def test_what_cannot_be_opened_has_none(content: bytes) -> None:
    assert read_tags(io.BytesIO(content)) == {}
