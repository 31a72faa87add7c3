"""Files that are refused, each with its kind of failure."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from audio_files import failure, write
from sounds import sound

from tokenizer import FailureKind, RecordingError, read_audio
from tokenizer.audio import stream_audio


def test_segments_beyond_the_end_are_failures(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", sound(48_000).samples, 48_000)
    assert failure(path, start=2.0).kind is FailureKind.EMPTY
    assert failure(path, start=0.5, end=3.0).kind is FailureKind.TRUNCATED
    assert read_audio(path, start=0.5, end=3.0, allow_truncated=True).num_samples == 24_000
    assert read_audio(path, end=1.05).num_samples == 48_000, "a rounded end is no truncation"


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff", "a.mp3", "a.ogg"])
def test_files_that_end_early_are_failures_by_default(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, sound(200_000).samples, 48_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    error = failure(path, 48_000, 2)
    assert error.kind in (FailureKind.TRUNCATED, FailureKind.DAMAGED) and str(path) in error.message
    if error.kind is FailureKind.TRUNCATED:
        stream = stream_audio(path, 48_000, 2, allow_truncated=True)
        kept = sum(block.shape[1] for block in stream)
        assert 20_000 < kept < 190_000 and "truncated" in stream.report.flags


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_streaming_writers_size_is_no_lie(tmp_path: Path, size: int) -> None:
    path = write(tmp_path / "a.wav", sound(10_000).samples, 48_000, "PCM_16")
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", size)
    path.write_bytes(content)
    if size:
        assert read_audio(path).num_samples == 10_000
    else:
        assert read_audio(path).num_samples in (0, 10_000)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_samples_that_are_no_samples_are_failures(tmp_path: Path, bad: float) -> None:
    samples = sound(100_000).samples.copy()
    samples[1, 77_777] = bad
    error = failure(write(tmp_path / "a.wav", samples, 48_000, "FLOAT"), 48_000, 2)
    assert error.kind is FailureKind.NON_FINITE and error.stage == "check"


@pytest.mark.parametrize("rate", [1, 999])
def test_absurd_rates_are_failures(tmp_path: Path, rate: int) -> None:
    path = write(tmp_path / "a.wav", sound(100).samples, rate)
    assert failure(path).kind is FailureKind.BAD_HEADER


def test_what_is_no_recording_is_refused_by_kind(tmp_path: Path) -> None:
    (tmp_path / "page.mp3").write_text("<html>404</html>" * 50)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\n/etc/hostname\n")
    (tmp_path / "concat.wav").write_text("ffconcat version 1.0\nfile /etc/hostname\n")
    os.mkfifo(tmp_path / "pipe.wav")
    write(tmp_path / "nothing.wav", np.zeros((2, 0)), 48_000)
    kinds = {
        "missing.wav": FailureKind.NOT_FOUND,
        "page.mp3": FailureKind.NOT_AUDIO,
        "empty.wav": FailureKind.NOT_AUDIO,
        "list.m3u8": FailureKind.NOT_AUDIO,
        "concat.wav": FailureKind.NOT_AUDIO,
        "pipe.wav": FailureKind.UNREADABLE,
        "nothing.wav": FailureKind.EMPTY,
        ".": FailureKind.UNREADABLE,
    }
    for name, kind in kinds.items():
        error = failure(tmp_path / name)
        assert error.kind is kind, (name, error.kind, error.message)
        assert str(tmp_path / name).rstrip("/.") in error.message


def test_an_error_keeps_its_kind_between_processes() -> None:
    import pickle

    error = RecordingError(FailureKind.TRUNCATED, "a.wav: ends early", "decode")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.kind, copy.message, copy.stage) == (error.kind, error.message, error.stage)
