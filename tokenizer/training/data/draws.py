"""Batches from a pack: 1-second examples, mixed by the four strategies of Défossez et al. 2022
(section 4.1).

    s1  0.32   one music source                 s3  0.24   two sources of any kind, mixed
    s2  0.32   one source that is not music     s4  0.12   three that are not music, mixed

Each source is normalised by its recording's level and gets a random gain of -10 to 6 dB; an example
that clips is drawn again. Reverberation (of examples that are not music alone) is off unless asked
for. A batch is a function of (seed, step, rank) alone: to resume is to ask for the next step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokenizer.errors import UsageError
from tokenizer.training.data.pack import Pack, PackedRecording

STRATEGIES = {"s1": 0.32, "s2": 0.32, "s3": 0.24, "s4": 0.12}
_SOURCES = {"s1": ("music",), "s2": ("rest",), "s3": ("any", "any"), "s4": ("rest", "rest", "rest")}
LEVEL = 0.1
"""RMS that a recording is brought to (-20 dBFS), unless its peak allows less"""
GAINS_DB = (-10.0, 6.0)
_TRIES = 16
_SILENT = 1e-4
"""RMS below which a second is no example: it would be all noise once normalised"""
_WIDEST = 4.0
"""RMS of the channels over RMS of their mean: near-antiphase seconds would enter the model at
absurd levels"""
_AHEAD = 4


@dataclass(frozen=True, slots=True)
class DataOptions:
    """What decides a batch, beside the pack."""

    batch: int = 64
    """examples a step, on each device"""
    seconds: float = 1.0
    """length of an example"""
    reverb: float = 0.0
    """probability of reverberation (the paper has 0.2)"""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UsageError(f"a batch of {self.batch}: give at least 1")
        if not 0.0 < self.seconds <= 60.0:
            raise UsageError(f"examples of {self.seconds} s: give more than 0 and at most 60")
        if not 0.0 <= self.reverb <= 1.0:
            raise UsageError(f"reverberation with probability {self.reverb}: give 0 to 1")


class Mixer:
    """Draws examples from what a pack does not hold out."""

    def __init__(self, pack: Pack, options: DataOptions) -> None:
        """Sort the recordings.

        Raises:
            UsageError: nothing to train on.
        """
        self._pack, self._options = pack, options
        self._length = round(options.seconds * pack.sample_rate)
        usable = [r for r in pack.recordings if not r.held_out and r.rms > _SILENT]
        if not usable:
            raise UsageError(
                f"pack {pack.folder}: no audible recording to train on (all are silent or held out)"
            )
        pools = {
            "any": _Pool(usable),
            "music": _Pool([r for r in usable if r.kind == "music"]),
            "rest": _Pool([r for r in usable if r.kind != "music"]),
        }
        # A corpus of one kind cannot serve every strategy; the others keep their proportions.
        self._strategies = [
            name
            for name, parts in _SOURCES.items()
            if all(pools[part].recordings for part in parts)
        ]
        weights = np.array([STRATEGIES[name] for name in self._strategies])
        self._shares = weights / weights.sum()
        self._pools = pools

    def batch(self, step: int, rank: int = 0) -> NDArray[np.float32]:
        """The examples of one step on one device, float32 `[batch, channels, samples]`."""
        rng = np.random.default_rng([self._options.seed, 0, step, rank])
        return np.stack([self.example(rng) for _ in range(self._options.batch)])

    def strategy(self, rng: np.random.Generator) -> str:
        """The name of a strategy, drawn by its share."""
        return str(rng.choice(self._strategies, p=self._shares))

    def example(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """One example, float32 `[channels, samples]`: audible, no sample beyond full scale."""
        name = self.strategy(rng)
        for _ in range(_TRIES):
            mixed = sum(
                (self._source(part, rng) for part in _SOURCES[name]), np.zeros((1, 1), np.float32)
            )
            if name != "s1" and rng.random() < self._options.reverb:
                mixed = reverberate(mixed, self._pack.sample_rate, rng)
            if usable(mixed):
                return mixed
        # Recordings that always clip or are mostly silent: as loud as can be, or noise that the
        # model may ignore.
        peak = float(np.abs(mixed).max())
        return (
            mixed / peak
            if peak > 1.0
            else mixed + rng.normal(0, LEVEL, mixed.shape).astype(np.float32)
        )

    def _source(self, pool: str, rng: np.random.Generator) -> NDArray[np.float32]:
        """One second of one source at its level and gain; recordings shorter than that are followed
        by others."""
        gain = np.float32(10.0 ** (rng.uniform(*GAINS_DB) / 20.0))
        parts: list[NDArray[np.float32]] = []
        missing = self._length
        while missing:
            recording = self._pools[pool].draw(rng)
            count = min(missing, recording.num_samples)
            start = int(rng.integers(recording.num_samples - count + 1))
            level = np.float32(min(LEVEL / recording.rms, 1.0 / max(recording.peak, 1e-9)))
            parts.append(self._pack.read(recording, start, count) * level)
            missing -= count
        return gain * np.concatenate(parts, axis=1)


class _Pool:
    """Recordings, drawn in proportion to their length."""

    def __init__(self, recordings: Sequence[PackedRecording]) -> None:
        self.recordings = recordings
        self._ends = np.cumsum([recording.num_samples for recording in recordings])

    def draw(self, rng: np.random.Generator) -> PackedRecording:
        at = rng.integers(self._ends[-1])
        return self.recordings[int(np.searchsorted(self._ends, at, side="right"))]


def usable(samples: NDArray[np.float32]) -> bool:
    """Whether `[channels, samples]` is an example to learn from: not clipped, not silent, not near
    antiphase."""
    power = float(np.square(samples).mean())
    mono = float(np.square(samples.mean(axis=0)).mean())
    clipped = float(np.abs(samples).max()) > 1.0
    return not clipped and mono > _SILENT**2 and power < _WIDEST**2 * mono


def reverberate(
    samples: NDArray[np.float32], sample_rate: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Add a room: exponentially decaying noise with an RT60 of 0.3 to 1.3 s, mixed with the direct
    sound.

    Stands in for measured impulse responses (Polack's model of diffuse reverberation); the length
    stays.
    """
    rt60 = rng.uniform(0.3, 1.3)
    length = min(samples.shape[1], round(rt60 * sample_rate))
    decay = 10.0 ** (-3.0 * np.arange(length) / (rt60 * sample_rate))
    tail = rng.standard_normal((samples.shape[0], length)) * decay
    tail *= rng.uniform(0.2, 0.7) / np.sqrt(np.square(tail).sum(axis=1, keepdims=True))
    size = samples.shape[1] + length
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)[
        :, : samples.shape[1]
    ]
    return (samples + wet).astype(np.float32)


def batches(mixer: Mixer, start: int, stop: int, rank: int = 0) -> Iterator[NDArray[np.float32]]:
    """The batches of steps `start` to `stop`, the next ones drawn in a thread while the current one
    is being used."""
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        waiting: list[Future[NDArray[np.float32]]] = []
        try:
            for step in range(start, stop):
                while len(waiting) < _AHEAD and step + len(waiting) < stop:
                    waiting.append(pool.submit(mixer.batch, step + len(waiting), rank))
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()
