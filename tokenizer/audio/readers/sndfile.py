"""Decoding with soundfile (libsndfile): what PyAV cannot open, and exact seeking in files that
count samples."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from tokenizer.audio.readers.base import AudioFile, SourceFacts, check_facts, usual_layout
from tokenizer.audio.timeline import Gap
from tokenizer.errors import FailureKind, RecordingError

MAGIC = {
    b"RIFF",
    b"RIFX",
    b"RF64",
    b"FORM",
    b"fLaC",
    b"OggS",
    b"NIST",
    b"caff",
    b".snd",
    b"Crea",
    b"riff",
    b"PVF1",
    b" paf",
    b"fap ",
    *(bytes((0x64, 0xA3, kind, 0)) for kind in range(5)),
    *(bytes((0, kind, 0xA3, 0x64)) for kind in range(5)),
}
"""first bytes of what is worth trying, the last ones those of IRCAM's files; on anything else
libsndfile looks for MPEG audio and complains on stderr. Formats that FFmpeg does not open and whose
header counts samples are none of them: libsndfile says nothing of an end that is missing"""
SEEKABLE = {"WAV", "WAVEX", "FLAC", "AIFF", "W64", "AU", "CAF", "RF64"}
"""formats in which `seek` is exact to the sample, for samples in `EXACT`"""
EXACT = {
    "PCM_S8": "pcm_s8",
    "PCM_U8": "pcm_u8",
    "PCM_16": "pcm_s16",
    "PCM_24": "pcm_s24",
    "PCM_32": "pcm_s32",
    "FLOAT": "pcm_f32",
}
"""encodings of which libsndfile makes the floats that FFmpeg makes, from any sample on, and how
FFmpeg's decoders of them begin: ADPCM depends on what came before"""
_BLOCK = 65_536


class SoundFileReader:
    """One file, open."""

    def __init__(self, file: AudioFile, name: str, start: int = 0) -> None:
        """Open a file at sample `start` (only for formats in `SEEKABLE`).

        Raises:
            RecordingError: it is nothing that libsndfile knows (NOT_AUDIO), or a header that cannot
                be (BAD_HEADER).
        """
        self._name = name
        self.gaps: list[Gap] = []
        self.alone = False
        """whether FFmpeg misreads it, so that there is no second way"""
        try:
            self._file: Any = soundfile.SoundFile(file)
        except (soundfile.LibsndfileError, OSError, ValueError, TypeError) as error:
            reason = str(error).rsplit(": ", 1)[-1].rstrip(".")
            kind = FailureKind.BAD_HEADER if "hannel count" in reason else FailureKind.NOT_AUDIO
            raise RecordingError(kind, f"{name}: {reason}", "open") from error
        channels = self._file.channels
        check_facts(name, self._file.samplerate, channels)
        frames = self._file.frames
        self.facts = SourceFacts(
            decoder="soundfile",
            container=self._file.format.lower(),
            codec=self._file.subtype.lower(),
            sample_rate=self._file.samplerate,
            layout=usual_layout(channels),
            declared=frames if 0 < frames < 1 << 60 else None,
            tolerance=0,
            trims=False,
        )
        if start:
            self.seek(start)

    def is_like(self, codec: str) -> bool:
        """Whether it can begin anywhere, with the samples that FFmpeg's decoder of this name would
        give. Of one file the two may think differently: libsndfile takes floats in Wave64, as
        FFmpeg writes them, for integers."""
        if self._file.format not in SEEKABLE or self._file.subtype not in EXACT:
            return False
        if self._file.format == "FLAC":
            return codec == "flac"
        return codec.startswith(EXACT[self._file.subtype])

    @property
    def frames(self) -> int:
        """Samples that are there."""
        return int(self._file.frames)

    def seek(self, start: int) -> None:
        """Go to a sample, or to the end of a shorter file.

        Raises:
            RecordingError: it cannot be reached (DAMAGED).
        """
        try:
            self._file.seek(min(start, self._file.frames))
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise RecordingError(
                FailureKind.DAMAGED, f"{self._name}: cannot seek to sample {start}", "decode"
            ) from error

    def close(self) -> None:
        self._file.close()

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Blocks float32 `[channels, n]`.

        Raises:
            RecordingError: samples that do not decode (DAMAGED).
        """
        while True:
            try:
                block = self._file.read(_BLOCK, dtype="float32", always_2d=True)
            except (soundfile.LibsndfileError, RuntimeError, struct.error) as error:
                raise RecordingError(
                    FailureKind.DAMAGED, f"{self._name}: {error}", "decode"
                ) from error
            if not len(block):
                return
            yield np.ascontiguousarray(block.T)
