"""`.ecdc` files beside those of the original tool: byte for byte, both ways.

    python -m benchmarks.ecdc FOLDER --original ENVIRONMENT/bin/python > benchmarks/results/ecdc.md

Checkpoints of the published shapes are written with seeded weights, which the original's classes
are given too (`benchmarks/ecdc_original.py`). Excerpts of recordings, at the rates and channels
that they have, go through both tools, from samples to bytes and back.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from benchmarks.machine import machine
from pipelines.system.words import many
from tokenizer import Codec, Codes, load_codec, read_audio
from tokenizer.codecs.encodec.seeded import write_seeded
from tokenizer.ecdc.audio import converted
from tokenizer.ecdc.files import read_ecdc, write_ecdc
from tokenizer.ecdc.language_model import LanguageModel, load_language_model
from tokenizer.ecdc.models import MODELS, Model
from tokenizer.errors import RecordingError

ORIGINAL = Path(__file__).with_name("ecdc_original.py")
BANDWIDTHS = {"encodec_24khz": (1.5, 3, 6, 12, 24), "encodec_48khz": (3, 6, 12, 24)}
TAILS = (1, 160, 161, 319, 320, 321, 480, 481, 6_720, 13_440)
"""samples behind the last stride, or in all of a model without chunks"""
CODED_SECONDS = 1.2
PAST_SECONDS = 3.5
"""that the language model sees: one excerpt is longer"""
AUDIO = (".wav", ".flac", ".mp3", ".ogg")


class Original:
    """The other tool, in its process."""

    def __init__(self, python: str, checkpoints: dict[str, Path], threads: int) -> None:
        given = [f"--checkpoint={name}={folder}" for name, folder in checkpoints.items()]
        given.append(f"--threads={threads}")
        self._process = subprocess.Popen(
            [python, ORIGINAL, "serve", *given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.version = self._answer()["version"]

    def __call__(self, do: str, **job: Any) -> str | None:
        """Do a job; what went wrong, or None."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **job}) + "\n")
        self._process.stdin.flush()
        return self._answer().get("error")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


@contextmanager
def original(python: str, checkpoints: dict[str, Path], threads: int) -> Iterator[Original]:
    process = Original(python, checkpoints, threads)
    try:
        yield process
    finally:
        process.close()


@dataclass
class Row:
    """Files of one model at one bandwidth."""

    model: str
    bandwidth: float
    files: int = 0
    equal: int = 0
    samples: int = 0
    bytes: int = 0
    codes: int = 0
    read: int = 0
    """of theirs, by us, with our codes in them"""
    largest: float = 0.0
    """difference of decoded samples"""
    failed: Counter[str] = field(default_factory=Counter)
    """what the original raised when it decoded"""
    seconds: float = 0.0
    theirs: float = 0.0

    def cells(self) -> list[str]:
        failed = "; ".join(f"{count} x {what}" for what, count in self.failed.items()) or "none"
        return [
            self.model,
            f"{self.bandwidth:g}",
            f"{self.files}",
            f"{self.equal}",
            f"{self.read}",
            f"{self.bytes:,}",
            f"{self.codes:,}",
            f"{self.largest:.1e}",
            failed,
        ]


HEAD = (
    "| model | kbps | files | byte-equal | read by us | bytes | codes | decoded differ by | the "
    "original cannot decode |\n|---|---|---|---|---|---|---|---|---|"
)


class Comparison:
    """One model at one bandwidth, with or without a language model."""

    def __init__(
        self, there: Original, model: Model, codec: Codec, lm: LanguageModel | None, folder: Path
    ) -> None:
        self._there, self._model, self._codec, self._lm = there, model, codec, lm
        self._theirs, self._decoded = folder / "theirs.ecdc", folder / "theirs.npy"
        self.row = Row(model.name, codec.spec.bandwidth)

    def add(self, wav: Path, decode: bool) -> None:
        row, start = self.row, time.perf_counter()
        error = self._there(
            "encode",
            model=self._model.name,
            wav=str(wav),
            bandwidth=self._codec.spec.bandwidth,
            lm=self._lm is not None,
            out=str(self._theirs),
        )
        assert error is None, f"{wav}: {error}"
        row.theirs += time.perf_counter() - start
        start = time.perf_counter()
        codes = self._encoded(wav)
        ours = b"".join(write_ecdc(codes, self._model, self._lm))
        row.seconds += time.perf_counter() - start
        row.files += 1
        row.equal += ours == self._theirs.read_bytes()
        row.bytes += len(ours)
        row.codes += codes.codes.size
        row.samples += codes.num_samples
        lent = self._lm
        found = read_ecdc(self._theirs, None if lent is None else lambda _: lent).codes
        row.read += found == codes
        if decode:
            self._decode(found)

    def _encoded(self, wav: Path) -> Codes:
        stream = self._codec.stream()
        blocks = converted(wav, self._model.sample_rate, self._model.channels)
        return Codes.join([*(stream.push(block) for block in blocks), stream.finish()])

    def _decode(self, codes: Codes) -> None:
        error = self._there("decode", file=str(self._theirs), out=str(self._decoded))
        foreseen = self._model.original_fails(codes.num_samples)
        assert (error is not None) == (foreseen is not None), (codes.num_samples, error, foreseen)
        ours = self._codec.decode(codes).samples
        assert ours.shape[1] == codes.num_samples
        if error is not None:
            self.row.failed[error.split(":")[0]] += 1
            return
        theirs = np.load(self._decoded)
        assert theirs.shape == ours.shape
        self.row.largest = max(self.row.largest, float(np.abs(theirs - ours).max()))


def excerpts(folder: Path, count: int, seconds: float, to: Path) -> list[Path]:
    """Beginnings of recordings, drawn by a hash of their names, as WAV at their own rates."""
    files = sorted(
        (path for path in folder.rglob("*") if path.suffix in AUDIO and "nasty" not in path.parts),
        key=lambda path: hashlib.sha256(str(path.relative_to(folder)).encode()).hexdigest(),
    )
    found: list[Path] = []
    for path in files:
        if len(found) == count:
            break
        length = seconds * (4 if len(found) % 10 == 9 else 1)
        try:
            waveform = read_audio(path)
        except RecordingError:
            continue
        if waveform.channels > 2:
            continue
        samples = waveform.samples[:, : int(length * waveform.sample_rate) - 37 * len(found)]
        target = to / f"{len(found):03d}.wav"
        soundfile.write(target, samples.T, waveform.sample_rate, subtype="FLOAT")
        found.append(target)
    return found


def odd_lengths(model: Model, to: Path) -> list[Path]:
    """Noise of the lengths in `TAILS`, alone and behind one stride and two."""
    found = []
    draw = np.random.default_rng(0)
    stride = model.layout.chunk_stride or 0
    for tail in TAILS:
        for before in (0, stride, 2 * stride) if stride else (0, 49_600 - tail):
            samples = 0.1 * draw.standard_normal((before + tail, model.channels))
            target = to / f"{model.name}-{before + tail}.wav"
            soundfile.write(target, samples.astype(np.float32), model.sample_rate, subtype="FLOAT")
            found.append(target)
    return list(dict.fromkeys(found))


def coder_of(python: str, model: Model, folder: Path) -> Path:
    file = folder / f"{model.name}.th"
    subprocess.run([python, ORIGINAL, "coder", model.name, file], check=True)
    return file


def compared(
    there: Original, model: Model, checkpoint: Path, folder: Path, wavs: list[Path]
) -> Iterator[Row]:
    for number, bandwidth in enumerate(BANDWIDTHS[model.name]):
        codec = load_codec(str(checkpoint), bandwidth=bandwidth, device="cpu")
        comparison = Comparison(there, model, codec, None, folder)
        for place, wav in enumerate(wavs):
            comparison.add(wav, decode=place % len(BANDWIDTHS[model.name]) == number)
        yield comparison.row


def report(options: argparse.Namespace, folder: Path) -> None:
    python, start = options.original, time.perf_counter()
    checkpoints = {
        name: write_seeded(folder / name, model=name.removeprefix("encodec_")) for name in MODELS
    }
    wavs = excerpts(options.folder, options.recordings, options.seconds, folder)
    rates = Counter(soundfile.info(wav).samplerate for wav in wavs)
    with original(python, checkpoints, options.threads) as there:
        print("# `.ecdc` files beside the original tool's\n")
        print("    python -m benchmarks.ecdc FOLDER --original ENVIRONMENT/bin/python\n")
        print(
            f"{machine()}; torch {torch.__version__}, {many(options.threads, 'thread')}; "
            f"encodec {there.version}; seeded "
            "weights of the published shapes.\n"
        )
        print(
            f"## {len(wavs)} recordings\n\nExcerpts of up to {options.seconds:g} s, every tenth "
            f"{4 * options.seconds:g} s, at their own rates: "
            + ", ".join(f"{count} at {rate:,} Hz" for rate, count in sorted(rates.items()))
            + ". Each is decoded by both at one of the bandwidths.\n"
        )
        print(HEAD)
        for name, model in MODELS.items():
            for row in compared(there, model, checkpoints[name], folder, wavs):
                show(row)
        print("\n## Odd lengths\n")
        print(
            f"Noise of {', '.join(f'{tail:,}' for tail in TAILS)} samples; behind one and two "
            "strides of 47,520 samples; and 49,600 samples at 24 kHz.\n"
        )
        print(HEAD)
        for name, model in MODELS.items():
            codec = load_codec(str(checkpoints[name]), bandwidth=6, device="cpu")
            comparison = Comparison(there, model, codec, None, folder)
            for wav in odd_lengths(model, folder):
                comparison.add(wav, decode=True)
            show(comparison.row)
        with_language_model(there, options, checkpoints, folder, wavs)
    print(f"\n{time.perf_counter() - start:.0f} s in all.")


def with_language_model(
    there: Original,
    options: argparse.Namespace,
    checkpoints: dict[str, Path],
    folder: Path,
    wavs: list[Path],
) -> None:
    print("\n## With a language model\n")
    print(
        "Weights of the original's class and size, seeded and not trained, so that files grow: "
        f"what is tested is arithmetic. Excerpts of up to {CODED_SECONDS:g} s, and at 1.5 "
        f"kbps one of {PAST_SECONDS + 0.7:g} s; both decode all.\n"
    )
    print(HEAD)
    speeds = []
    for name, model in MODELS.items():
        file = coder_of(options.original, model, folder)
        assert there("coder", name=name, file=str(file)) is None
        coder = load_language_model(file, model)
        for bandwidth in BANDWIDTHS[name]:
            codec = load_codec(str(checkpoints[name]), bandwidth=bandwidth, device="cpu")
            comparison = Comparison(there, model, codec, coder, folder)
            for wav in wavs[: options.coded]:
                comparison.add(shortened(wav, CODED_SECONDS), decode=True)
            if (name, bandwidth) == ("encodec_24khz", 1.5):
                comparison.add(shortened(wavs[-1], PAST_SECONDS + 0.7), decode=True)
            show(comparison.row)
            row = comparison.row
            length = row.samples / model.sample_rate
            speeds.append(
                f"| {name} | {bandwidth:g} | {length / row.seconds:.2f} | "
                f"{length / row.theirs:.2f} |"
            )
    print("\nEncoding with it, times real time, ours and theirs in turns:\n")
    print("| model | kbps | ours | theirs |\n|---|---|---|---|")
    print("\n".join(speeds))


def shortened(wav: Path, seconds: float) -> Path:
    """Its beginning, and then it again where it is shorter."""
    samples, rate = soundfile.read(wav, dtype="float32", always_2d=True)
    wanted = int(seconds * rate)
    longer = seconds > CODED_SECONDS
    samples = np.resize(samples, (wanted, samples.shape[1])) if longer else samples[:wanted]
    target = wav.with_name("short.wav")
    soundfile.write(target, samples, rate, subtype="FLOAT")
    return target


def show(row: Row) -> None:
    print("| " + " | ".join(row.cells()) + " |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--original", required=True, metavar="PYTHON")
    parser.add_argument("--recordings", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--coded", type=int, default=3, help="recordings with a language model")
    parser.add_argument("--threads", type=int, default=1, help="of torch, in both tools")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        report(options, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
