"""The sizes of a transformer that predicts codes, and its presets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tokenizer.errors import UsageError

LARGEST_CODEBOOK = 4096
"""entries: a level's widths are computed for every code of it"""
_LARGEST = {
    "width": 1024,
    "layers": 64,
    "heads": 64,
    "feed_forward": 4096,
    "past": 4096,
    "table": 1024,
    "head_width": 1024,
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides the form of every weight."""

    sizes: tuple[int, ...]
    """entries of each level's codebook"""
    layers: int
    heads: int
    width: int
    feed_forward: int
    past: int
    """frames that a frame sees, itself among them"""
    table: int
    """numbers that stand for a code, where it is known and where it is predicted"""
    head_width: int
    """hidden units of a level's head"""
    conditioned: bool
    """whether a level sees the levels below it in its frame"""

    def __post_init__(self) -> None:
        if not self.sizes or not all(2 <= size <= LARGEST_CODEBOOK for size in self.sizes):
            raise UsageError(
                f"codebooks of {', '.join(map(str, self.sizes)) or 'no'} entries: the transformer "
                f"takes 2 to {LARGEST_CODEBOOK}; use --coder static"
            )
        for name, most in _LARGEST.items():
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= most:
                raise UsageError(f"a coder with {name} {value!r}: give 1 to {most}")
        if self.width % self.heads:
            raise UsageError(f"a coder of width {self.width} cannot have {self.heads} heads")

    @property
    def levels(self) -> int:
        return len(self.sizes)

    @property
    def coarse(self) -> int:
        """Levels that the trunk sees apart from the others: the first, which carry the most."""
        return min(2, self.levels)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "sizes": list(self.sizes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Shape:
        """
        Raises:
            UsageError: it is none.
        """
        try:
            return cls(**{**values, "sizes": tuple(int(size) for size in values["sizes"])})
        except (TypeError, ValueError, KeyError) as error:
            raise UsageError(f"not the shape of a coder: {error}") from error


_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "small": {
        "layers": 3,
        "heads": 4,
        "width": 128,
        "feed_forward": 320,
        "table": 56,
        "head_width": 128,
        "conditioned": True,
    },
    "paper": {
        "layers": 5,
        "heads": 8,
        "width": 200,
        "feed_forward": 800,
        "table": 200,
        "head_width": 200,
        "conditioned": False,
    },
}
PRESETS = tuple(_PRESETS)
PAST_SECONDS = 3.5
"""as in "High Fidelity Neural Audio Compression" (Défossez et al., 2022), section 3.3"""


def preset_shape(name: str, sizes: Sequence[int], frame_rate: float, segment: int | None) -> Shape:
    """The shape of a preset for a codec.

    Args:
        name: a row of `PRESETS`.
        sizes: of the codec's codebooks.
        frame_rate: frames a second.
        segment: frames of the longest chunk; None where a codec has none.

    Raises:
        UsageError: no such preset, or the codec has codebooks that are too large.
    """
    if name not in _PRESETS:
        raise UsageError(f"--preset {name}: choose from {', '.join(PRESETS)}")
    past = max(1, round(PAST_SECONDS * frame_rate))
    if segment is not None:
        past = min(past, segment)
    return Shape(sizes=tuple(sizes), past=min(past, _LARGEST["past"]), **_PRESETS[name])
