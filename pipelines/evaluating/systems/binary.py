"""Codecs of which someone has the programs, `--against NAME=PATH`:

lyra=FOLDER    Lyra v2, as its repository builds it: encoder_main, decoder_main, model_coeffs/
evs=FOLDER     3GPP's EVS (TS 26.443): EVS_cod, EVS_dec
NAME=PROGRAM   any other: `PROGRAM encode KBPS IN.wav OUT` and `PROGRAM decode KBPS IN OUT.wav`;
               16-bit WAV at the rate of the excerpt, and bits are counted by the file's size
"""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.evaluating.systems.base import TOLERANCE, NotReached, Passed, System
from pipelines.evaluating.wrapping import programs
from pipelines.evaluating.wrapping.shaping import (
    Samples,
    aligned,
    cpu_seconds,
    restored,
    shaped,
)
from tokenizer.errors import UsageError
from tokenizer.types import Waveform

_MOST_LAG = 0.1
"""seconds that may be looked for: nobody says how late a program is"""


@dataclass(frozen=True, slots=True)
class _Files:
    """Where one excerpt passes through."""

    folder: Path

    @property
    def wav(self) -> Path:
        return self.folder / "in.wav"

    @property
    def coded(self) -> Path:
        return self.folder / "coded"

    @property
    def back(self) -> Path:
        return self.folder / "out.wav"


class Program(System):
    """Whatever follows the convention of `PROGRAM encode …`."""

    rates: tuple[float, ...] = ()
    """kbps that it has; none is any"""

    def __init__(self, name: str, path: str) -> None:
        """
        Raises:
            UsageError: there are no such programs.
        """
        self.name, self.path = name, Path(path).expanduser().resolve()
        self.words = f"{name} of {self.path}"
        for program in self.needed():
            if not program.is_file():
                raise UsageError(f"--against {name}={path}: there is no {program}")

    def needed(self) -> tuple[Path, ...]:
        """Files that must be there."""
        return (self.path,)

    def form(self, sound: Waveform) -> tuple[int, int]:
        """The sample rate and the channels that it is given."""
        return sound.sample_rate, sound.channels

    def encode(self, files: _Files, kbps: float, rate: int) -> int:
        """Encode `files.wav`; the bits of it."""
        programs.run([self.path, "encode", f"{kbps:g}", files.wav, files.coded])
        if not files.coded.is_file():
            raise NotReached(f"{self.name} has written no {files.coded.name}")
        return 8 * files.coded.stat().st_size

    def decode(self, files: _Files, kbps: float, rate: int) -> tuple[Samples, int]:
        """The samples that come back, and their rate."""
        programs.run([self.path, "decode", f"{kbps:g}", files.coded, files.back])
        return programs.read_wav(files.back)

    def through(self, sound: Waveform, kbps: float) -> Passed:
        own = self._own(kbps)
        rate, channels = self.form(sound)
        with tempfile.TemporaryDirectory(prefix="codecshards-") as folder:
            files = _Files(Path(folder))
            given = shaped(sound.samples, sound.sample_rate, rate, channels)
            programs.write_wav(files.wav, given, rate)
            began = cpu_seconds()
            bits = self.encode(files, own, rate)
            encoded = cpu_seconds()
            samples, back_rate = self.decode(files, own, rate)
            ended = cpu_seconds()
        measured = bits / sound.seconds / 1000
        if abs(measured / kbps - 1) > TOLERANCE:
            raise NotReached(f"{self.name} comes to {measured:.1f} kbps at the nearest")
        back = restored(samples, back_rate, sound)
        return Passed(
            samples=aligned(back, sound.samples, round(_MOST_LAG * sound.sample_rate)),
            bits=bits,
            encode_seconds=encoded - began,
            decode_seconds=ended - encoded,
            setting=f"{own:g} kbps, {rate} Hz, {channels} ch",
        )

    def _own(self, kbps: float) -> float:
        if not self.rates:
            return kbps
        nearest = min(self.rates, key=lambda rate: abs(rate - kbps))
        if abs(nearest / kbps - 1) > TOLERANCE:
            raise NotReached(f"{self.name} has {', '.join(f'{r:g}' for r in self.rates)} kbps")
        return nearest


class _Folder(Program):
    """Two programs in a folder; the path of one of them names it too."""

    @property
    def folder(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent

    @abstractmethod
    def needed(self) -> tuple[Path, ...]: ...


class Lyra(_Folder):
    """Lyra v2: 16 kHz is what its network hears, whatever it is given."""

    rates = (3.2, 6.0, 9.2)

    def needed(self) -> tuple[Path, ...]:
        return self.folder / "encoder_main", self.folder / "decoder_main"

    def form(self, sound: Waveform) -> tuple[int, int]:
        return 16_000, 1

    def encode(self, files: _Files, kbps: float, rate: int) -> int:
        encoder = self.needed()[0]
        given = [f"--input_path={files.wav}", f"--output_dir={files.folder}"]
        programs.run([encoder, *given, *self._more(kbps)], cwd=self.folder)
        coded = files.folder / "in.lyra"
        if not coded.is_file():
            raise NotReached(f"{encoder.name} has written no {coded.name}")
        return 8 * coded.stat().st_size

    def decode(self, files: _Files, kbps: float, rate: int) -> tuple[Samples, int]:
        given = [f"--encoded_path={files.folder / 'in.lyra'}", f"--output_dir={files.folder}"]
        programs.run(
            [self.needed()[1], *given, f"--sample_rate_hz={rate}", *self._more(kbps)],
            cwd=self.folder,
        )
        return programs.read_wav(files.folder / "in_decoded.wav")

    def _more(self, kbps: float) -> list[str]:
        model = self.folder / "model_coeffs"
        return [f"--bitrate={kbps * 1000:.0f}"] + (
            [f"--model_path={model}"] if model.is_dir() else []
        )


class Evs(_Folder):
    """EVS at 48 kHz, one channel; its decoder takes the delay out itself."""

    rates = (7.2, 8.0, 9.6, 13.2, 16.4, 24.4, 32.0, 48.0, 64.0, 96.0, 128.0)

    def needed(self) -> tuple[Path, ...]:
        return self.folder / "EVS_cod", self.folder / "EVS_dec"

    def form(self, sound: Waveform) -> tuple[int, int]:
        return 48_000, 1

    def encode(self, files: _Files, kbps: float, rate: int) -> int:
        raw = files.folder / "in.pcm"
        samples, _ = programs.read_wav(files.wav)
        np.clip(np.round(samples[0] * 32768), -32768, 32767).astype("<i2").tofile(raw)
        bits, khz = f"{kbps * 1000:.0f}", f"{rate // 1000}"
        programs.run([self.needed()[0], bits, khz, raw, files.coded])
        return g192_bits(files.coded.read_bytes())

    def decode(self, files: _Files, kbps: float, rate: int) -> tuple[Samples, int]:
        raw = files.folder / "out.pcm"
        programs.run([self.needed()[1], f"{rate // 1000}", files.coded, raw])
        return np.fromfile(raw, "<i2").astype(np.float32)[None] / np.float32(32768), rate


def g192_bits(file: bytes) -> int:
    """Bits in a file of ITU-T G.192: for each frame a word of synchronisation, the number of its
    bits, and a word for each of them.

    Raises:
        NotReached: another kind of file.
    """
    words = np.frombuffer(file[: len(file) // 2 * 2], "<u2")
    bits = at = 0
    while at + 1 < len(words):
        if words[at] not in (0x6B21, 0x6B20):
            raise NotReached("EVS_cod has written no file of G.192")
        bits += int(words[at + 1])
        at += 2 + int(words[at + 1])
    return bits


KINDS: dict[str, type[Program]] = {"lyra": Lyra, "evs": Evs}
"""by name; every other name is a `Program`"""


def open_program(name: str, path: str) -> Program:
    """The system of `--against NAME=PATH`.

    Raises:
        UsageError: there are no such programs.
    """
    return KINDS.get(name.lower(), Program)(name, path)
