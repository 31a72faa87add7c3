"""What is trained and how: the frozen configuration of one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tokenizer.coding.transformer.shape import Shape
from tokenizer.errors import UsageError

STEPS = 4000
_FREE = ("steps",)
"""what may change from sitting to sitting"""


@dataclass(frozen=True, slots=True)
class CoderConfig:
    """Everything that decides what a run computes; stored in its folder and compared on resume."""

    shape: Shape
    segment_frames: int
    preset: str
    corpus: str
    """`Segments.identity` of what it is trained on"""
    steps: int = STEPS
    batch: int = 16
    """segments a step"""
    learning_rate: float = 2e-3
    seed: int = 0
    codebooks: bool = False
    """whether tables begin as the codec's own codebooks"""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise UsageError("a run takes --steps and --batch of at least 1")
        if not 0 < self.learning_rate < 1:
            raise UsageError(f"--learning-rate {self.learning_rate}: give a number from 0 to 1")
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed}: give 0 or more")

    def rate_at(self, step: int) -> float:
        """Rises over 100 steps, and falls by a cosine to 1% at the end."""
        import math

        rise = min(1.0, (step + 1) / 100)
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps)))
        return self.learning_rate * rise * max(fall, 0.01)

    def quantised_at(self, step: int) -> bool:
        """Whether weights are rounded to 8 bits in a step: over the last fifth."""
        return step >= 0.8 * self.steps

    def levels_at(self, step: int, draw: float) -> int:
        """How many levels a step trains: every other time all of them, else a half, a quarter …
        (down to 2), as corpora of fewer kbps have them.

        Args:
            step: its number.
            draw: 0 to 1, by chance.
        """
        fewer, n_q = [], self.shape.levels // 2
        while n_q >= 2:
            fewer.append(n_q)
            n_q //= 2
        if step % 2 == 0 or not fewer:
            return self.shape.levels
        return fewer[min(int(draw * len(fewer)), len(fewer) - 1)]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "shape": self.shape.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CoderConfig:
        """
        Raises:
            UsageError: written by another version.
        """
        try:
            return cls(**{**values, "shape": Shape.from_dict(values["shape"])})
        except (KeyError, TypeError) as error:
            raise UsageError(
                f"the run's configuration is of another version of codecshards: {error}"
            ) from error

    def differences(self, wanted: CoderConfig) -> list[str]:
        """A line for each setting in which two would compute other weights."""
        before, now = self.to_dict(), wanted.to_dict()
        return [
            f"{name}: {before[name]!r} there, {now[name]!r} now"
            for name in before
            if name not in _FREE and before[name] != now[name]
        ]
