"""The original's arithmetic coder, in integers.

The state is an interval `[low, low + width)` of numbers of `bits` bits. Before each symbol bits are
appended until the interval has at least 2**24 numbers; then it becomes the symbol's share of it;
then the leading bits that all its numbers have in common are settled, written and forgotten.

The original multiplies shares by `width / 2**24` in float64. Widths stay below 2**25 and shares
below 2**24, so those products are exact, and the same as here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RANGE_BITS = 24
WHOLE = 1 << RANGE_BITS
_LEAST = 2
"""numbers of 2**24 that every symbol has"""
_STEP = np.float32(1e-8)
"""to which probabilities are cut"""


class OutOfStep(Exception):
    """Bits that no coder with these probabilities has written."""


class Exhausted(OutOfStep):
    """Fewer bits than the symbols need."""


def upper_ends(probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
    """Where in 2**24 the shares of symbols end, by their probabilities.

    Each operation rounds to float32, as the original's do: a code is only found again with the very
    same shares.

    Args:
        probabilities: float32 `[..., symbols]`, each row adding up to 1.

    Returns:
        The last one may be beyond 2**24 by what rounding adds, where one symbol has nearly all.

    Raises:
        ValueError: rows that add up to more, or are not numbers.
    """
    symbols = probabilities.shape[-1]
    cut = np.floor(probabilities / _STEP) * _STEP
    shares = np.floor(np.float32(WHOLE - _LEAST * symbols) * cut)
    if not np.isfinite(shares).all():
        raise ValueError("probabilities that are not numbers")
    ends: NDArray[np.int64] = np.cumsum(shares.astype(np.int64) + _LEAST, axis=-1)
    if (ends[..., -1] > WHOLE + symbols).any():
        raise ValueError("probabilities that add up to more than 1")
    return ends


class _Interval:
    def __init__(self) -> None:
        self.low, self.width, self.bits = 0, 1, 0

    def widen(self) -> int:
        """Append bits until it is wide enough; returns how many."""
        count = max(0, RANGE_BITS + 1 - self.width.bit_length())
        self.low <<= count
        self.width <<= count
        self.bits += count
        return count

    def narrow(self, start: int, end: int) -> None:
        """Keep the share of a symbol, `[start, end)` of 2**24.

        Raises:
            OutOfStep: it is beyond what so many bits hold, which shares that add up to more than
                2**24 may be.
        """
        first = -(-start * self.width >> RANGE_BITS)
        last = (end - 1) * self.width >> RANGE_BITS
        self.low += first
        self.width = last - first + 1
        if (self.low + last - first) >> self.bits:
            raise OutOfStep

    def settle(self) -> tuple[int, int]:
        """Forget the leading bits that are decided: their value, and how many they are."""
        kept = (self.low ^ (self.low + self.width - 1)).bit_length()
        value, count = self.low >> kept, self.bits - kept
        self.low -= value << kept
        self.bits = kept
        return value, count


class Encoder:
    """Symbols to bytes."""

    def __init__(self) -> None:
        self._interval = _Interval()
        self._written: list[int] = []

    def push(self, symbol: int, ends: NDArray[np.int64]) -> None:
        """Add a symbol with the shares `ends` (`upper_ends`).

        Raises:
            OutOfStep: as `_Interval.narrow`; the original fails there too.
        """
        self._interval.widen()
        self._interval.narrow(int(ends[symbol - 1]) if symbol else 0, int(ends[symbol]))
        self._write(*self._interval.settle())

    def finish(self) -> bytes:
        """All bytes: what is not settled yet is written as the interval's lowest number."""
        self._write(self._interval.low, self._interval.bits)
        return np.packbits(np.array(self._written, np.uint8), bitorder="little").tobytes()

    def _write(self, value: int, count: int) -> None:
        self._written += [value >> place & 1 for place in reversed(range(count))]


class Decoder:
    """The way back, from bytes that begin with a stream and may go on behind it."""

    def __init__(self, held: bytes, start: int) -> None:
        self._held, self._at, self._end = held, start * 8, len(held) * 8
        self._interval = _Interval()
        self._current = 0
        """the number that the bits read so far stand for, within the interval"""

    def pull(self, ends: NDArray[np.int64]) -> int:
        """The next symbol, by its shares.

        Raises:
            Exhausted: the bytes have ended.
            OutOfStep: no symbol's share has these bits.
        """
        interval = self._interval
        for _ in range(interval.widen()):
            self._current = self._current << 1 | self._next_bit()
        place = self._current - interval.low
        symbol = int(np.searchsorted((ends - 1) * interval.width >> RANGE_BITS, place))
        if symbol == len(ends):
            raise OutOfStep
        interval.narrow(int(ends[symbol - 1]) if symbol else 0, int(ends[symbol]))
        if self._current < interval.low:  # between two shares
            raise OutOfStep
        settled, _ = interval.settle()
        self._current -= settled << interval.bits
        return symbol

    def finish(self) -> int:
        """After the last symbol: the byte at which something else may begin.

        Raises:
            OutOfStep: the stream does not end as its coder would have ended it, so that symbols
                before were wrong.
        """
        if self._current != self._interval.low:
            raise OutOfStep
        while self._at % 8:
            if self._next_bit():
                raise OutOfStep
        return self._at // 8

    def _next_bit(self) -> int:
        if self._at == self._end:
            raise Exhausted
        bit = self._held[self._at >> 3] >> (self._at & 7) & 1
        self._at += 1
        return bit
