"""Programs of this machine that code sound from file to file."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from pipelines.evaluating.systems.base import NotReached
from pipelines.evaluating.wrapping.shaping import Samples
from tokenizer.errors import UsageError

_TIMEOUT = 600.0


def run(command: Sequence[str | Path], cwd: Path | None = None) -> str:
    """Its standard output.

    Raises:
        NotReached: it fails on this sound, or does not end.
        UsageError: it cannot be started.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, cwd=cwd, capture_output=True, timeout=_TIMEOUT, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise NotReached(f"{words[0]} has not ended within {_TIMEOUT:g} s") from error
    except OSError as error:
        raise UsageError(f"{words[0]}: cannot be started ({error.strerror})") from error
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        said = f": {lines[-1][:200]}" if lines else ""
        raise NotReached(f"{Path(words[0]).name} ended with exit code {done.returncode}{said}")
    return done.stdout.decode(errors="replace")


def write_wav(path: Path, samples: Samples, rate: int) -> None:
    """16 bits, as such programs take it."""
    soundfile.write(path, np.clip(samples.T, -1.0, 1.0), rate, format="WAV", subtype="PCM_16")


def read_wav(path: Path) -> tuple[Samples, int]:
    """Float32 `[channels, n]` and its rate.

    Raises:
        NotReached: the program has written none.
    """
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise NotReached(f"{path.name}: no sound was written ({error})") from error
    return np.ascontiguousarray(samples.T), int(rate)


def require_ffmpeg(system: str, encoder: str) -> str:
    """The first line of what `ffmpeg -version` says.

    Raises:
        UsageError: there is no such program, or it was built without that encoder.
    """
    if shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None:
        raise UsageError(f"--against {system}: needs the programs ffmpeg and ffprobe")
    if f" {encoder} " not in run(["ffmpeg", "-hide_banner", "-encoders"]):
        raise UsageError(f"--against {system}: this machine's ffmpeg was built without {encoder}")
    return run(["ffmpeg", "-version"]).splitlines()[0].split(" Copyright")[0]


def packet_bits(path: Path) -> int:
    """Of the packets of a file, as ffprobe counts them."""
    said = run(["ffprobe", "-v", "error", "-show_entries", "packet=size", "-of", "csv=p=0", path])
    return 8 * sum(int(line.strip(",")) for line in said.split() if line.strip(","))
