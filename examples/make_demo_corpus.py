"""A small varied corpus, synthesised: `python examples/make_demo_corpus.py FOLDER`.

Music-like, speech-like and noisy recordings in the formats and rates that people really have, some
with transcripts, two of them broken on purpose. The same arguments write the same sounds.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import soundfile

Samples = np.ndarray
"""float64 `[samples, channels]`"""
WORDS = ["one", "two", "three", "four", "five"]
VOWELS = {
    "one": (570, 840),
    "two": (300, 870),
    "three": (270, 2290),
    "four": (590, 880),
    "five": (730, 1090),
}
"""first two formants, Hz, of a vowel in each word"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--seconds",
        type=float,
        default=12.0,
        help="length of the longest recordings (default: %(default)s)",
    )
    options = parser.parse_args()
    rng = np.random.default_rng(7)
    write_music(options.folder / "music", options.seconds, rng)
    write_speech(options.folder / "speech", rng)
    write_broken(options.folder / "broken", rng)
    files = sum(1 for path in options.folder.rglob("*") if path.is_file())
    print(f"{options.folder}: {files} files")
    return 0


def write_music(folder: Path, seconds: float, rng: np.random.Generator) -> None:
    """The same three pieces in the formats of music collections, one of them mono, one at 96
    kHz."""
    folder.mkdir(parents=True, exist_ok=True)
    formats = [
        ("chords.wav", 44_100, 2),
        ("strings.flac", 48_000, 2),
        ("bells.mp3", 44_100, 2),
        ("drone.ogg", 32_000, 1),
    ]
    for number, (name, rate, channels) in enumerate(formats):
        soundfile.write(folder / name, music(seconds, rate, channels, number, rng), rate)
    soundfile.write(
        folder / "hi-res.flac", music(seconds / 2, 96_000, 2, 5, rng), 96_000, subtype="PCM_24"
    )
    (folder / "chords.json").write_text(
        json.dumps({"text": "a slow piece of chords", "composer": "a script", "bpm": 90})
    )
    soundfile.write(folder / "silence.wav", np.zeros((rate * 2, 2)), rate)


def write_speech(folder: Path, rng: np.random.Generator) -> None:
    """Short mono recordings with transcripts, at 8 and 16 kHz."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(24):
        rate = 16_000 if number % 2 else 8_000
        words = [WORDS[i] for i in rng.integers(0, len(WORDS), 1 + number % 4)]
        soundfile.write(folder / f"{number:03d}.wav", speech(words, rate, rng), rate)
        (folder / f"{number:03d}.txt").write_text(" ".join(words) + "\n")


def write_broken(folder: Path, rng: np.random.Generator) -> None:
    """A recording that was cut off, and a web page that calls itself one."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / "cut-off.wav"
    soundfile.write(whole, music(4.0, 44_100, 2, 1, rng), 44_100)
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) // 2])
    (folder / "not-found.mp3").write_text("<html><body><h1>404 Not Found</h1></body></html>\n" * 20)


def music(
    seconds: float, rate: int, channels: int, piece: int, rng: np.random.Generator
) -> Samples:
    """A few bars of chords with decaying notes, panned."""
    count = int(seconds * rate)
    out = np.zeros((count, channels))
    scale = 110.0 * 2 ** (np.array([0, 2, 3, 5, 7, 8, 10, 12]) / 12 + piece / 6)
    at = 0.0
    while at < seconds:
        length = float(rng.choice([0.33, 0.66, 1.32]))
        for pitch in rng.choice(scale, 3, replace=False):
            add_note(out, rate, at, min(length * 2, seconds - at), float(pitch), rng)
        at += length
    return 0.5 * out / max(1e-9, np.abs(out).max())


def add_note(
    out: Samples, rate: int, start: float, length: float, pitch: float, rng: np.random.Generator
) -> None:
    """One note with falling harmonics, added in place."""
    first = int(start * rate)
    time = np.arange(min(int(length * rate), len(out) - first)) / rate
    partials = sum(
        np.sin(2 * np.pi * pitch * k * time + rng.uniform(0, 6)) / k**1.5 for k in range(1, 8)
    )
    note = partials * np.exp(-2.5 * time) * np.minimum(1.0, time / 0.01)
    pan = rng.uniform(0.3, 0.7)
    gains = [pan, 1 - pan] if out.shape[1] == 2 else [1.0]
    out[first : first + len(time)] += note[:, None] * np.array(gains)


def speech(words: list[str], rate: int, rng: np.random.Generator) -> Samples:
    """Words as a buzz through two formants, with breath between them: nothing that anyone said."""
    parts = []
    for word in words:
        time = np.arange(int(0.35 * rate)) / rate
        pitch = rng.uniform(95, 210) * (1 - 0.2 * time)
        phase = 2 * np.pi * np.cumsum(pitch) / rate
        formants = VOWELS[word]
        harmonics = range(1, int(0.45 * rate / pitch.max()))
        voiced = sum(
            np.sin(k * phase)
            * sum(np.exp(-(((k * pitch.mean() - f) / 120) ** 2)) for f in formants)
            for k in harmonics
        )
        parts += [voiced * np.sin(np.pi * time / time[-1]), np.zeros(int(0.08 * rate))]
    out = np.concatenate(parts)
    out = 0.4 * out / max(1e-9, np.abs(out).max()) + 0.002 * rng.standard_normal(len(out))
    return out[:, None]


if __name__ == "__main__":
    sys.exit(main())
