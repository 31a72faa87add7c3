"""A measure or a finding from outside is one row, and is everywhere: in the options, the figures,
the report, the table, the page, the notebook and what the terminal says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from sounds import sound

from pipelines import AuditOptions, audit
from pipelines.auditing.choose.survey import Entry
from pipelines.auditing.judge.evidence import CorpusEvidence, Evidence, Others
from pipelines.auditing.judge.registry import FINDINGS, FindingKind
from pipelines.auditing.measure.registry import MEASURES, Better, Measure
from pipelines.auditing.results import Figure, FindingName, Remark, Severity
from pipelines.cli.main import main
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.run import tokenize_corpus

pytestmark = pytest.mark.usefixtures("kept_decoders")


@pytest.fixture(scope="module")
def tokenized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings of 2 and 3 s."""
    root = tmp_path_factory.mktemp("own")
    (root / "corpus").mkdir()
    for name, seconds in (("a", 2), ("b", 3)):
        samples = sound(48_000 * seconds, seed=seconds).samples
        soundfile.write(root / "corpus" / f"{name}.wav", samples.T, 48_000)
    tokenize_corpus(
        TokenizeConfig(str(root / "corpus"), codec="mulaw"),
        str(root / "out"),
        RunOptions(workers=0, quiet=True),
    )
    return root / "out"


@pytest.fixture
def out(tokenized: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tokenized, tmp_path / "out"))


def data_of(out: Path) -> Any:
    """What the page is given."""
    text = (out / "audit" / "data.js").read_text()
    return json.loads(text[text.index("{") : text.rindex(";")])


def of_windows(source: np.ndarray, decoded: np.ndarray, sample_rate: int) -> Figure:
    return Figure(float(np.abs(source - decoded).max()))


@pytest.mark.parametrize(
    "how",
    [
        {"of_sums": lambda sums: Figure(abs(sums.pair.rms(0) - sums.pair.rms(1)))},
        {"open_window": lambda: of_windows},
    ],
    ids=["sums", "window"],
)
def test_a_measure_is_one_row(
    out: Path,
    how: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = Measure("toy", "toy distance", "V", Better.LOWER, "How far.", note="for fun", **how)
    monkeypatch.setitem(MEASURES, "toy", row)
    with pytest.raises(SystemExit):
        main(["audit", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "toy (default" in said and "--max-toy X" in said
    asked = ["audit", str(out), "--workers", "0", "--quiet", "--all", "--metrics", "mel,toy"]
    assert main([*asked, "--max-toy", "5"]) == 0
    assert main([*asked, "--max-toy", "1e-9"]) == 1
    said = capsys.readouterr().out
    assert "toy V" in said and "limit missed: toy: " in said and "toy: for fun" in said
    report = json.loads((out / "audit" / "report.json").read_text())
    spread = report["figures"]["toy"]
    assert (spread["unit"], spread["recordings"]) == ("V", 2)
    assert [missed["metric"] for missed in report["limits_missed"]] == ["toy"]
    rows = pq.read_table(out / "audit" / "recordings.parquet").to_pylist()
    assert max(each["toy"] for each in rows) == spread["worst"]
    assert [len(each["toy_series"]) for each in rows] == [3, 4]
    data = data_of(out)
    assert data["measures"]["toy"] == {
        "title": "toy distance",
        "unit": "V",
        "better": "lower",
        "help": "How far.",
        "window": row.window,
    }
    assert data["recordings"][0]["figures"]["toy"] == rows[0]["toy"]
    assert len(data["recordings"][0]["series"]["toy"]) == 3
    done = audit(str(out), options=AuditOptions(all=True, metrics=("toy",), quiet=True))
    assert " V, worst " in done._repr_html_()


def short(evidence: Evidence) -> Iterator[Remark]:
    if evidence.row.codes.seconds < 2.5:
        level = evidence.figures["level"].value
        yield Remark("toy", f"{evidence.row.codes.seconds:g} s, level {level:.0f} dB", (0,))


def few_alike(entry: Entry, others: Others) -> Iterator[Remark]:
    if entry.level is not None:
        yield Remark("toy", f"one of {len(others.levels)} levels", severity=Severity.INFO)


def small(evidence: CorpusEvidence) -> Iterator[Remark]:
    if len(evidence.recordings) < 3:
        yield Remark("toy", f"{len(evidence.recordings)} recordings")


@pytest.mark.parametrize(
    ("how", "of_corpus", "recordings", "detail"),
    [
        ({"of_recording": short}, 0, ["a.wav"], "2 s, level"),
        ({"among_others": few_alike}, 0, ["a.wav", "b.wav"], "one of 2 levels"),
        ({"of_corpus": small}, 1, [], "2 recordings"),
    ],
    ids=["recording", "others", "corpus"],
)
def test_a_finding_is_one_row(
    out: Path,
    how: dict[str, Any],
    of_corpus: int,
    recordings: list[str],
    detail: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(
        FINDINGS, "toy", FindingKind("toy", Severity.ERROR, "What it means.", **how)
    )
    code = main(["audit", str(out), "--workers", "0", "--quiet", "--all"])
    said = capsys.readouterr().out
    info = "among_others" in how
    assert code == (0 if info else 1)
    assert f"{'info' if info else 'error'}: toy: " in said and detail in said
    report = json.loads((out / "audit" / "report.json").read_text())
    data = data_of(out)
    for shown in (report, data):
        found = {r["id"]: f for r in shown["recordings"] for f in r["findings"]}
        assert {id for id, finding in found.items() if finding["name"] == "toy"} == set(recordings)
        assert [f["name"] for f in shown["corpus"]["findings"]] == ["toy"] * of_corpus
        assert ["toy"] * bool(recordings) == [counted["name"] for counted in shown["findings"]]
    assert data["meanings"]["toy"] == "What it means."


def test_every_finding_that_ships_has_a_row_and_every_row_a_name() -> None:
    assert set(FINDINGS) == set(FindingName)
    assert all(row.help.endswith(".") and len(row.help) < 80 for row in FINDINGS.values())
