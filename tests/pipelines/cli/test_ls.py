"""`codecshards ls`: every row of every committed shard, and nothing that a terminal would obey."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from rich.cells import cell_len

from pipelines.cli import ls
from pipelines.cli.main import main
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.rows import Rows
from pipelines.run import tokenize_corpus
from tokenizer import OutputError, ShardError, UsageError

ROOT = Path(__file__).resolve().parents[3]
NASTY = "tab\there\nline \x1b[31mred\\ \u202eback"
TEXTS = [NASTY, "plain", None, "日本語の長い文章" * 12, "", "it's"]
FORMATS = ("parquet", "webdataset")


@pytest.fixture(scope="module")
def outs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same corpus in every format, some shards of it each, and a file that fails."""
    folder = tmp_path_factory.mktemp("ls")
    corpus = folder / "corpus"
    corpus.mkdir()
    rng = np.random.default_rng(0)
    lines = []
    for number, text in enumerate(TEXTS):
        samples = rng.standard_normal((4_000 * (number + 1), 2)).astype(np.float32) * 0.1
        soundfile.write(corpus / f"{number}.wav", samples, 48_000)
        row = {"path": f"{number}.wav", "text": text, "take": number}
        lines.append(row | ({"speaker": "ann"} if number % 2 else {"language": "de"}))
    (corpus / "bad.wav").write_bytes(b"nothing")
    lines.append({"path": "bad.wav"})
    (corpus / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = {}
    for form in FORMATS:
        found[form] = folder / form
        config = TokenizeConfig(
            str(corpus / "list.jsonl"), codec="mulaw", format=form, shard_hours=0.0001
        )
        tokenize_corpus(config, str(found[form]), RunOptions(workers=0, quiet=True))
    assert len(list((found["parquet"] / "data").iterdir())) > 1
    return found


@pytest.fixture(params=FORMATS)
def out(request: pytest.FixtureRequest, outs: dict[str, Path], tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(outs[request.param], tmp_path / "out"))


def stored(out: Path) -> Iterator[dict[str, Any]]:
    """What pyarrow and tarfile read of the shards."""
    for path in sorted((out / "data").iterdir()):
        if path.suffix == ".parquet":
            yield from pq.read_table(path).to_pylist()
            continue
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    yield json.load(tar.extractfile(member))  # type: ignore[arg-type]


def unescaped(cell: str) -> str:
    return cell.replace("\\\\", "\0").replace("\\t", "\t").replace("\\n", "\n").replace("\0", "\\")


def test_every_row_is_a_line_between_tabs(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", str(out)]) == 0
    head, *lines = capsys.readouterr().out.rstrip("\n").split("\n")
    assert head.split("\t") == ["id", "seconds", "speaker", "language", "text"]
    rows = list(stored(out))
    assert len(lines) == len(rows) == len(TEXTS)
    for line, row in zip(lines, rows, strict=True):
        id, seconds, speaker, language, text = line.split("\t")
        assert id == row["id"] and unescaped(text) == (row["text"] or "")
        assert (speaker, language) == (row["speaker"] or "", row["language"] or "")
        assert float(seconds) == pytest.approx(row["num_samples"] / 48_000, abs=1e-6)


def test_json_has_any_column_and_ids_are_alone(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ls", str(out), "--json", "--columns", "all"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for row, expected in zip(found, stored(out), strict=True):
        assert row.pop("seconds") == expected["num_samples"] / 48_000
        assert row.pop("meta") == json.loads(expected["meta"])
        assert row == {name: expected[name] for name in row}
        assert "source_sha256" in row and "codes" not in row
    assert main(["ls", str(out), "--ids"]) == 0
    assert capsys.readouterr().out.splitlines() == [row["id"] for row in stored(out)]


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("seconds > 0.3 and speaker = 'ann'", ["3.wav", "5.wav"]),
        ("text is null", ["2.wav"]),
        ("text like '%it''s%' or num_samples = 4000", ["0.wav", "5.wav"]),
        ("meta->>'take' = '4'", ["4.wav"]),
        ('"source_channels" = 2 and SECONDS < .2', ["0.wav", "1.wav"]),
        ("false", []),
    ],
)
def test_a_condition_is_about_any_column(
    out: Path, capsys: pytest.CaptureFixture[str], where: str, ids: list[str]
) -> None:
    assert main(["ls", str(out), "--ids", "--where", where]) == 0
    assert capsys.readouterr().out.splitlines() == ids


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--where", "loud > 1"], "there is no loud; there are id, num_samples"),
        (["--where", "seconds >"], "--where 'seconds >': Parser Error"),
        (["--columns", "id,codes"], "--columns codes: there is no such column"),
        (["--failures", "--where", "seconds > 1"], "there is no seconds; there are id, kind"),
    ],
)
def test_what_is_not_there_is_told_in_a_line(
    out: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["ls", str(out), *arguments]) == 2
    written = capsys.readouterr()
    lines = written.err.strip().splitlines()
    assert len(lines) == 1 and said in lines[0] and not written.out


def test_failures_are_listed_instead(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", str(out), "--failures"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head == "id\tkind\tstage\tmessage"
    assert line.startswith("bad.wav\tnot_audio\topen\t")
    assert main(["ls", str(out), "--failures", "--ids", "--where", "kind = 'empty'"]) == 0
    assert capsys.readouterr().out == ""


def test_codes_are_not_read(outs: dict[str, Path], tmp_path: Path) -> None:
    out = Path(shutil.copytree(outs["parquet"], tmp_path / "out"))
    for path in (out / "data").iterdir():
        content = bytearray(path.read_bytes())
        group = pq.ParquetFile(path).metadata.row_group(0)
        (codes,) = (
            group.column(at)
            for at in range(group.num_columns)
            if group.column(at).path_in_schema.startswith("codes.")
        )
        start = codes.dictionary_page_offset
        content[start : start + codes.total_compressed_size] = bytes(codes.total_compressed_size)
        path.write_bytes(content)
    assert len(list(Rows(str(out)).rows(["id", "seconds", "text"]))) == len(TEXTS)


def test_only_what_is_committed_counts_and_it_is_said(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = sorted((out / "manifest" / "commits").iterdir())[0]
    everything = len(list(Rows(str(out)).rows(["id"])))
    record.unlink()
    assert main(["ls", str(out), "--ids"]) == 0
    printed = capsys.readouterr()
    assert 0 < len(printed.out.splitlines()) < everything
    assert "shards are committed so far" in printed.err


def test_a_commit_that_was_cut_short_is_there_and_a_lost_file_is_told(out: Path) -> None:
    name = sorted((out / "data").iterdir())[0]
    record = Rows(str(out))._manifest.record(Rows(str(out))._manifest.planned_names()[0])
    assert record.staged is not None
    before = list(Rows(str(out)).rows(["id"]))
    (out / record.staged).parent.mkdir(exist_ok=True)
    name.rename(out / record.staged)
    assert list(Rows(str(out)).rows(["id"])) == before
    (out / record.staged).unlink()
    with pytest.raises(ShardError, match="codecshards verify"):
        list(Rows(str(out)).rows(["id"]))


def test_an_output_anywhere(out: Path) -> None:
    fs = fsspec.filesystem("memory")
    fs.put(str(out), "/ls-out", recursive=True)
    found = list(Rows("memory://ls-out").rows(["id", "text"], "seconds > 0.4"))
    assert found == list(Rows(str(out)).rows(["id", "text"], "seconds > 0.4")) and found
    fs.rm("/ls-out", recursive=True)


def test_a_folder_that_is_no_output(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="not an output"):
        Rows(str(tmp_path))


def test_a_condition_is_judged_also_where_there_is_no_row(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "bad.wav").write_bytes(b"nothing")
    config = TokenizeConfig(str(tmp_path / "corpus"), codec="mulaw")
    tokenize_corpus(config, str(tmp_path / "out"), RunOptions(workers=0, quiet=True))
    rows = Rows(str(tmp_path / "out"))
    assert list(rows.rows(["id"], "seconds > 1")) == [] and "text" in rows.columns()
    with pytest.raises(UsageError, match="there is no foo"):
        list(rows.rows(["id"], "foo > 1"))


@pytest.mark.parametrize("width", [80, 43])
def test_a_table_fits_a_terminal_and_obeys_nothing(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True, raising=False)
    assert main(["ls", str(out)]) == 0
    head, *lines = capsys.readouterr().out.rstrip("\n").split("\n")
    assert head.split() == ["id", "seconds", "speaker", "language", "text"]
    assert len(lines) == len(TEXTS) and all(cell_len(line) <= width for line in lines)
    assert not any("\x1b" in line or "\u202e" in line for line in lines)
    assert [line.split()[0] for line in lines] == [row["id"] for row in stored(out)]


def test_a_long_id_keeps_its_end() -> None:
    assert ls._fit("train-clean-100/19/198/0001.flac", 12, False, True) == "…8/0001.flac"
    assert ls._fit("a long transcript", 8, False, False) == "a long…"[:8].ljust(8)
    assert cell_len(ls._fit("日本語の", 6, False, False)) == 6


def test_a_reader_that_goes_is_no_failure(out: Path) -> None:
    code = (
        f"{sys.executable} -m pipelines ls {out} --columns all --tsv | head -1; "
        'echo "${PIPESTATUS[0]}"'
    )
    ended = subprocess.run(
        ["bash", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    head, status = ended.stdout.splitlines()
    assert head.startswith("id\t") and status == "0" and ended.stderr == ""
