"""Files of segments are fetched and hashed once, and read in the order that suits them."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from audio_files import by_ffmpeg, noise

from pipelines.corpus.open_files import MOST_OPEN, OpenFiles, reading_order
from pipelines.corpus.reader import Decoder, DecodeSettings
from pipelines.corpus.sources import open_source
from pipelines.corpus.sources.base import Source
from tokenizer import RecordingError, read_audio
from tokenizer.audio.readers.shared import SharedFile
from tokenizer.types import Recording


class Fetched(Source):
    """Files without a path, which are counted."""

    spec = "fetched"

    def __init__(self) -> None:
        self.handles: list[BinaryIO] = []

    def scan(self) -> Iterator[Recording]:
        yield from ()

    def open(self, recording: Recording) -> str | BinaryIO:
        self.handles.append(io.BytesIO(recording.uri.encode()))
        return self.handles[-1]


def segment(uri: str, start: float, **more: object) -> Recording:
    return Recording(f"{uri}#{start}", uri, start=start, end=start + 1, **more)  # type: ignore[arg-type]


def test_a_file_is_fetched_once_for_its_segments_and_closed_in_the_end() -> None:
    source = Fetched()
    files = OpenFiles(source, lambda: None)
    for number in range(3):
        for uri in ("a", "b"):
            with files.opened(segment(uri, number)) as file:
                assert isinstance(file.audio, SharedFile)
                assert file.sha256 == hashlib.sha256(uri.encode()).hexdigest()
    assert len(source.handles) == 2
    with files.opened(Recording("whole", "c")) as file:
        assert not isinstance(file.audio, SharedFile)
    assert source.handles[2].closed and not source.handles[0].closed
    with files.opened(Recording("whole of one that is open", "b")) as file:
        assert isinstance(file.audio, SharedFile)
    assert not source.handles[1].closed
    for uri in "defg":
        with files.opened(segment(uri, 0)):
            pass
    assert sum(not handle.closed for handle in source.handles) == MOST_OPEN


def test_another_member_and_another_version_are_other_files(tmp_path: Path) -> None:
    source = Fetched()
    files = OpenFiles(source, lambda: None)
    for member in ("x", "y"):
        with files.opened(segment("a", 0, locator={"member": member})) as file:
            assert file.name == f"a/{member}"
    assert len(source.handles) == 2
    path = tmp_path / "a.wav"
    local = OpenFiles(open_source(str(tmp_path)), lambda: None)
    for content in (b"before", b"afterwards"):
        path.write_bytes(content)
        with local.opened(segment(str(path), 0)) as file:
            assert file.sha256 == hashlib.sha256(content).hexdigest()


def test_files_are_read_as_they_come_and_segments_by_their_start() -> None:
    wanted = [segment("b", 5), segment("a", 1), segment("b", 2), Recording("c", "c")]
    wanted += [Recording("b", "b"), segment("a", 0)]
    assert [one.id for one in reading_order(wanted)] == ["b", "b#2", "b#5", "a#0", "a#1", "c"]


@pytest.mark.parametrize("name", ["m4a", "mp3"])
def test_a_decoder_that_dies_among_segments_is_no_other(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"a.{name}"
    kind = ("mp4", "aac") if name == "m4a" else ("mp3", "libmp3lame")
    path.write_bytes(by_ffmpeg(kind[0], (kind[1], noise(9.0))))
    spans = [(0.5, 3.0), (2.0, 6.0), (5.5, 6.5), (6.0, 8.5), (8.0, 8.2), (1.0, 2.0), (20.0, 21.0)]
    recordings = [Recording(str(a), str(path), start=a, end=b) for a, b in spans]
    decoder, kills = Decoder(DecodeSettings(open_source(str(tmp_path)), 48_000, 2)), 0
    for decoding in decoder.decode(recordings):
        blocks = []
        try:
            for number, block in enumerate(decoding):
                blocks.append(block)
                if number == 1 and decoder._child is not None:
                    os.kill(decoder._child._process.pid, 9)
                    kills += 1
        except RecordingError as error:
            assert decoding.recording.start == 20.0 and "no samples" in error.message
            continue
        one = decoding.recording
        alone = read_audio(str(path), 48_000, 2, start=one.start, end=one.end).samples
        assert np.array_equal(np.concatenate(blocks, axis=1), alone), one.id
    assert kills == 3
    decoder.close()
