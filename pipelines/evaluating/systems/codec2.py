"""Codec2 by the ffmpeg of this machine, where it has libcodec2: 8 kHz, one channel, speech."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pipelines.evaluating.systems.base import TOLERANCE, NotReached, Passed, System
from pipelines.evaluating.wrapping import programs
from pipelines.evaluating.wrapping.shaping import cpu_seconds, fitted, moved, restored, shaped
from tokenizer.types import Waveform

RATE = 8_000
_MODES = {"3200": 3.2, "2400": 2.4, "1600": 1.6, "1400": 1.4, "1300": 1.4, "1200": 1.2, "700C": 0.8}
"""and the kbps of their whole bytes a frame"""
_DELAY, _DELAY_700C = 160, 280
"""samples by which the envelope of what comes back is late. It keeps no waveform, so that nothing
more exact can be said"""
_HEADER = 7
"""bytes of a .c2 file before its frames"""


class Codec2(System):
    name = "codec2"

    def __init__(self) -> None:
        """
        Raises:
            UsageError: there is no ffmpeg with libcodec2.
        """
        self.words = f"libcodec2, {programs.require_ffmpeg(self.name, 'libcodec2')}"

    def through(self, sound: Waveform, kbps: float) -> Passed:
        mode = min(_MODES, key=lambda name: abs(_MODES[name] - kbps))
        if abs(_MODES[mode] / kbps - 1) > TOLERANCE:
            has = sorted(set(_MODES.values()))
            raise NotReached(f"Codec2 has {', '.join(map(str, has))} kbps")
        delay = _DELAY_700C if mode == "700C" else _DELAY
        given = shaped(sound.samples, sound.sample_rate, RATE, 1)
        with tempfile.TemporaryDirectory(prefix="codecshards-") as folder:
            source, file, back = (Path(folder) / name for name in ("in.wav", "coded.c2", "out.wav"))
            programs.write_wav(source, fitted(given, given.shape[1] + delay), RATE)
            quiet = ("ffmpeg", "-v", "error", "-y", "-i")
            began = cpu_seconds()
            programs.run([*quiet, source, "-c:a", "libcodec2", "-mode", mode, file])
            encoded = cpu_seconds()
            programs.run([*quiet, file, "-c:a", "pcm_f32le", back])
            ended = cpu_seconds()
            samples, _ = programs.read_wav(back)
            bits = 8 * (file.stat().st_size - _HEADER)
        exact = moved(fitted(samples, given.shape[1] + delay), delay)[:, : given.shape[1]]
        return Passed(
            samples=restored(exact, RATE, sound),
            bits=bits,
            encode_seconds=encoded - began,
            decode_seconds=ended - encoded,
            setting=f"mode {mode}",
        )
