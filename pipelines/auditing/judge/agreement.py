"""Two readings of one source, side by side: do two decoders that share no reader hear the same?

Codes are compared through the first way, with which they were made. The samples of the second are
held against its samples: equal for what is lossless, close for lossy codecs, whose decoders round
each in its own way. A constant delay is found and taken off.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipelines.auditing.measure.pairs import Block
from tokenizer.errors import RecordingError

CLOSE_DB = -40.0
"""of the difference, relative to the sound: two decoders of one lossy stream are below -60, other
samples above -10"""
QUIET = 1e-4
"""RMS of a difference that nobody hears, and that a ratio to silence would make much of"""
MOST_DELAY = 4_800
"""samples that one decoder may begin later: what encoders put in front"""
MOST_LENGTH = 0.1
"""seconds by which lengths may differ: padding of a last packet"""
_LISTENED = 96_000
"""samples from which the delay is found"""


class Agreement:
    """Takes in blocks of both readings, float32 `[channels, n]`, at one rate, and compares in
    bounded memory."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._held: tuple[list[Block], list[Block]] = ([], [])
        self._counts = [0, 0]
        self._power = self._difference = 0.0
        self._compared = 0
        self.delay: int | None = None
        """samples by which the second begins later; None while it is not known"""

    def add(self, which: int, block: Block) -> None:
        """The next block of the first (0) or second (1) reading."""
        self._counts[which] += block.shape[1]
        self._held[which].append(block)
        if self.delay is None and min(self._ahead(0), self._ahead(1)) >= _LISTENED:
            self._align()
        if self.delay is not None:
            self._compare()

    def close(self) -> None:
        """Both have ended."""
        if self.delay is None:
            self._align()
        self._compare()

    @property
    def level(self) -> float:
        """The difference in dB, relative to the sound; minus infinity when there is none."""
        if not self._difference:
            return float("-inf")
        return 10 * float(np.log10(self._difference / max(self._power, 1e-20)))

    @property
    def fault(self) -> str | None:
        """What tells the two readings apart; None when they agree."""
        apart = abs(self._counts[0] - self._counts[1] + (self.delay or 0)) / self._rate
        if apart > MOST_LENGTH:
            return (
                f"{self._counts[0] / self._rate:.3f} s by the one, "
                f"{self._counts[1] / self._rate:.3f} s by the other"
            )
        audible = self._compared and (self._difference / self._compared) ** 0.5 > QUIET
        return (
            f"samples that differ by {self.level:.0f} dB"
            if audible and self.level > CLOSE_DB
            else None
        )

    def _ahead(self, which: int) -> int:
        return sum(block.shape[1] for block in self._held[which])

    def _align(self) -> None:
        """Find the delay, unless there is none, which is the rule."""
        first, second = (
            np.concatenate(held, axis=1) if held else np.zeros((1, 0), np.float32)
            for held in self._held
        )
        length = min(first.shape[1], second.shape[1], _LISTENED)
        self.delay = (
            _delay(first[:, :length].mean(axis=0), second[:, :length].mean(axis=0)) if length else 0
        )
        late = max(0, self.delay), max(0, -self.delay)
        self._held = ([first[:, late[1] :]], [second[:, late[0] :]])

    def _compare(self) -> None:
        length = min(self._ahead(0), self._ahead(1))
        if not length:
            return
        first, second = (np.concatenate(held, axis=1) for held in self._held)
        self._held = ([first[:, length:]], [second[:, length:]])
        self._compared += length * first.shape[0]
        self._power += float(np.square(first[:, :length], dtype=np.float64).sum())
        self._difference += float(
            np.square(first[:, :length] - second[:, :length], dtype=np.float64).sum()
        )


class Beside:
    """Reads the second way on beside the first."""

    def __init__(self, second: Iterator[Block], agreement: Agreement) -> None:
        self._second, self._agreement = second, agreement
        self._read = 0
        self.error: RecordingError | None = None
        """why there is no second way, or why it ended"""

    def watch(self, first: Iterator[Block]) -> Iterator[Block]:
        """Hand the first's blocks on; the comparison is complete when all have gone by."""
        read = 0
        for block in first:
            read += block.shape[1]
            self._agreement.add(0, block)
            yield block
            self._advance(read)
        self._advance(None)
        self._agreement.close()

    def _advance(self, upto: int | None) -> None:
        """Read the second way up to as many samples, or to its end."""
        try:
            while self.error is None and (upto is None or self._read < upto):
                block = next(self._second, None)
                if block is None:
                    return
                self._read += block.shape[1]
                self._agreement.add(1, block)
        except RecordingError as error:
            self.error = error


def _delay(first: NDArray[np.float32], second: NDArray[np.float32]) -> int:
    """Samples by which the second comes later, where a shift makes it much more alike; else 0."""
    power = float(np.square(first, dtype=np.float64).sum())
    apart = float(np.square(first - second, dtype=np.float64).sum())
    if apart <= 1e-4 * power or not power:
        return 0
    size = 1 << (2 * len(first) - 1).bit_length()
    match = np.fft.irfft(np.fft.rfft(second, size) * np.conj(np.fft.rfft(first, size)), size)
    lags = np.concatenate([np.arange(MOST_DELAY + 1), np.arange(-MOST_DELAY, 0)])
    lags = lags[np.abs(lags) < len(first)]
    return int(lags[np.argmax(match[lags])])
