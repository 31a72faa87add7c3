"""Screening, figures and files of ratings, against what is worked out by hand or printed."""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.listening.analysing.analyse import Analysis, analyse
from pipelines.listening.analysing.statistics import holm, mean_of, student_quantile, wilcoxon
from pipelines.listening.folder import Design
from pipelines.listening.making.make import make
from pipelines.listening.options import AnalyseOptions, MakeOptions
from tokenizer.errors import UsageError

HONEST = {"reference": 100, "good-6": 80, "fair-6": 60, "poor-3": 40, "anchor-3.5": 20}


def result(
    design: Design, rater: str, by_screen: Mapping[str, Mapping[str, int]], **more: Any
) -> dict[str, Any]:
    """A file that the page would make: systems' scores by screen."""
    screens = {}
    for name, scores in by_screen.items():
        screen = design.screen(name)
        assert screen is not None
        own = {one.id: {**HONEST, **scores}[one.system] for one in screen.stimuli}
        screens[name] = {"scores": own, "comment": "", "seconds": 9, "time": "2026-01-01"}
    head = {"format": 1, "test": design.id, "rater": rater, "session": f"of {rater}"}
    return {**head, "device": "headphones", "comment": "", "screens": screens, **more}


def write(folder: Path, *values: Any) -> list[str]:
    """Files of results, by name."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number}.json" for number in range(len(values))]
    for path, value in zip(paths, values, strict=True):
        path.write_text(json.dumps(value))
    return [str(path) for path in paths]


def analysed(made: tuple[Path, Design], *values: Any, **options: Any) -> Analysis:
    folder, _ = made
    paths = write(folder.parent / "sent", *values)
    return analyse(str(folder), paths, AnalyseOptions(**options))


def removed(done: Analysis) -> dict[str, tuple[str, ...]]:
    return {one.rater: one.why for one in done.verdicts if not one.kept}


def test_a_small_example_worked_by_hand(made: tuple[Path, Design]) -> None:
    """Three raters of two screens each; the third misses the reference in one of two."""
    _, design = made
    done = analysed(
        made,
        result(design, "a", {"s001": {"good-6": 80, "fair-6": 60}, "s002": {"good-6": 90}}),
        result(design, "b", {"s001": {"good-6": 70, "fair-6": 64}, "s002": {"good-6": 84}}),
        result(design, "c", {"s001": {"reference": 89}, "s002": {}}),
    )
    assert removed(done) == {
        "c": ("rated the hidden reference below 90 in 1 of 2 screens (20% or more)",)
    }
    line = next(one for one in done.lines if (one.domain, one.name) == ("all", "good-6"))
    # 80, 90, 70, 84: mean 81, s = sqrt((1 + 81 + 121 + 9) / 3) = 8.406; t(0.975, 3) = 3.182446
    assert line.mean.value == 81 and line.median == 82 and line.mean.count == 4
    assert line.mean.half == pytest.approx(3.182446 * math.sqrt(212 / 3) / 2, rel=1e-6)
    assert (line.system, line.kbps, line.measured_kbps) == ("good", 6.0, 6.08)
    assert "| good | 6 | 6.08 | 81.0 ± 13.4 | 82 | 4 |" in done.table
    # good less fair: a 20 and 30, mean 25; b 6 and 24, mean 15. Two raters: p = 2 / 4
    pair = next(one for one in done.pairs if (one.first, one.second) == ("fair-6", "good-6"))
    assert pair.difference.value == -20 and pair.difference.count == 2 and pair.p == 0.5
    assert pair.p_holm == 1.0
    assert {one.screen: one.ratings for one in done.few} == {
        "s001": 2,
        "s002": 2,
        "s003": 0,
        "s004": 0,
    }


@pytest.mark.parametrize(
    ("missed", "of", "kept"), [(1, 4, False), (0, 4, True), (1, 1, False), (1, 2, False)]
)
def test_the_reference_may_be_missed_in_less_than_a_fifth(
    made: tuple[Path, Design], missed: int, of: int, kept: bool
) -> None:
    _, design = made
    names = [screen.id for screen in design.screens[:of]]
    by_screen = {name: {"reference": 89 if n < missed else 90} for n, name in enumerate(names)}
    done = analysed(made, result(design, "a", by_screen), result(design, "b", {"s001": {}}))
    assert ("a" not in removed(done)) == kept


def test_a_fifth_of_five_screens_is_a_fifth(evaluation: Path, tmp_path: Path) -> None:
    options = MakeOptions(excerpts=3, seconds=1.0, quiet=True)
    five = (tmp_path / "five", make(str(evaluation), str(tmp_path / "five"), options))
    by_screen = {one.id: {"reference": 90} for one in five[1].screens}
    assert len(by_screen) == 5
    other = result(five[1], "b", {"s001": {}})
    assert not removed(analysed(five, result(five[1], "a", by_screen), other))
    by_screen["s003"]["reference"] = 89
    assert set(removed(analysed(five, result(five[1], "a", by_screen), other))) == {"a"}


def test_the_anchor_may_be_missed_in_half(made: tuple[Path, Design]) -> None:
    _, design = made
    names = [screen.id for screen in design.screens]
    for high, kept in ((2, True), (3, False)):
        by_screen = {name: {"anchor-3.5": 81 if n < high else 80} for n, name in enumerate(names)}
        done = analysed(made, result(design, "a", by_screen), result(design, "b", {"s001": {}}))
        assert ("a" not in removed(done)) == kept
    # Training does not count, however it is rated.
    training = {"training": {"reference": 0, "anchor-3.5": 100}, "s001": {}}
    assert not removed(analysed(made, result(design, "a", training)))
    # Beyond the paper's, as asked for: 1 of 4 is within 30%, and exactly 25% is not below 25%.
    by_screen = {name: {"reference": 89 if name == "s001" else 100} for name in names}
    assert not removed(analysed(made, result(design, "a", by_screen), reference_share=0.3))
    with pytest.raises(UsageError, match="screening has removed every rater"):
        analysed(made, result(design, "a", by_screen), reference_share=0.25)


def test_students_quantiles_are_those_of_printed_tables() -> None:
    table = {1: 12.7062, 2: 4.3027, 3: 3.1824, 5: 2.5706, 9: 2.2622, 30: 2.0423, 120: 1.9799}
    for freedom, wanted in table.items():
        assert student_quantile(0.975, freedom) == pytest.approx(wanted, abs=5e-5)
    assert student_quantile(0.95, 10) == pytest.approx(1.8125, abs=5e-5)
    values = [3, 4, 8, 10, 1]
    assert mean_of(values).value == fmean(values)
    assert mean_of(values).half == pytest.approx(2.776445 * stdev(values) / math.sqrt(5))
    assert mean_of([7]).half is None


def test_wilcoxon_counts_all_signs() -> None:
    def by_hand(values: list[int]) -> float:
        """Every choice of signs, one by one."""
        sizes = sorted(abs(value) for value in values if value)
        rank = {size: fmean(i + 1 for i, one in enumerate(sizes) if one == size) for size in sizes}
        ranks = [rank[size] for size in sizes]
        total = sum(ranks)
        seen = sum(rank[abs(value)] for value in values if value > 0)
        sums = [
            sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign)
            for signs in itertools.product((0, 1), repeat=len(ranks))
        ]
        extreme = sum(min(one, total - one) <= min(seen, total - seen) for one in sums)
        return extreme / len(sums)

    for values in (
        [1, 2, 3, 4, 5],
        [1, -2, 3, 4, 5, 6],
        [2, 2, 2, -2, 5, 0, 0],
        [-1, 1, -1, 1],
        [9],
        [3, -7, 8, 8, 12, -1, 4, 20, -5, 6],
    ):
        found = wilcoxon([Fraction(value) for value in values])
        assert found == pytest.approx(min(1.0, by_hand(values)), abs=1e-12)
    assert wilcoxon([Fraction(0)] * 3) == 1.0
    # Beyond what is counted, the normal distribution is near the exact one.
    many = [Fraction(n if n % 5 else -n) for n in range(1, 201)]
    assert wilcoxon(many) == pytest.approx(wilcoxon([*many, Fraction(0)]), rel=1e-9)
    uneven = [Fraction(n if n % 9 < 5 else -n) for n in range(1, 201)]
    assert wilcoxon([*uneven, Fraction(1, 2)]) == pytest.approx(wilcoxon(uneven), rel=0.05)


def test_holms_correction() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_files_that_cannot_be_used_are_named_and_cost_themselves_only(
    made: tuple[Path, Design],
) -> None:
    folder, design = made
    good = result(design, "anna", {"s001": {}, "s002": {}})
    other = {**good, "test": "other", "session": "x"}
    partly = result(design, "ben", {"s001": {}, "s002": {}})
    partly["screens"]["s002"]["scores"].popitem()
    partly["screens"]["s777"] = partly["screens"]["s001"]
    sent = folder.parent / "sent"
    write(sent, good, other, partly, [1], {"screens": 7}, good)
    (sent / "cut.json").write_text('{"screens": ')
    (sent / "deep.json").write_text("[" * 100_000)
    (sent / "notes.txt").write_text("no ratings")
    done = analyse(str(folder), [str(sent)], AnalyseOptions())
    assert [one.rater for one in done.verdicts] == ["anna", "ben"]
    assert len(done.collected.problems) == 7 and len(done.collected.twice) == 1
    text = " ".join(done.collected.problems)
    for words in ("1.json: of another test", "s777: no such screen", "cut.json: no JSON"):
        assert words in text
    assert "What was not used" in done.table
    written = json.loads((folder / "analysis" / "analysis.json").read_text())
    assert written["problems"] == done.collected.problems


def test_half_an_emoji_costs_nothing(made: tuple[Path, Design]) -> None:
    """As a browser leaves one at the end of a text that it has cut."""
    folder, design = made
    sent = result(design, "a\ud83d", {"s001": {}, "s002": {}}, comment="b\ude00")
    sent["screens"]["s001"]["comment"] = "too loud \ud83d"
    done = analysed(made, sent)
    assert [one.rater for one in done.verdicts] == ["a\ud83d"] and "a" in done.table
    rows = pq.read_table(folder / "analysis" / "ratings.parquet").to_pylist()
    assert {row["rater"] for row in rows} == {"a\\ud83d"} and all(row["kept"] for row in rows)
    assert {row["comment"] for row in rows} == {"", "too loud \\ud83d"}


def test_two_who_gave_one_name_stay_two_and_one_who_sent_twice_is_one(
    made: tuple[Path, Design],
) -> None:
    _, design = made
    first = result(design, "1", {"s001": {}})
    more = result(design, "1", {"s001": {"good-6": 70}, "s002": {}})
    more["screens"]["s001"]["time"] = "2026-01-02"
    other = result(design, "1", {"s001": {}}, session="another")
    done = analysed(made, first, more, other)
    assert [(one.rater, one.screens) for one in done.verdicts] == [("1", 2), ("1 (2)", 1)]
    rows = pq.read_table(made[0] / "analysis" / "ratings.parquet").to_pylist()
    scores = {
        (row["rater"], row["screen"]): row["score"] for row in rows if row["name"] == "good-6"
    }
    assert scores == {("1", "s001"): 70, ("1", "s002"): 80, ("1 (2)", "s001"): 80}
    assert all(row["kept"] for row in rows) and len(rows) == 15


def test_served_lines_and_a_file_of_the_same_rater_are_one(made: tuple[Path, Design]) -> None:
    folder, design = made
    file = result(design, "4", {"s001": {"good-6": 1}, "s002": {}}, session="abc")
    line = {"rater": "4", "session": "abc", "test": design.id, "time": "2025-01-01"}
    served = result(design, "4", {"s001": {"good-6": 77}})["screens"]["s001"]
    (folder / "ratings").mkdir()
    texts = [
        json.dumps({**line, "kind": "join"}),
        json.dumps({**line, "kind": "screen", "screen": "s001", **served}),
        json.dumps({**line, "kind": "about", "device": "loudspeakers", "comment": "loud"}),
        '{"rater": "4", "kind": "scr',
        json.dumps({**line, "test": "older"}),
    ]
    (folder / "ratings" / "served.jsonl").write_text("\n".join(texts) + "\n")
    done = analysed(made, file)
    (rater,) = done.collected.raters
    good = next(one.id for one in design.screens[0].stimuli if one.system == "good-6")
    assert rater.name == "4" and set(rater.screens) == {"s001", "s002"}
    assert rater.screens["s001"].scores[good] == 77  # what was served stays
    assert len(done.collected.problems) == 2


def test_results_of_webmushra_are_read(made: tuple[Path, Design]) -> None:
    folder, design = made
    path = folder.parent / "mushra.csv"
    head = ["session_test_id", "session_uuid", "trial_id", "rating_stimulus", "rating_score"]
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow([*head, "rating_time", "rating_comment"])
        for uuid in ("u1", "u2"):
            for name, score in HONEST.items():
                table.writerow([design.id, uuid, "s001", name, score, 1000, ""])
        table.writerow([design.id, "u2", "s002", "reference", 100, 1000, ""])
    done = analyse(str(folder), [str(path)], AnalyseOptions())
    assert [one.screens for one in done.verdicts] == [1, 1]
    assert len(done.collected.problems) == 1 and "s002" in done.collected.problems[0]
    line = next(one for one in done.lines if one.name == "fair-6")
    assert (line.mean.value, line.mean.count) == (60, 2)


def test_refusals_of_analyse(made: tuple[Path, Design], tmp_path: Path) -> None:
    folder, _ = made
    with pytest.raises(UsageError, match="no ratings: name the files"):
        analyse(str(folder), [], AnalyseOptions())
    with pytest.raises(UsageError, match=r"nobody\.json: no such file"):
        analyse(str(folder), ["nobody.json"], AnalyseOptions())
    with pytest.raises(UsageError, match=r"no test\.json there"):
        analyse(str(tmp_path), [], AnalyseOptions())
    with pytest.raises(UsageError, match="--reference-share 20"):
        AnalyseOptions(reference_share=20)
    (folder / "test.json").write_text("{}")
    with pytest.raises(UsageError, match="make the test again"):
        analyse(str(folder), [], AnalyseOptions())


def test_names_of_raters_are_no_markup(made: tuple[Path, Design]) -> None:
    folder, design = made
    name = "<script>alert(1)</script>|\x1b[31m"
    done = analysed(
        made,
        result(design, name, {"s001": {"reference": 0}}),
        result(design, "b", {"s001": {}}),
    )
    page = (folder / "analysis" / "index.html").read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page and page.count("<svg") >= 2
    assert "\x1b" not in done.table and "\\|" in done.table
