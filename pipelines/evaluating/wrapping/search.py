"""The setting of an encoder with which a sound comes to a given number of bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from pipelines.evaluating.systems.base import NEAR, TOLERANCE, NotReached

Made = TypeVar("Made")
_TRIES = 9


class Search(Generic[Made]):
    """Secants between the nearest settings below and above. The same sound finds the same setting
    again."""

    def __init__(
        self,
        make: Callable[[float], Made],
        bits: Callable[[Made], int],
        bounds: tuple[float, float],
        whole: bool = True,
    ) -> None:
        """
        Args:
            make: encodes with a setting, of which more gives more bits.
            bits: of what it made.
            bounds: of settings.
            whole: settings are whole numbers.
        """
        self._make, self._bits, self._bounds, self._whole = make, bits, bounds, whole

    def find(self, wanted: float, first: float) -> tuple[float, Made]:
        """The setting, and what it made, that comes nearest to `wanted` bits.

        Args:
            wanted: bits.
            first: the setting to begin with.

        Raises:
            NotReached: none comes near enough; the message has the nearest bits over the wanted.
        """
        low = high = None
        best: tuple[float, float, Made] | None = None
        tried: set[float] = set()
        setting = self._within(first)
        while setting not in tried and len(tried) < _TRIES:
            tried.add(setting)
            made = self._make(setting)
            ratio = self._bits(made) / wanted
            if best is None or abs(ratio - 1) < abs(best[0] - 1):
                best = ratio, setting, made
            if abs(ratio - 1) <= NEAR:
                break
            if ratio < 1:
                low = (setting, ratio) if low is None or setting > low[0] else low
            else:
                high = (setting, ratio) if high is None or setting < high[0] else high
            setting = self._within(_next(low, high))
        if best is None or abs(best[0] - 1) > TOLERANCE:
            raise NotReached(f"{best[0] if best else 0:.2f}")
        return best[1], best[2]

    def _within(self, setting: float) -> float:
        found = min(max(setting, self._bounds[0]), self._bounds[1])
        return float(round(found)) if self._whole else round(found, 3)


def _next(low: tuple[float, float] | None, high: tuple[float, float] | None) -> float:
    if low is None and high is not None:
        return high[0] / max(high[1], 1.02) * 0.98
    if high is None and low is not None:
        return max(low[0], 1e-3) / max(min(low[1], 0.98), 0.1) * 1.02
    if low is None or high is None:
        return 0.0
    share = (1 - low[1]) / max(high[1] - low[1], 1e-9)
    # Not at an end, where steps of the encoder would hold it.
    return low[0] + min(max(share, 0.1), 0.9) * (high[0] - low[0])


def reached(name: str, kbps: float, error: NotReached) -> NotReached:
    """In words of people, from the ratio that a search has told."""
    return NotReached(f"{name} comes to {float(str(error)) * kbps:.1f} kbps at the nearest")
