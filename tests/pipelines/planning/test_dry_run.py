"""`codecshards plan` against what a run then makes of the same corpus."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from corpora import write_corpus

from pipelines.cli.main import main
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.manifest.commits import Manifest
from pipelines.output.storage import open_storage
from pipelines.planning.lengths import Histogram
from pipelines.run import tokenize_corpus

HERE = RunOptions(workers=0, quiet=True)
MULAW = ["--codec", "mulaw", "--bandwidth", "24"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("plan") / "corpus", 9)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """What the command says as JSON."""
    assert main(["plan", *arguments, "--quiet", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_run_does_what_was_planned(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = said(capsys, str(corpus), *MULAW, "--shard-hours", "0.002")
    config = TokenizeConfig(source=str(corpus), codec="mulaw", bandwidth=24.0, shard_hours=0.002)
    result = tokenize_corpus(config, str(tmp_path / "out"), HERE)
    assert found["shards"]["count"] == result.shards > 1
    assert found["recordings"] == result.recordings + result.failures == 10
    assert found["text"]["recordings"] == 3
    assert found["seconds"] == pytest.approx(
        sum(
            shard.seconds
            for shard in Manifest(open_storage(str(tmp_path / "out"))).read_plan().shards
        ),
        rel=1e-3,
    )
    assert sum(one["recordings"] for one in found["lengths"]["histogram"]) == 10


def test_rows_that_cannot_be_used_are_counted_with_their_reasons(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "text", "speaker", "language", "start", "end"])
        writer.writerow([corpus / "000.wav", "one", "anna", "de", 0.0, 0.5])
        writer.writerow([corpus / "000.wav", "two", "berta", "de", 0.5, 0.1])
        writer.writerow([tmp_path / "gone.wav", "three", "anna", "de", "", ""])
    found = said(capsys, str(table), *MULAW)
    assert (found["recordings"], found["segments"]) == (1, 1)
    assert found["rejected"]["by_kind"] == {"bad_row": 1, "not_found": 1}
    assert found["speakers"] == {"recordings": 1, "distinct": 1}
    assert found["languages"]["by_recordings"] == {"de": 1}
    assert main(["plan", str(table), *MULAW, "--quiet"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "gone.wav: no such file" in text and "rejected" in text


def test_it_reads_well_at_80_columns_and_in_ascii(
    corpus: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["plan", str(corpus), *MULAW, "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    names = [line.split()[0] for line in lines if line[:1].isalpha()]
    assert names[:5] == ["source", "recordings", "audio", "text", "speakers"]
    monkeypatch.setattr("pipelines.cli.plan._draws", lambda encoding: False)
    assert main(["plan", str(corpus), *MULAW, "--quiet"]) == 0
    assert capsys.readouterr().out.isascii()


def test_without_the_codec_it_says_all_but_the_codes(
    corpus: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = said(capsys, str(corpus), "--codec", "nobody/knows_this_codec")
    assert found["recordings"] == 10 and found["codes"] is None
    assert "not on this machine" in found["time"]["basis"]


def test_channels_that_a_run_would_split_are_planned_as_rows(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = said(capsys, str(corpus), *MULAW)
    split = said(capsys, str(corpus), *MULAW, "--channels", "split")
    stereo = sum(number % 2 == 1 for number in range(9)) + 1
    assert split["recordings"] == whole["recordings"] + stereo
    assert any("--channels split" in note for note in split["notes"])


def test_several_sources_are_one_corpus(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_corpus(tmp_path / "other", 2, broken=False)
    found = said(capsys, str(corpus), str(other), *MULAW)
    assert [part["recordings"] for part in found["sources"]] == [10, 2]


def test_what_cannot_be_planned_is_one_line(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, word in (
        ([str(tmp_path / "none")], "no such"),
        ([str(corpus), str(tmp_path / "out")], "plan takes no OUT"),
        ([str(corpus), "--shard-hours", "0"], "--shard-hours"),
        ([str(corpus), "--workers", "-1"], "--workers"),
    ):
        assert main(["plan", *arguments, "--quiet"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert word in line
    assert not (tmp_path / "out").exists()


def test_a_histogram_counts_every_length_once() -> None:
    histogram = Histogram()
    for seconds in (0.1, 0.999, 1.0, 5.0, 9_000.0):
        histogram.add(seconds)
    assert histogram.count == 5 and histogram.seconds == pytest.approx(9_007.099)
    assert (histogram.shortest, histogram.longest) == (0.1, 9_000.0)


@pytest.mark.parametrize("form", ["parquet", "webdataset"])
def test_an_output_folder_is_called_one(
    form: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    config = TokenizeConfig(source=str(corpus), codec="mulaw", bandwidth=24.0, format=form)
    tokenize_corpus(config, out, HERE)
    assert main(["plan", str(corpus), f"{out}/", *MULAW, "--quiet"]) == 2
    assert "an output folder of codecshards" in (said := capsys.readouterr().err)
    assert "plan takes no OUT" in said and said.count("\n") == 1


def test_hours_are_those_of_the_headers(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = said(capsys, str(corpus), *MULAW)
    lengths = found["lengths"]
    assert (lengths["from_headers"], lengths["estimated_from_headers"]) == (9, 1), "one was cut"
    config = TokenizeConfig(source=str(corpus), codec="mulaw", bandwidth=24.0)
    result = tokenize_corpus(config, str(tmp_path / "out"), HERE)
    broken = (corpus / "broken.wav").stat().st_size / (2 * 48_000 * 2)
    assert found["seconds"] - result.seconds == pytest.approx(broken, abs=0.2)
