"""Raters who did not hear what everyone hears are removed before anything is computed.

The rule is that of EnCodec's paper (Défossez et al., "High Fidelity Neural Audio Compression",
2022): those who rate the hidden reference below 90 in at least 20% of their screens,
or the low anchor above 80 in more than 50%. The training is not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from pipelines.listening.analysing.ratings import Rater
from pipelines.listening.folder import LOW_ANCHOR, REFERENCE, Design
from pipelines.listening.options import AnalyseOptions


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is made of a rater."""

    rater: str
    source: str
    screens: int
    reference_missed: int
    anchor_missed: int
    why: tuple[str, ...]
    """removed for these; none keeps the rater"""

    @property
    def kept(self) -> bool:
        return not self.why


def screen_raters(
    raters: Sequence[Rater], design: Design, options: AnalyseOptions
) -> list[Verdict]:
    """Judge each rater."""
    return [_judged(rater, design, options) for rater in raters]


def _judged(rater: Rater, design: Design, options: AnalyseOptions) -> Verdict:
    screens = {screen.id: screen for screen in design.screens}
    scores = [
        {one.system: rated.scores[one.id] for one in screens[name].stimuli}
        for name, rated in rater.counted().items()
    ]
    count = len(scores)
    reference = sum(own[REFERENCE] < options.reference_below for own in scores)
    anchor = sum(own[LOW_ANCHOR] > options.anchor_above for own in scores)
    why = []
    if not count:
        why.append("rated no screen")
    # Shares of whole numbers are compared as such: 20% of 5 screens is exactly one.
    elif Fraction(reference, count) >= Fraction(str(options.reference_share)):
        why.append(
            f"rated the hidden reference below {options.reference_below:g} in {reference} of "
            f"{count} screens ({options.reference_share:.0%} or more)"
        )
    if count and Fraction(anchor, count) > Fraction(str(options.anchor_share)):
        why.append(
            f"rated the low anchor above {options.anchor_above:g} in {anchor} of {count} screens "
            f"(more than {options.anchor_share:.0%})"
        )
    return Verdict(rater.name, rater.source, count, reference, anchor, tuple(why))
