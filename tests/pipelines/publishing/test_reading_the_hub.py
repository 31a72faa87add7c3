"""OUT on the Hub (`hf://`): what the commands and the loader say is what they say of the folder
that was pushed. The Hub is a stand-in; the client is `huggingface_hub`'s own file system."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from hub import Hub, stand_in
from huggingface_hub import HfFileSystem
from published import in_both_formats, instead_of_the_hub

from pipelines import push_codes
from pipelines.cli.main import main
from pipelines.loader.dataset import CodesDataset
from pipelines.output.config import RunOptions

NAME = "someone/codes"
HERE = RunOptions(workers=0, quiet=True)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setenv("CODECSHARDS_PATIENCE", "2")
    with stand_in() as hub, instead_of_the_hub(hub, monkeypatch, tmp_path / "cache"):
        yield hub


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return in_both_formats(tmp_path_factory.mktemp("made"), "speech", broken=False)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(list(arguments)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


@pytest.mark.parametrize(("form", "private"), [("parquet", True), ("webdataset", False)])
def test_the_commands_and_the_loader_read_what_was_pushed(
    made: dict[str, Path],
    form: str,
    private: bool,
    hub: Hub,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, there = str(made[form]), f"hf://datasets/{NAME}"
    push_codes(out, NAME, private=private, quiet=True)
    columns = ("--columns", "id,seconds,text")
    assert said(capsys, "ls", there, *columns) == said(capsys, "ls", out, *columns)
    where = ("--where", "text is not null", "--ids")
    assert said(capsys, "ls", there, *where) == said(capsys, "ls", out, *where)
    one, other = (json.loads(said(capsys, "inspect", place, "--json")) for place in (there, out))
    for key in ("codec", "complete", "hours"):
        assert one[key] == other[key]
    assert one["recordings"]["tokenized"] == other["recordings"]["tokenized"] == 6
    assert "6" in said(capsys, "inspect", there)
    assert "every shard is whole" in said(capsys, "verify", there)
    before, after = CodesDataset(out), CodesDataset(there)
    assert [row.id for row in after] == [row.id for row in before]
    for number in range(len(before)):
        pair = [rows.read(number, None, ("text",)) for rows in (before, after)]
        assert np.array_equal(pair[0].codes, pair[1].codes)
        assert pair[0].fields == pair[1].fields
    id = before[2].id
    for place, name in ((there, "there.wav"), (out, "here.wav")):
        said(capsys, "decode", place, id, "-o", str(tmp_path / name))
    sounds = [soundfile.read(tmp_path / name)[0] for name in ("there.wav", "here.wav")]
    assert np.array_equal(*sounds)
    some = ("--where", "text is not null", "--workers", "0", "--quiet")
    for place, name in ((there, "there"), (out, "here")):
        said(capsys, "decode", place, *some, "--to", str(tmp_path / name))
    tables = [(tmp_path / name / "table.csv").read_text() for name in ("there", "here")]
    assert tables[0] == tables[1] and tables[0].count("\n") == 4


def test_what_is_not_there_is_one_line(
    made: dict[str, Path],
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    push_codes(str(made["parquet"]), NAME, private=True, quiet=True)

    def refused(place: str, *words: str) -> None:
        for command in (
            ["ls", place],
            ["inspect", place],
            ["verify", place],
            ["decode", place, "a.wav", "-o", str(tmp_path / "a.wav")],
            ["decode", place, "--all", "--to", str(tmp_path / "to"), "--quiet"],
        ):
            HfFileSystem.clear_instance_cache()
            assert main(command) == 2
            told = capsys.readouterr().err
            assert told.count("\n") == 1 and all(word in told for word in words), told

    refused("hf://datasets/someone/other", "hf://datasets/someone/other", "HF_TOKEN")
    refused(f"hf://datasets/{NAME}@nowhere", "HF_TOKEN")
    hub.files["someone/empty"] = {"README.md": b"nothing"}
    refused("hf://datasets/someone/empty", "someone/empty")
    refused("hf://datasets", "hf://datasets")
    monkeypatch.setenv("HF_TOKEN", "hf_somebody_else")
    refused(f"hf://datasets/{NAME}", "HF_TOKEN")


def test_what_is_on_the_hub_is_not_written_to(
    made: dict[str, Path], hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    push_codes(str(made["parquet"]), NAME, quiet=True)
    commits, there = len(hub.commits), f"hf://datasets/{NAME}"
    for command in (
        ["adopt", there],
        ["reshard", str(made["parquet"]), there],
        ["tokenize", str(made["parquet"].parent / "speech"), f"{there}/new", "--codec", "mulaw"],
    ):
        assert main([*command, *(["--workers", "0"] if "tokenize" in command else [])]) == 2
        told = capsys.readouterr().err.splitlines()[-1]
        assert "can be read, not changed" in told or "holds files that no manifest" in told, told
    assert len(hub.commits) == commits


def test_a_shard_is_listed_by_its_footer_not_by_its_codes(
    made: dict[str, Path], hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    """A thousand shards of 100 MB are not fetched to say how many rows they have."""
    from pipelines.output.bare.shards import bare_shards, counted_rows
    from pipelines.output.storage import open_storage

    content = next(iter((made["parquet"] / "data").iterdir())).read_bytes()
    hub.files[NAME] = {"data/train-00000-of-00001.parquet": content}
    monkeypatch.setattr("huggingface_hub.hf_file_system.HfFileSystem.cat_file", None)
    storage = open_storage(f"hf://datasets/{NAME}")
    assert counted_rows(storage, bare_shards(storage))[0][0] >= 1


def test_a_copy_of_data_alone(
    made: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(made["parquet"] / "data", copy)
    whole = str(made["parquet"])
    assert said(capsys, "ls", str(copy)) == said(capsys, "ls", whole)
    assert main(["ls", str(copy), "--failures"]) == 2
    assert "no manifest" in capsys.readouterr().err
    assert "every shard is whole" in said(capsys, "verify", str(copy))
    first, *_, last = sorted(copy.iterdir())
    damaged = bytearray(first.read_bytes())
    damaged[_inside_codes(first)] ^= 0xFF
    first.write_bytes(damaged)
    last.unlink()
    assert main(["verify", str(copy)]) == 1
    told = capsys.readouterr().out.splitlines()
    assert any(first.name in line and "damaged" in line for line in told), told
    assert any("shards are there" in line for line in told)
    shutil.copy(sorted(copy.iterdir())[1], copy / "train-99999.parquet")
    assert main(["verify", str(copy)]) == 1
    assert "two recordings have the id" in capsys.readouterr().out


def _inside_codes(path: Path) -> int:
    """A byte of the codes themselves: heads of pages have no checksum."""
    columns = pq.ParquetFile(path).metadata.row_group(0)
    found = (columns.column(number) for number in range(columns.num_columns))
    (codes,) = (one for one in found if one.path_in_schema.startswith("codes."))
    return int(codes.data_page_offset + codes.total_compressed_size // 2)
