"""Wrong bytes and cuts in sound files of every format: how many become rows that nothing marks?

    python benchmarks/fuzz_audio.py [--tries 60] [--seed 0]

Each try reads a copy of a sound file with 1 to 64 wrong bytes in a row, or without its end. The
outcome is one of: refused; marked (with --allow-damaged and --allow-truncated: a row that says what
is missing); unharmed (the samples of the sound file); silent (other samples, and nothing says so).
Where a format carries checksums, silent must be 0. Writes benchmarks/results/fuzz_audio.md.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path[:0] = [
    str(Path(__file__).resolve().parent),
    str(Path(__file__).resolve().parent.parent / "tests"),
]

from audio_files import by_ffmpeg, by_soundfile, noise, wav  # noqa: E402
from machine import machine  # noqa: E402

from tokenizer import RecordingError  # noqa: E402
from tokenizer.audio import stream_audio  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results" / "fuzz_audio.md"
SECONDS = 4.0
SOUND = noise(SECONDS)
MONO = noise(SECONDS, 1)

FORMATS: dict[str, tuple[Callable[[], bytes], bool]] = {
    "flac": (lambda: by_soundfile(SOUND, "FLAC", "PCM_16"), True),
    "flac, 24 bits": (lambda: by_soundfile(SOUND, "FLAC", "PCM_24"), True),
    "ogg vorbis": (lambda: by_soundfile(SOUND, "OGG", "VORBIS"), True),
    "ogg opus": (lambda: by_ffmpeg("ogg", ("libopus", SOUND)), True),
    "ogg opus, pages of 20 ms": (
        lambda: by_ffmpeg("ogg", ("libopus", SOUND), options={"page_duration": "20000"}),
        True,
    ),
    "chained vorbis": (
        lambda: (
            by_soundfile(SOUND, "OGG", "VORBIS") + by_soundfile(SOUND[:, :60_000], "OGG", "VORBIS")
        ),
        True,
    ),
    "wavpack": (lambda: by_ffmpeg("wv", ("wavpack", SOUND)), True),
    "tta": (lambda: by_ffmpeg("tta", ("tta", SOUND)), True),
    "ac3": (lambda: by_ffmpeg("ac3", ("ac3", SOUND)), True),
    "wav": (lambda: wav(SOUND), False),
    "wav, ima adpcm": (lambda: by_soundfile(SOUND, "WAV", "IMA_ADPCM"), False),
    "wav, ms adpcm": (lambda: by_soundfile(SOUND, "WAV", "MS_ADPCM"), False),
    "rf64": (lambda: by_soundfile(SOUND, "RF64", "PCM_16"), False),
    "w64": (lambda: by_soundfile(SOUND, "W64", "PCM_16"), False),
    "aiff": (lambda: by_soundfile(SOUND, "AIFF", "PCM_16"), False),
    "caf": (lambda: by_soundfile(SOUND, "CAF", "PCM_16"), False),
    "au": (lambda: by_soundfile(SOUND, "AU", "PCM_16"), False),
    "nist": (lambda: by_soundfile(SOUND, "NIST", "PCM_16"), False),
    "voc": (lambda: by_soundfile(SOUND, "VOC", "PCM_16"), False),
    "svx": (lambda: by_soundfile(MONO, "SVX", "PCM_16"), False),
    "mp3": (lambda: by_ffmpeg("mp3", ("libmp3lame", SOUND)), False),
    "mp3 without Xing": (
        lambda: by_ffmpeg("mp3", ("libmp3lame", SOUND), options={"write_xing": "0"}),
        False,
    ),
    "m4a": (lambda: by_ffmpeg("ipod", ("aac", SOUND), options={"movflags": "faststart"}), False),
    "alac": (lambda: by_ffmpeg("ipod", ("alac", SOUND), options={"movflags": "faststart"}), False),
    "aac": (lambda: by_ffmpeg("adts", ("aac", SOUND)), False),
    "wma": (lambda: by_ffmpeg("asf", ("wmav2", SOUND)), False),
    "webm opus": (lambda: by_ffmpeg("webm", ("libopus", SOUND)), False),
    "mka flac": (lambda: by_ffmpeg("matroska", ("flac", SOUND)), False),
}
"""how to make each, and whether all of its sound is under checksums"""
OUTCOMES = ("refused", "marked", "unharmed", "silent")


def read(content: bytes, keep: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    """Samples and flags."""
    stream = stream_audio(
        io.BytesIO(content), allow_damaged=keep, allow_truncated=keep, name="fuzzed"
    )
    blocks = list(stream)
    return np.concatenate(blocks, axis=1), stream.report.flags


def outcome(content: bytes, truth: np.ndarray) -> str:
    """Of one changed copy."""
    try:
        samples, _ = read(content, keep=False)
    except RecordingError:
        try:
            return (
                "marked"
                if {"damaged", "truncated"} & set(read(content, keep=True)[1])
                else "silent"
            )
        except RecordingError:
            return "refused"
    same = samples.shape == truth.shape and np.array_equal(samples, truth)
    return "unharmed" if same else "silent"


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    """With 1, 4, 16 or 64 wrong bytes in a row."""
    size = int(4 ** rng.integers(0, 4))
    at = int(rng.integers(0, len(content) - size))
    wrong = bytes(
        byte ^ int(mask)
        for byte, mask in zip(content[at : at + size], rng.integers(1, 256, size), strict=True)
    )
    return content[:at] + wrong + content[at + size :]


def cut(content: bytes, rng: np.random.Generator) -> bytes:
    """Without its end."""
    return content[: int(rng.integers(len(content) // 10, len(content) - 1))]


def fuzz(name: str, tries: int, seed: int) -> tuple[Counter[str], Counter[str]]:
    """Outcomes of wrong bytes, and of cuts."""
    content = FORMATS[name][0]()
    truth = read(content, keep=False)[0]
    found = []
    for change in (flipped, cut):
        rng = np.random.default_rng([seed, len(name)])
        found.append(Counter(outcome(change(content, rng), truth) for _ in range(tries)))
    return found[0], found[1]


def report(rows: list[tuple[str, Counter[str], Counter[str]]], tries: int, seed: int) -> str:
    """The results as Markdown."""
    head = " | ".join(OUTCOMES)
    lines = [
        "# Wrong bytes and cuts in sound files",
        "",
        f"`python benchmarks/fuzz_audio.py --tries {tries} --seed {seed}` on {machine()}: {tries} "
        "copies of a",
        f"{SECONDS:g} s file with 1, 4, 16 or 64 wrong bytes in a row, and {tries} without their "
        "end.",
        "",
        "- refused: a failure, however it is asked for",
        "- marked: a failure by default; with `--allow-damaged --allow-truncated` a row that says "
        "so",
        "- unharmed: the very samples of the sound file",
        "- silent: other samples, and nothing says so",
        "",
        f"| format | checksums | wrong bytes: {head} | cut: {head} |",
        "|---|---|" + "---|" * 2 * len(OUTCOMES),
    ]
    for name, flips, cuts in rows:
        counts = " | ".join(str(found[outcome]) for found in (flips, cuts) for outcome in OUTCOMES)
        lines.append(f"| {name} | {'yes' if FORMATS[name][1] else 'no'} | {counts} |")
    silent = sum(flips["silent"] + cuts["silent"] for name, flips, cuts in rows if FORMATS[name][1])
    lines += ["", f"Silent where all sound is under checksums: {silent}.", "", NOTES]
    return "\n".join(lines) + "\n"


NOTES = (
    "Without checksums nobody can tell a wrong sample of PCM from a right one, nor a wrong "
    "coefficient of MP3 or AAC that still\n"
    "decodes; what can be told (packets that do not decode, lengths, time stamps) is. A stream "
    "without a header (AAC in ADTS,\n"
    "AC-3, MP3 without Xing) says nowhere how long it was, so a cut between two packets leaves a "
    "whole,\nshorter stream."
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tries", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="formats; nothing is written then")
    options = parser.parse_args()
    rows = []
    for name in options.only or FORMATS:
        rows.append((name, *fuzz(name, options.tries, options.seed)))
        print(name, dict(rows[-1][1]), dict(rows[-1][2]), flush=True)
    if not options.only:
        RESULTS.write_text(report(rows, options.tries, options.seed), encoding="utf-8")


if __name__ == "__main__":
    main()
