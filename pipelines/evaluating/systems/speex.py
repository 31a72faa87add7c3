"""Speex by the ffmpeg of this machine, where it has libspeex: VBR, for speech."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipelines.evaluating.systems.base import NotReached, Passed, System
from pipelines.evaluating.wrapping import programs
from pipelines.evaluating.wrapping.search import Search, reached
from pipelines.evaluating.wrapping.shaping import (
    Samples,
    aligned,
    cpu_seconds,
    fitted,
    moved,
    restored,
    shaped,
)
from tokenizer.types import Waveform

_RATES = ((7.0, 8_000), (20.0, 16_000))
"""kbps below which it works at that rate"""
_DELAY = {8_000: 120, 16_000: 303, 32_000: 669}
"""samples by which what comes back is late, and which ffmpeg leaves in: the look-ahead of encoder
and decoder in libspeex, `SPEEX_GET_LOOKAHEAD`"""
_MOST_LAG = 0.005


@dataclass(frozen=True, slots=True)
class _Made:
    bits: int
    encode_seconds: float
    samples: Samples
    decode_seconds: float


class Speex(System):
    name = "speex"

    def __init__(self) -> None:
        """
        Raises:
            UsageError: there is no ffmpeg with libspeex.
        """
        self.words = f"libspeex, VBR, {programs.require_ffmpeg(self.name, 'libspeex')}"

    def through(self, sound: Waveform, kbps: float) -> Passed:
        rate = next((rate for most, rate in _RATES if kbps < most), 32_000)
        given = shaped(sound.samples, sound.sample_rate, rate, sound.channels)
        with tempfile.TemporaryDirectory(prefix="codecshards-") as folder:
            search = Search(
                lambda quality: _coded(Path(folder), given, rate, quality),
                lambda made: made.bits,
                (0.0, 10.0),
                whole=False,
            )
            try:
                quality, made = search.find(kbps * 1000 * sound.seconds, 4.0)
            except NotReached as error:
                raise reached("Speex", kbps, error) from None
        exact = moved(fitted(made.samples, given.shape[1] + _DELAY[rate]), _DELAY[rate])
        back = restored(exact[:, : given.shape[1]], rate, sound)
        return Passed(
            samples=aligned(back, sound.samples, round(_MOST_LAG * sound.sample_rate)),
            bits=made.bits,
            encode_seconds=made.encode_seconds,
            decode_seconds=made.decode_seconds,
            setting=f"quality {quality:g}, {rate} Hz",
        )


def _coded(folder: Path, given: Samples, rate: int, quality: float) -> _Made:
    source, file, back = folder / "in.wav", folder / "coded.spx", folder / "out.wav"
    # Its delay at the end is sound too.
    programs.write_wav(source, fitted(given, given.shape[1] + _DELAY[rate]), rate)
    quiet = ("ffmpeg", "-v", "error", "-y", "-i")
    began = cpu_seconds()
    programs.run([*quiet, source, "-c:a", "libspeex", "-q:a", f"{quality}", file])
    encoded = cpu_seconds()
    programs.run([*quiet, file, "-c:a", "pcm_f32le", back])
    decoded = cpu_seconds()
    samples, _ = programs.read_wav(back)
    return _Made(programs.packet_bits(file), encoded - began, samples, decoded - encoded)
