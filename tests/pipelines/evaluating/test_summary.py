from __future__ import annotations

import statistics
import zlib

import numpy as np
import pytest

from pipelines.evaluating.folder import Evaluation, Excerpt, Point
from pipelines.evaluating.summary import EVERYTHING, Summary, estimate, measured, summarise
from pipelines.evaluating.tables import cell, notes


def test_the_bootstrap_is_that_of_the_book() -> None:
    """One draw after the other, recordings with all of their excerpts, in plain Python."""
    values = [("a", 1.0), ("a", 3.0), ("b", 2.5), ("c", 7.0), ("d", -1.0), ("d", 0.0), ("d", 2.0)]
    found = estimate(values, 5, "line", resamples=300)
    own: dict[str, list[float]] = {}
    for name, value in values:
        own.setdefault(name, []).append(value)
    rng = np.random.default_rng([5, zlib.crc32(b"line")])
    means = []
    for drawn in rng.integers(4, size=(300, 4)):
        taken = [value for one in drawn for value in list(own.values())[one]]
        means.append(statistics.fmean(taken))
    low, high = np.quantile(means, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)
    assert found.mean == pytest.approx(statistics.fmean(value for _, value in values))
    assert found.median == statistics.median(value for _, value in values)
    assert (found.excerpts, found.recordings) == (7, 4)


def test_the_interval_has_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    within = 0
    for number in range(200):
        values = [(str(i), float(v)) for i, v in enumerate(rng.normal(2.0, 1.0, 40))]
        found = estimate(values, number, "x", resamples=400)
        within += found.low <= 2.0 <= found.high
    assert 180 <= within <= 198


def test_other_lines_change_no_figure() -> None:
    values = [(str(i), float(i)) for i in range(9)]
    assert estimate(values, 0, "a") == estimate(values, 0, "a")
    assert estimate(values, 0, "a").low != estimate(values, 1, "a").low or (
        estimate(values, 0, "a").high != estimate(values, 1, "a").high
    )


def excerpt(name: str, domain: str) -> Excerpt:
    return Excerpt(name, domain, "uri", name, 0.0, 2.0, 48_000, 2)


def test_lines_by_domain_and_what_is_missing() -> None:
    excerpts = [excerpt("a", "music"), excerpt("b", "music"), excerpt("c", "speech")]
    points = [Point("x-6", "x", 6.0), Point("y-6", "y", 6.0)]

    def row(bits: int, value: float) -> dict[str, object]:
        return {
            "seconds": 2.0,
            "bits": bits,
            "entropy_bits": None,
            "encode_seconds": 0.1,
            "decode_seconds": 0.05,
            "figures": {"si-snr": value, "stoi": None},
            "reasons": {"stoi": "of speech only"},
        }

    rows = {
        ("a", "x-6"): row(12_000, 1.0),
        ("b", "x-6"): row(14_000, 3.0),
        ("c", "x-6"): row(12_000, 5.0),
        ("a", "y-6"): {"missing": "it comes to 9 kbps"},
        ("b", "y-6"): row(12_400, 2.0),
    }
    summary = summarise(excerpts, points, rows, ["si-snr", "stoi"], 0)
    found = {(line.domain, line.point.name): line for line in summary.lines}
    assert list(found) == [
        ("music", "x-6"),
        ("music", "y-6"),
        ("speech", "x-6"),
        (EVERYTHING, "x-6"),
        (EVERYTHING, "y-6"),
    ]
    music = found["music", "x-6"]
    assert music.measured_kbps == pytest.approx(6.5)
    assert music.figures["si-snr"].mean == 2.0 and "stoi" not in music.figures
    assert music.reasons == {"stoi": "of speech only"}
    assert (music.encode_speed, music.decode_speed) == pytest.approx((20, 40))
    assert found[EVERYTHING, "y-6"].excerpts == 1
    assert summary.missing == {"y-6": {"it comes to 9 kbps": 1}}
    assert [point.measured_kbps for point in measured(points, summary)] == [
        pytest.approx(38_000 / 6_000, abs=1e-4),
        6.2,
    ]


def test_reasons_that_differ_in_a_figure_are_one_note() -> None:
    points = (Point("opus-3", "opus", 3.0),)
    said = {f"Opus comes to {kbps} kbps at the nearest": 2 for kbps in (4.0, 4.8, 4.1)}
    summary = Summary((), {"opus-3": {**said, "it ended with exit code 1": 1}})
    evaluation = Evaluation(0, (excerpt("a", "music"),), points)
    found = [note for note in notes(evaluation, summary, ()) if note.startswith("opus-3")]
    assert found == [
        "opus-3: 6 excerpts without a result: Opus comes to 4.0 to 4.8 kbps at the nearest",
        "opus-3: 1 excerpt without a result: it ended with exit code 1",
    ]


def test_cells_have_no_minus_zero() -> None:
    assert cell(None, 2) == ""
    assert cell(estimate([("a", -0.001)], 0, "x"), 2) == "0.00 [0.00, 0.00] (0.00)"
