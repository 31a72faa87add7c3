"""A second way to read a file, which shares as little as can be with the first: what holds a
reader's own faults against it.

libsndfile where the first way was FFmpeg and it knows the format, else FFmpeg's program where it is
installed, else FFmpeg's libraries on a file by its path, without any of
`tokenizer.audio.readers.pyav`. Lengths, tags and damage are not judged: it gives what it finds.
Resampling and channels are those of the first way.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.error import FFmpegError
from numpy.typing import NDArray

from tokenizer.audio.readers.base import AudioFile, Reader, SourceFacts
from tokenizer.audio.readers.chain import ChainReader
from tokenizer.audio.readers.finished import finished_file
from tokenizer.audio.readers.gathering import layout_of
from tokenizer.audio.readers.sndfile import MAGIC, SoundFileReader
from tokenizer.audio.timeline import Gap
from tokenizer.errors import FailureKind, RecordingError

LIBSNDFILE, PROGRAM, LIBRARY = "libsndfile", "ffmpeg", "FFmpeg's libraries by path"
_BLOCK = 1 << 16
_ALIKE = {"ulaw", "alaw", "vorbis", "opus", "mpeg_layer_iii"}
"""encodings that libsndfile decodes as FFmpeg does; not so ADPCM"""
_MPEG = (b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xfa", b"\xff\xf2")


class SecondReader:
    """One file, open by the second way; `facts.decoder` says which."""

    def __init__(self, file: AudioFile, name: str, first: Reader) -> None:
        """Open a file of which the first reader has found the facts, and close that.

        Raises:
            RecordingError: there is no second way for it (NOT_AUDIO).
        """
        facts = first.facts
        first.close()
        if isinstance(first, ChainReader):
            raise RecordingError(
                FailureKind.NOT_AUDIO, f"{name}: no second way reads a chain of streams", "open"
            )
        if isinstance(first, SoundFileReader) and first.alone:
            raise RecordingError(
                FailureKind.NOT_AUDIO, f"{name}: no second way reads what FFmpeg does not", "open"
            )
        self._name, self._kept = name, contextlib.ExitStack()
        file = finished_file(file)
        self._path = file if isinstance(file, str) else self._copy(file)
        known = facts.decoder == "soundfile" or facts.tracks > 1  # libsndfile cannot choose one
        self._sound = None if known else self._by_libsndfile(facts)
        way = LIBSNDFILE if self._sound else PROGRAM if shutil.which("ffmpeg") else LIBRARY
        self.facts = replace(facts, decoder=way, declared=None, trims=False)

    @property
    def gaps(self) -> list[Gap]:
        """None are looked for."""
        return []

    def close(self) -> None:
        if self._sound is not None:
            self._sound.close()
        self._kept.close()

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Blocks float32 `[channels, n]`.

        Raises:
            RecordingError: it does not decode (DAMAGED).
        """
        if self._sound is not None:
            return self._sound.blocks()
        return self._by_program() if self.facts.decoder == PROGRAM else self._by_library()

    def _copy(self, file: Any) -> str:
        """The bytes as a file, whose name says nothing."""
        copy = self._kept.enter_context(tempfile.NamedTemporaryFile(prefix="codecshards-"))  # noqa: SIM115
        file.seek(0)
        shutil.copyfileobj(file, copy)
        copy.flush()
        return copy.name

    def _by_libsndfile(self, facts: SourceFacts) -> SoundFileReader | None:
        with Path(self._path).open("rb") as handle:
            head = handle.read(4)
        if head not in MAGIC and not head.startswith(_MPEG):
            return None
        try:
            reader = SoundFileReader(self._path, self._name)
        except RecordingError:
            return None
        same = (reader.facts.sample_rate, reader.facts.channels) == (
            facts.sample_rate,
            facts.channels,
        )
        if same and (reader.is_like(facts.codec) or reader.facts.codec in _ALIKE):
            return reader
        reader.close()
        return None

    def _by_program(self) -> Iterator[NDArray[np.float32]]:
        channels = self.facts.channels
        command = [
            "ffmpeg",
            "-nostdin",
            "-v",
            "error",
            "-i",
            f"file:{self._path}",
            "-map",
            f"0:a:{self.facts.track}",
        ]
        command += ["-ar", str(self.facts.sample_rate), "-ac", str(channels), "-f", "f32le", "-"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            pipe = process.stdout
            try:
                while pipe is not None and (raw := pipe.read(4 * channels * _BLOCK)):
                    whole = len(raw) // (4 * channels) * channels
                    yield np.ascontiguousarray(
                        np.frombuffer(raw, "<f4", whole).reshape(-1, channels).T, np.float32
                    )
            finally:
                process.kill()

    def _by_library(self) -> Iterator[NDArray[np.float32]]:
        packed, channels = AudioResampler(format="flt"), self.facts.channels
        try:
            with av.open(self._path, metadata_errors="replace") as container:
                track = container.streams.audio[self.facts.track]
                layout_of(track.codec_context)
                for frame in container.decode(track):
                    for flat in packed.resample(frame):
                        plane: Any = flat.planes[0]
                        values = np.frombuffer(plane, np.float32, flat.samples * channels)
                        yield np.ascontiguousarray(values.reshape(-1, channels).T)
        except (FFmpegError, OSError, ValueError) as error:
            raise RecordingError(FailureKind.DAMAGED, f"{self._name}: {error}", "decode") from error
