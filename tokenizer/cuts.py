"""How long recordings are cut into segments: what is asked for, and what comes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tokenizer.errors import UsageError

VAD, SILENCE, FIXED = CUT_KINDS = ("vad", "silence", "fixed")
"""between stretches of speech as Silero's network hears them, in pauses as the level tells them, or
after so many seconds, whatever is there"""
DEFAULT_LEAST, DEFAULT_MOST, DEFAULT_PAD = 1.0, 30.0, 0.2
CUT_FROM = "cut_from"
"""key of a row's `meta`: the id of the recording that it is a segment of"""
_LEAST_MOST, _MOST_MOST = 0.1, 86_400.0


@dataclass(frozen=True, slots=True)
class CutRule:
    """Into what a recording that is longer than `most` is cut. All in seconds."""

    kind: str
    """one of `CUT_KINDS`"""
    least: float = DEFAULT_LEAST
    """no segment is shorter"""
    most: float = DEFAULT_MOST
    """no segment is longer, and what is no longer than this stays whole"""
    pad: float = DEFAULT_PAD
    """of silence that is kept on either side of what is heard, where there is so much"""

    @classmethod
    def of(cls, kind: str, least: float | None, most: float | None, pad: float | None) -> CutRule:
        """A rule of which some may be left to the defaults; those follow a short `most`.

        Raises:
            UsageError: one that cannot be followed.
        """
        most = DEFAULT_MOST if most is None else float(most)
        pad = min(DEFAULT_PAD, most / 4) if pad is None else float(pad)
        least = min(DEFAULT_LEAST, (most - 2 * pad) / 2) if least is None else float(least)
        return cls(kind, least, most, pad)

    def __post_init__(self) -> None:
        if self.kind not in CUT_KINDS:
            raise UsageError(f"--cut {self.kind}: choose one of {', '.join(CUT_KINDS)}")
        if not _LEAST_MOST <= self.most <= _MOST_MOST:
            raise UsageError(
                f"--cut-max {self.most:g}: give seconds from {_LEAST_MOST:g} to {_MOST_MOST:g}"
            )
        if not (math.isfinite(self.pad) and 0 <= self.pad <= self.most / 4):
            raise UsageError(
                f"--cut-pad {self.pad:g}: give seconds from 0 to a quarter of --cut-max "
                f"({self.most / 4:g})"
            )
        # What is longer than one segment then always makes two.
        half = (self.most - 2 * self.pad) / 2
        if not (math.isfinite(self.least) and 0 <= self.least <= half):
            raise UsageError(
                f"--cut-min {self.least:g}: give seconds from 0 to {half:g}, half of --cut-max "
                "without the padding"
            )


@dataclass(frozen=True, slots=True)
class Cuts:
    """Where one recording is cut, in its source's samples, counted from where the recording
    begins."""

    sample_rate: int
    samples: int
    """length of the recording"""
    pieces: tuple[tuple[int, int], ...] = ()
    """first sample, and the one after the last, of each segment: in order, without overlaps. Empty
    where the recording is short enough to stay whole."""
    left_out: int = 0
    """samples of silence in no segment"""
    lost: tuple[tuple[int, int], ...] = ()
    """stretches in which something is heard, and that are too short for a segment"""
    forced: int = 0
    """cuts where there is no pause"""
