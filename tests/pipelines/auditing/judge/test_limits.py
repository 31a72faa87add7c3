"""Limits on means."""

from __future__ import annotations

import pytest

from pipelines.auditing.judge.limits import missed_limits
from pipelines.auditing.results import Figure, RecordingAudit


def test_limits_by_the_mean_and_not_applicable_is_missed() -> None:
    def one(id: str, value: float | None) -> RecordingAudit:
        return RecordingAudit(
            id,
            "s",
            "sample",
            "u",
            1.0,
            1.0,
            48_000,
            2,
            figures={"visqol": Figure(value), "level": Figure(value)},
        )

    asked = {"visqol": 3.5}
    assert missed_limits(asked, [one("a", 3.0), one("b", 4.2)]) == []
    missed = missed_limits(asked, [one("a", 3.0), one("b", 3.2), one("c", None)])
    assert missed[0].mean == pytest.approx(3.1) and missed[0].worst == "a"
    assert missed_limits(asked, [one("a", None)])[0].mean is None
    missed = missed_limits({"level": 2.0}, [one("a", -3.0), one("b", 1.5)])
    assert missed[0].worst == "a" and "2.250 in the mean of its size" in missed[0].describe()
    assert missed_limits(asked, [one("a", float("nan"))])
