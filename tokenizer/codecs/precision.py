"""How a codec computes, and what computing faster cost in codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PRECISIONS = ("exact", "fast")
"""float32 as IEEE has it, on every device; or TF32 for convolutions and LSTMs on a GPU, with a
float32 quantizer"""


@dataclass(frozen=True, slots=True)
class PrecisionReport:
    """Codes of chunks against those that the reference gives for the same chunks in exact
    float32."""

    chunks: int
    frames: int
    equal: tuple[int, ...]
    """frames with the same code, per level"""
    error: float
    """squared distance between the reference's embeddings and what the codes decode to, summed over
    frames"""
    reference_error: float
    """the same with the reference's own codes"""

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of equal codes per level, 0 to 1."""
        return tuple(count / max(self.frames, 1) for count in self.equal)

    @property
    def error_ratio(self) -> float:
        """Quantisation error over the reference's: 1 is as good, more is worse."""
        return self.error / self.reference_error if self.reference_error else 1.0

    def __add__(self, other: PrecisionReport) -> PrecisionReport:
        equal = tuple(mine + theirs for mine, theirs in zip(self.equal, other.equal, strict=True))
        error, reference_error = (
            self.error + other.error,
            self.reference_error + other.reference_error,
        )
        return PrecisionReport(
            self.chunks + other.chunks, self.frames + other.frames, equal, error, reference_error
        )

    def to_json(self) -> dict[str, Any]:
        """As one JSON object, with the figures that follow."""
        return {
            "chunks": self.chunks,
            "frames": self.frames,
            "equal": list(self.equal),
            "error": self.error,
            "reference_error": self.reference_error,
            "shares": list(self.shares),
            "error_ratio": self.error_ratio,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PrecisionReport:
        """The inverse of `to_json`.

        Raises:
            KeyError, TypeError: not a report.
        """
        equal = tuple(int(count) for count in values["equal"])
        return cls(
            int(values["chunks"]),
            int(values["frames"]),
            equal,
            float(values["error"]),
            float(values["reference_error"]),
        )

    def describe(self) -> str:
        """One line."""
        levels = ", ".join(f"{share:.2%}" for share in self.shares)
        return (
            f"equal codes by level {levels}; quantisation error x {self.error_ratio:.5f} (in "
            f"{self.chunks} chunks)"
        )
