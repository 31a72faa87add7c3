"""What `read_audio` cannot read, by mistake of who calls it: one line that says what to give."""

from __future__ import annotations

import io
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audio_files import noise, wav

from tokenizer import read_audio
from tokenizer.errors import ShapeError

CONTENT = wav(noise(0.1))


def mapped() -> mmap.mmap:
    found = mmap.mmap(-1, len(CONTENT))
    found.write(CONTENT)
    return found


def closed() -> io.BytesIO:
    found = io.BytesIO(CONTENT)
    found.close()
    return found


def pipe() -> Any:
    out, into = os.pipe()
    os.close(into)
    return os.fdopen(out, "rb")


FILES: dict[str, tuple[Callable[[], Any], str]] = {
    "bytes": (lambda: CONTENT, r"io\.BytesIO"),
    "bytearray": (lambda: bytearray(CONTENT), r"io\.BytesIO"),
    "mapped": (mapped, r"io\.BytesIO"),
    "text": (lambda: io.StringIO("x"), "as text"),
    "closed": (closed, "closed"),
    "pipe": (pipe, "cannot be sought"),
    "a URL": (lambda: "https://host/x.wav", "a URL"),
    "nothing": (lambda: None, "no file"),
    "a number": (lambda: 3, "no file"),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_to_read(name: str) -> None:
    make, why = FILES[name]
    with pytest.raises(ShapeError, match=why) as caught:
        read_audio(make())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("start", value) for value in (-1.0, float("nan"), float("inf"), "1", [1])),
        *(("end", value) for value in (-0.5, float("inf"))),
        *(("sample_rate", value) for value in (0, -5, 24_000.5, "48000", 1 << 30)),
        *(("sample_rate", value) for value in (float("inf"), float("nan"), True, [1])),
        *(("channels", value) for value in (0, 3, "2", 1.5, True)),
        ("stream", "0"),
    ],
)
def test_values_that_cannot_be_are_named(tmp_path: Path, name: str, value: Any) -> None:
    (tmp_path / "a.wav").write_bytes(CONTENT)
    with pytest.raises(ShapeError, match=f"^{name}="):
        read_audio(tmp_path / "a.wav", **{name: value})


def test_numbers_of_numpy_are_pythons(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(CONTENT)
    more: Any = {"channel": np.int64(1), "stream": np.int64(0), "start": np.float32(0)}
    found = read_audio(tmp_path / "a.wav", np.int64(8_000), np.int8(1), **more)
    assert type(found.sample_rate) is int and found.channels == 1
    assert type(read_audio(tmp_path / "a.wav", 24_000.0).sample_rate) is int  # type: ignore[arg-type]
