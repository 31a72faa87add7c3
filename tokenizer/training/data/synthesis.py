"""Audio made from a seed: instruments, chords, drums and noise, to add to a corpus that has too few
of them.

Additive synthesis, frequency modulation (Chowning 1973) and plucked strings (Karplus and Strong
1983), played in random keys, tempi, ranges and places in the stereo image. Speech comes from
espeak-ng where that program is installed.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]
Instrument = Callable[[float, int, int, np.random.Generator], Samples]
"""(frequency in Hz, samples, sample rate, generator) to float64 `[samples]`, about full scale"""

_CHORDS = (
    (0, 4, 7),
    (0, 3, 7),
    (0, 4, 7, 11),
    (0, 3, 7, 10),
    (0, 5, 7),
    (0, 3, 6, 9),
    (0, 4, 8),
    (0,),
    (0, 12),
)
_SENTENCES = (
    "The quick brown fox jumps over the lazy dog while seven wizards watch.",
    "A large size in stockings is hard to sell, but glue the sheet to the dark blue background.",
    "It is easy to tell the depth of a well; these days a chicken leg is a rare dish.",
    "Rice is often served in round bowls, and the juice of lemons makes fine punch.",
    "Four hours of steady work faced us, and the boy was there when the sun rose.",
)


def additive(frequency: float, count: int, sample_rate: int, rng: np.random.Generator) -> Samples:
    """Partials with random roll-off, slight inharmonicity, vibrato and each its own decay: organs,
    winds, bells."""
    time = np.arange(count) / sample_rate
    partials = np.arange(1, rng.integers(2, 25))
    stretch = 1.0 + rng.choice([0.0, 0.0, 3e-4, 3e-3]) * partials**2
    strengths = partials ** -rng.uniform(0.5, 2.5) * rng.uniform(0.3, 1.0, len(partials))
    if rng.random() < 0.3:
        strengths[1::2] *= 0.05
    decays = rng.uniform(0.0, 4.0) * partials ** rng.uniform(0.0, 0.8)
    vibrato = rng.uniform(0.0, 0.006) * np.sin(2 * np.pi * rng.uniform(4, 7) * time)
    sound = np.zeros(count)
    for partial, factor, strength, decay in zip(partials, stretch, strengths, decays, strict=True):
        pitch = frequency * partial * factor
        if pitch < 0.45 * sample_rate:
            phase = 2 * np.pi * pitch * np.cumsum(1.0 + vibrato) / sample_rate + rng.uniform(
                0, 2 * np.pi
            )
            sound += strength * np.exp(-decay * time) * np.sin(phase)
    return _attacked(sound / strengths.sum(), rng.uniform(0.001, 0.15), sample_rate)


def modulated(frequency: float, count: int, sample_rate: int, rng: np.random.Generator) -> Samples:
    """Frequency modulation with a falling index: electric pianos, brass, bells."""
    time = np.arange(count) / sample_rate
    ratio = rng.choice([0.5, 1.0, 1.0, 2.0, 3.0, 1.41, 3.5])
    # Carson's rule keeps the sidebands below half the rate.
    index = min(rng.uniform(0.3, 8.0), 0.4 * sample_rate / (frequency * ratio) - 1.0)
    envelope = np.exp(-rng.uniform(0.3, 6.0) * time)
    modulator = (
        max(index, 0.0)
        * envelope ** rng.uniform(0.5, 2.0)
        * np.sin(2 * np.pi * ratio * frequency * time)
    )
    return _attacked(
        envelope * np.sin(2 * np.pi * frequency * time + modulator),
        rng.uniform(0.001, 0.05),
        sample_rate,
    )


def plucked(frequency: float, count: int, sample_rate: int, rng: np.random.Generator) -> Samples:
    """A string: a period of noise that goes round a delay line with a damping two-point mean."""
    # The mean of two samples adds half a sample to the loop.
    period = max(2, round(sample_rate / frequency - 0.5))
    loss = rng.uniform(0.985, 0.9995)
    line = rng.uniform(-1.0, 1.0, period)
    line -= line.mean()  # or the offset would outlive every tone
    periods, before = [line], 0.0
    for _ in range(count // period):
        # y[n] is the mean of y[n - period] and of the sample before that one, across the border of
        # two periods.
        line, before = loss * 0.5 * (line + np.concatenate([[before], line[:-1]])), line[-1]
        periods.append(line)
    return _attacked(np.concatenate(periods)[:count], 0.001, sample_rate)


def subtractive(
    frequency: float, count: int, sample_rate: int, rng: np.random.Generator
) -> Samples:
    """A band-limited saw or square through a closing low-pass, made partial by partial: basses,
    pads, leads."""
    time = np.arange(count) / sample_rate
    odd = rng.random() < 0.5
    partials = np.arange(1, min(60, int(0.45 * sample_rate / frequency)) + 1, 2 if odd else 1)
    cutoff = frequency * rng.uniform(2, 30) * np.exp(-rng.uniform(0, 3) * time)
    detune = 1.0 + rng.uniform(-0.004, 0.004)
    sound = np.zeros(count)
    for partial in partials:
        gain = 1.0 / partial / (1.0 + (partial * frequency / cutoff) ** 4)
        tone = np.sin(2 * np.pi * partial * frequency * time) + np.sin(
            2 * np.pi * partial * frequency * detune * time + 1.0
        )
        sound += 0.4 * gain * tone
    return _attacked(sound, rng.uniform(0.002, 0.2), sample_rate)


INSTRUMENTS: dict[str, Instrument] = {
    "additive": additive,
    "modulated": modulated,
    "plucked": plucked,
    "subtractive": subtractive,
}


def drum(count: int, sample_rate: int, rng: np.random.Generator) -> Samples:
    """A falling tone, a noise burst, or both: kicks, toms, snares, hats."""
    time = np.arange(count) / sample_rate
    body = rng.uniform(0.0, 1.0) if rng.random() < 0.7 else 0.0
    start, end = rng.uniform(80, 400), rng.uniform(35, 120)
    pitch = end + (start - end) * np.exp(-rng.uniform(15, 60) * time)
    tone = np.sin(2 * np.pi * np.cumsum(pitch) / sample_rate) * np.exp(-rng.uniform(4, 20) * time)
    hiss = coloured_noise(count, sample_rate, rng) * np.exp(-rng.uniform(8, 60) * time)
    return body * tone + (1.0 - body) * hiss


def coloured_noise(count: int, sample_rate: int, rng: np.random.Generator) -> Samples:
    """Noise with a random slope and pass band, peak about 1."""
    frequencies = np.fft.rfftfreq(count, 1 / sample_rate)
    low, high = np.sort(np.exp(rng.uniform(np.log(20), np.log(0.49 * sample_rate), 2)))
    shape = np.maximum(frequencies, 20.0) ** -rng.uniform(0.0, 1.0)
    shape = (
        shape / (1 + (low / np.maximum(frequencies, 1.0)) ** 4) / (1 + (frequencies / high) ** 4)
    )
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(count)) * shape, count)
    peak: Samples = noise / max(float(np.abs(noise).max()), 1e-9)
    return peak


def music(seconds: float, sample_rate: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A piece: one to three parts of one instrument each, often drums, float32 `[2, samples]`, peak
    0.5 to 0.9."""
    count = round(seconds * sample_rate)
    beat = 60.0 / rng.uniform(60, 180)
    root = rng.uniform(36, 60)
    mixed = np.zeros((2, count))
    for _ in range(rng.integers(1, 4)):
        part = np.zeros(count)
        instrument = INSTRUMENTS[str(rng.choice(sorted(INSTRUMENTS)))]
        octave, length = 12 * rng.integers(0, 4), beat * rng.choice([0.5, 1.0, 2.0, 4.0])
        for start in np.arange(0.0, seconds, length):
            if rng.random() < 0.85:
                chord = _CHORDS[rng.integers(len(_CHORDS))] if octave >= 12 else (0,)
                tones = [
                    root + octave + rng.choice([0, 2, 4, 5, 7, 9, 11]) + note for note in chord
                ]
                size = min(
                    round(length * rng.uniform(0.6, 1.6) * sample_rate),
                    count - round(start * sample_rate),
                )
                _add(
                    part,
                    sum(instrument(_hertz(tone), size, sample_rate, rng) for tone in tones),
                    start,
                    sample_rate,
                )
        mixed += _placed(part / max(1e-9, float(np.abs(part).max())), rng) * rng.uniform(0.3, 1.0)
    if rng.random() < 0.6:
        mixed += _drums(count, beat, sample_rate, rng) * rng.uniform(0.3, 1.0)
    return _levelled(mixed, rng)


def noises(seconds: float, sample_rate: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Effects: coloured noise with a moving level, and clicks, float32 `[2, samples]`, peak 0.5 to
    0.9."""
    count = round(seconds * sample_rate)
    time = np.arange(count) / sample_rate
    level = 0.1 + np.abs(np.sin(2 * np.pi * rng.uniform(0.05, 4) * time + rng.uniform(0, 6)))
    mixed = _placed(coloured_noise(count, sample_rate, rng) * level, rng)
    for _ in range(rng.integers(0, 12)):
        hit = np.zeros(count)
        size = int(rng.integers(200, sample_rate))
        _add(hit, drum(size, sample_rate, rng), rng.uniform(0, seconds), sample_rate)
        mixed += _placed(hit, rng)
    return _levelled(mixed, rng)


def speech(rng: np.random.Generator) -> tuple[NDArray[np.float32], int] | None:
    """A spoken sentence by espeak-ng, float32 `[1, samples]` and its rate; None where the program
    is not installed."""
    program = shutil.which("espeak-ng")
    if program is None:
        return None
    import soundfile

    voice = str(rng.choice(["en", "en-us", "en-gb-scotland", "en+f3", "en+m3", "de", "fr", "es"]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        options = [
            "-v",
            voice,
            "-s",
            str(rng.integers(120, 220)),
            "-p",
            str(rng.integers(20, 80)),
            "-w",
            str(path),
        ]
        subprocess.run(
            [program, *options, str(rng.choice(_SENTENCES))], check=True, capture_output=True
        )
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return np.ascontiguousarray(samples.T), int(rate)


def _drums(count: int, beat: float, sample_rate: int, rng: np.random.Generator) -> Samples:
    mixed = np.zeros((2, count))
    for _ in range(rng.integers(1, 4)):
        hits = np.zeros(count)
        sample = drum(min(count, round(0.4 * sample_rate)), sample_rate, rng)
        for start in np.arange(
            rng.choice([0.0, 0.5]) * beat,
            count / sample_rate,
            beat * rng.choice([0.25, 0.5, 1.0, 2.0]),
        ):
            if rng.random() < 0.85:
                _add(hits, sample * rng.uniform(0.4, 1.0), start, sample_rate)
        mixed += _placed(hits, rng)
    return mixed / max(1e-9, float(np.abs(mixed).max()))


def _add(part: Samples, sound: Samples | float, start: float, sample_rate: int) -> None:
    at = round(start * sample_rate)
    values = np.asarray(sound, np.float64)[: max(0, len(part) - at)]
    part[at : at + len(values)] += values


def _placed(part: Samples, rng: np.random.Generator) -> Samples:
    """In the stereo image: constant power, and a delay of up to a millisecond between the ears."""
    angle = rng.uniform(0.15, 0.35) * np.pi
    placed = np.stack([np.cos(angle) * part, np.sin(angle) * part])
    late = int(rng.integers(0, 48))
    placed[1, late:] = placed[1, : len(part) - late].copy()
    return placed


def _attacked(sound: Samples, seconds: float, sample_rate: int) -> Samples:
    """With a rise and a short fall, so that notes do not click."""
    rise, fall = (
        min(len(sound), round(seconds * sample_rate)),
        min(len(sound), round(0.02 * sample_rate)),
    )
    sound[:rise] *= np.linspace(0.0, 1.0, rise)
    if fall:
        sound[len(sound) - fall :] *= np.linspace(1.0, 0.0, fall)
    return sound


def _levelled(mixed: Samples, rng: np.random.Generator) -> NDArray[np.float32]:
    levelled: NDArray[np.float32] = (
        mixed * rng.uniform(0.5, 0.9) / max(1e-9, float(np.abs(mixed).max()))
    ).astype(np.float32)
    return levelled


def _hertz(note: float) -> float:
    return float(440.0 * 2.0 ** ((note - 69.0) / 12.0))
