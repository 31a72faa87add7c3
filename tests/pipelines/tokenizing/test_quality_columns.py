"""Columns of quality and `--keep`, from a corpus to what is read of it, by pyarrow and tarfile."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from pipelines import CodesDataset, CodesLoader
from pipelines.cli.main import main
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.inspect import inspect
from pipelines.output.quality.keep import Keep
from pipelines.output.verify import verify
from pipelines.run import tokenize_corpus
from tokenizer import UsageError
from tokenizer.audio.quality import MEASURES

ALL = tuple(MEASURES)
LEVELS = {"a.wav": 0.5, "b.wav": 0.05, "c.wav": 0.25}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three recordings of known peaks, the last one in stereo."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number, (name, level) in enumerate(LEVELS.items()):
        noise = np.random.default_rng(number).uniform(-1, 1, (1 + (name == "c.wav"), 40_000))
        noise *= level / np.abs(noise).max()
        soundfile.write(folder / name, noise.T.astype(np.float32), 16_000, subtype="FLOAT")
    return folder


def run(corpus: Path, out: Path, *more: str) -> int:
    asked = ["tokenize", str(corpus), str(out), "--codec", "mulaw", "--workers", "0", "--quiet"]
    return main([*asked, *more])


def stored(out: Path) -> list[dict[str, Any]]:
    """Rows without arrays, as neither our readers nor our writers see them."""
    rows = []
    for path in sorted((out / "data").iterdir()):
        if path.suffix == ".parquet":
            rows += pq.read_table(path).to_pylist()
        else:
            with tarfile.open(path) as tar:
                for member in tar:
                    if member.name.endswith(".json"):
                        rows.append(json.loads(tar.extractfile(member).read()))  # type: ignore[union-attr]
    return rows


def data_bytes(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "data").iterdir())}


@pytest.mark.parametrize("form", ["parquet", "webdataset"])
def test_the_columns_are_there_whoever_reads_them(corpus: Path, tmp_path: Path, form: str) -> None:
    out = tmp_path / "out"
    assert run(corpus, out, "--format", form, "--quality", "basic") == 0
    rows = stored(out)
    assert [row["id"] for row in rows] == [*LEVELS]
    for row in rows:
        assert all(name in row for name in ALL)
        assert row["peak"] == pytest.approx(20 * np.log10(LEVELS[row["id"]]), abs=1e-4)
        assert 7_800 < row["bandwidth"] <= 8_000
        assert (row["correlation"] is None) == (row["id"] != "c.wav")
    assert verify(str(out)) == []
    spread = inspect(str(out)).quality["peak"]
    assert spread is not None and spread.count == 3
    assert (spread.low, spread.high) == pytest.approx(
        (20 * np.log10(0.05), 20 * np.log10(0.5)), abs=1e-4
    )
    assert "| `peak` | dBFS |" in (out / "README.md").read_text()
    data = CodesDataset(out)
    by_row = {row["id"]: {name: row[name] for name in ALL} for row in rows}
    for number in range(len(data)):
        sample = data.read(number, fields=("quality",))
        assert sample.fields["quality"] == pytest.approx(by_row[sample.id])
    batch = next(iter(CodesLoader(data, 3, threads=0, fields=("quality", "peak"), epochs=1)))
    assert [*batch.fields["peak"]] == pytest.approx([by_row[id]["peak"] for id in batch.ids])
    assert [one["peak"] for one in batch.fields["quality"]] == [*batch.fields["peak"]]


def test_a_run_that_goes_on_and_another_run_give_the_same_bytes(
    corpus: Path, tmp_path: Path
) -> None:
    asked = ("--quality", "basic", "--shard-hours", "0.001", "--keep", "peak > -20")
    for name in ("one", "two"):
        assert run(corpus, tmp_path / name, *asked) == 0
    one = data_bytes(tmp_path / "one")
    assert one and one == data_bytes(tmp_path / "two")
    for commit in (tmp_path / "one" / "manifest" / "commits").iterdir():
        commit.unlink()
        break
    assert run(corpus, tmp_path / "one", *asked) == 0
    assert data_bytes(tmp_path / "one") == one and verify(str(tmp_path / "one")) == []


def test_nothing_is_measured_unless_it_is_asked_for(corpus: Path, tmp_path: Path) -> None:
    assert run(corpus, tmp_path / "out") == 0
    assert not {*stored(tmp_path / "out")[0]} & {*ALL}
    (record,) = (tmp_path / "out" / "manifest" / "commits").iterdir()
    assert "quality" not in json.loads(record.read_text())
    assert inspect(str(tmp_path / "out")).quality == {} and verify(str(tmp_path / "out")) == []
    data = CodesDataset(tmp_path / "out")
    assert len(data) == 3 and data.measures == ()


@pytest.mark.parametrize("form", ["parquet", "webdataset"])
def test_what_keep_leaves_out_is_in_the_ledger_and_no_failure(
    corpus: Path, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    asked = ("--format", form, "--quality", "peak", "--keep", "peak > -20", "--max-failures", "0")
    for _ in range(2):  # the second has nothing to do
        assert run(corpus, out, *asked) == 0
    assert [row["id"] for row in stored(out)] == ["a.wav", "c.wav"]
    summary = inspect(str(out))
    (left_out,) = summary.failures
    assert (left_out.id, left_out.kind, left_out.stage) == ("b.wav", "filtered", "keep")
    assert "peak -26.02" in left_out.message and "\n" not in left_out.message
    assert (summary.recordings, summary.filtered, summary.failed) == (2, 1, 0)
    assert verify(str(out)) == []


def test_keep_needs_no_measure_and_says_when_nothing_is_left(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    result = tokenize_corpus(
        TokenizeConfig(source=str(corpus), codec="mulaw", keep="seconds > 60"),
        str(out),
        RunOptions(workers=0, quiet=True),
    )
    assert (result.recordings, result.failures, result.filtered) == (0, 0, 3)
    assert "not one of 3 recordings is as --keep 'seconds > 60' asks" in capsys.readouterr().err
    assert verify(str(out)) == []


@pytest.mark.parametrize("channels", ["split", "left"])
def test_a_row_of_one_channel_has_that_channels_numbers(tmp_path: Path, channels: str) -> None:
    (tmp_path / "corpus").mkdir()
    both = np.random.default_rng(3).uniform(-1, 1, (2, 30_000))
    both *= np.array([[0.5], [0.05]]) / np.abs(both).max(axis=1, keepdims=True)
    soundfile.write(tmp_path / "corpus" / "d.wav", both.T, 24_000, subtype="FLOAT")
    asked = ("--channels", channels, "--quality", "peak,correlation")
    assert run(tmp_path / "corpus", tmp_path / "out", *asked) == 0
    rows = stored(tmp_path / "out")
    expected = [20 * np.log10(0.5), 20 * np.log10(0.05)][: len(rows)]
    assert len(rows) == (2 if channels == "split" else 1)
    assert [row["peak"] for row in rows] == pytest.approx(expected, abs=1e-3)
    assert all(row["correlation"] is None for row in rows)
    assert verify(str(tmp_path / "out")) == []


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        ("peek > 1", "there is no peek"),
        ("bandwidth > 7000", "bandwidth would not be measured: give --quality peak,bandwidth"),
        ("random() < 0.5", "another value at the next try"),
        ("peak > -20 and current_date > '2020-01-01'", "another value at the next try"),
        ("count(*) > 1", "leave"),
        ("peak >", "--keep"),
        (" ", "--keep is empty"),
    ],
)
def test_conditions_that_cannot_be_are_refused_before_anything_is_written(
    corpus: Path, tmp_path: Path, keep: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(corpus, tmp_path / "out", "--quality", "peak", "--keep", keep) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_words_in_strings_are_no_functions() -> None:
    assert Keep("text is null or text <> 'now or random()'", ()).expression
    with pytest.raises(UsageError, match="another value"):
        Keep("text = 'it''s' or RANDOM () < 1", ())


def test_a_measure_that_is_not_there_is_refused(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(corpus, tmp_path / "out", "--quality", "mos") == 2
    assert "there is no such measure" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
