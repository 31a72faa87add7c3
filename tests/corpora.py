"""Folders of generated recordings that several test modules tokenize."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from sounds import sound

Maker = Callable[..., Path]


def write_corpus(folder: Path, count: int, broken: bool = True, longest: int = 130_000) -> Path:
    """`count` recordings of many lengths and rates, some with transcripts; one is cut off if
    `broken`."""
    rng = np.random.default_rng(count)
    (folder / "a").mkdir(parents=True)
    for number in range(count):
        rate = (48_000, 44_100, 16_000)[number % 3]
        samples = sound(int(rng.integers(1, longest)), 1 + number % 2, rate, seed=number).samples
        path = folder / ("a" if number % 2 else ".") / f"{number:03d}.{('wav', 'flac')[number % 2]}"
        soundfile.write(path, samples.T, rate)
        if number % 4 == 0:
            path.with_suffix(".txt").write_text(f"recording {number}\n")
    if broken:
        whole = folder / "broken.wav"
        soundfile.write(whole, sound(50_000).samples.T, 48_000)
        whole.write_bytes(whole.read_bytes()[:90_000])
    return folder
