"""Limits on the mean of a measure over the audited recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.auditing.measure.registry import MEASURES, Better
from pipelines.auditing.results import RecordingAudit
from pipelines.system.words import fixed


@dataclass(frozen=True, slots=True)
class LimitMissed:
    """A limit that the recordings did not keep."""

    metric: str
    limit: float
    mean: float | None
    """over the recordings where the measure applies; None when it applied to none"""
    worst: str | None
    """id of the worst one"""

    def describe(self) -> str:
        """One line."""
        better = MEASURES[self.metric].better
        side = "at least" if better is Better.HIGHER else "at most"
        what = "in the mean of its size" if better is Better.ZERO else "in the mean"
        mean = (
            "not applicable to any recording"
            if self.mean is None
            else f"{fixed(self.mean, 3)} {what}"
        )
        return f"{self.metric}: {mean}, {side} {self.limit:g} was asked for" + (
            f"; worst: {self.worst}" if self.worst else ""
        )


def missed_limits(
    limits: Mapping[str, float], recordings: Sequence[RecordingAudit]
) -> list[LimitMissed]:
    """The limits, by metric, that are not kept by the mean over recordings; a limit on a measure
    that applied to none is missed."""
    missed = []
    for metric, limit in limits.items():
        row = MEASURES[metric]
        known = [
            (recording.figures[metric].value, recording.id)
            for recording in recordings
            if metric in recording.figures
        ]
        values = [(row.badness(value), value, id) for value, id in known if value is not None]
        if not values:
            missed.append(LimitMissed(metric, limit, None, None))
        elif not sum(bad for bad, _, _ in values) / len(values) <= row.badness(limit):
            # Not kept by a NaN either.
            mean = sum(row.size(value) for _, value, _ in values) / len(values)
            missed.append(LimitMissed(metric, limit, mean, max(values)[2]))
    return missed
