"""Folders that are made from others: the same rows bit for bit, under the same promises."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import webdataset
import yaml
from listed_corpus import write_list
from loader_data import make_rows, write_output
from stored_rows import by_id, codes_of, stored_rows

from codecshards import (
    CodesDataset,
    audit,
    drop_codes,
    filter_codes,
    merge_codes,
    reshard_codes,
    split_codes,
    tokenize,
)
from pipelines.cli.main import main
from pipelines.output.inspect import inspect
from pipelines.output.verify import verify
from pipelines.reshaping import copying
from tokenizer import OutputError, ShardError, UsageError
from tokenizer.codecs.mulaw import describe_mulaw
from tokenizer.errors import ManifestError
from tokenizer.sealing import seal, unseal

ROOT = Path(__file__).resolve().parents[3]


def files_of(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def data_of(out: Path) -> dict[str, bytes]:
    return {name: content for name, content in files_of(out).items() if name.startswith("data/")}


def records_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(p.read_bytes()) for p in sorted((out / "manifest/commits").iterdir())]


@pytest.mark.parametrize("plan", [None, "x"])
def test_a_configuration_without_a_plan_is_refused_in_a_line(tmp_path: Path, plan: object) -> None:
    out = write_output(tmp_path / "out", make_rows(3, describe_mulaw(6.0), longest=0.2))
    place = out / "manifest/config.json"
    place.write_bytes(seal({**unseal(place.read_bytes()), "plan": plan}))
    for make in (
        lambda new: filter_codes(str(out), new, where="text is null"),
        lambda new: merge_codes([str(out), str(out)], new),
        lambda new: reshard_codes(str(out), new),
        lambda new: split_codes(str(out), new, valid=0.5),
        lambda new: drop_codes(str(out), where="text is null"),
    ):
        with pytest.raises(ManifestError, match="names no plan"):
            make(str(tmp_path / "new"))


def test_filter_keeps_the_rows_that_duckdb_finds(out: Path, outs: dict[str, Path], tmp_path: Path):
    where = "seconds between 0.5 and 2 and language = 'de' and text is not null"
    made = filter_codes(str(out), str(tmp_path / "new"), where=where)
    found = duckdb.sql(
        "select id from (select *, num_samples / sample_rate as seconds from read_parquet("
        f"'{outs['parquet']}/data/*.parquet')) where {where} order by id"
    ).fetchall()
    wanted = [id for (id,) in found]
    before, now = by_id(out), by_id(tmp_path / "new")
    assert sorted(now) == wanted and 0 < len(now) < len(before) and made.recordings == len(now)
    assert now == {id: before[id] for id in now}
    assert verify(str(tmp_path / "new")) == []
    assert [one.id for one in inspect(str(tmp_path / "new")).failures] == ["bad.wav"]
    data = CodesDataset(tmp_path / "new")
    assert [data[i].id for i in range(len(data))] == [
        row["id"] for row in stored_rows(out) if row["id"] in now
    ]


def test_counts_and_quality_are_those_of_the_rows(out: Path, tmp_path: Path):
    reshard_codes(str(out), str(tmp_path / "new"), shard_hours=1)
    (record,) = records_of(tmp_path / "new")
    before = records_of(out)
    for name in ("rows", "frames", "chunks", "num_samples"):
        assert record[name] == sum(one[name] for one in before)
    assert record["flags"] == {
        flag: sum(one["flags"].get(flag, 0) for one in before)
        for flag in sorted({flag for one in before for flag in one["flags"]})
    }
    peaks = [row["peak"] for row in stored_rows(out)]
    found = np.float32(record["quality"]["peak"])
    assert (found[1], found[-1]) == (min(peaks), max(peaks))
    assert record["failures"] == [one for each in before for one in each["failures"]]
    assert record["footer"]["quality"] == before[0]["footer"]["quality"]


@pytest.mark.parametrize("form", ["parquet", "webdataset"])
def test_reshard_gives_the_same_rows_in_another_format(out: Path, tmp_path: Path, form: str):
    new = tmp_path / "new"
    reshard_codes(str(out), str(new), format=form, shard_mb=0.008)
    assert stored_rows(new) == stored_rows(out)  # in order, all columns
    sizes = [path.stat().st_size for path in sorted((new / "data").iterdir())]
    assert len(sizes) > 2 and max(sizes) < 40_000
    assert verify(str(new)) == []
    if form == "webdataset":
        urls = [str(path) for path in sorted((new / "data").iterdir())]
        read = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False).decode())
        assert [row["json"]["id"] for row in read] == [row["id"] for row in stored_rows(out)]


def test_a_shuffle_is_the_same_for_the_same_seed(out: Path, tmp_path: Path, monkeypatch: Any):
    a, b, c = (tmp_path / name for name in "abc")
    reshard_codes(str(out), str(a), shuffle=1, shard_hours=0.004)
    monkeypatch.setattr(copying, "SPOOL", 1)  # a shard at a time
    monkeypatch.setattr(copying, "BUFFER", 1)
    reshard_codes(str(out), str(b), shuffle=1, shard_hours=0.004)
    reshard_codes(str(out), str(c), shuffle=2, shard_hours=0.004)
    assert data_of(a) == data_of(b) != data_of(c)
    assert by_id(a) == by_id(out) == by_id(c)
    orders = [[row["id"] for row in stored_rows(one)] for one in (out, a, c)]
    assert orders[0] != orders[1] != orders[2]
    assert verify(str(a)) == verify(str(b)) == []


def test_fewer_codebooks_are_those_of_a_run_at_that_bandwidth(
    out: Path, corpus: Path, tmp_path: Path
):
    new, scratch = tmp_path / "new", tmp_path / "scratch"
    reshard_codes(str(out), str(new), bandwidth=3)
    tokenize(
        str(corpus), str(scratch), codec="mulaw", bandwidth=3, workers=0, quiet=True,
        quality="peak,silence",
    )  # fmt: skip
    assert by_id(new) == by_id(scratch)
    assert verify(str(new)) == [] and CodesDataset(new).spec.n_q == 2
    for bandwidth in (12, 4.5, 0, -3):
        with pytest.raises(UsageError, match="bandwidth"):
            reshard_codes(str(out), str(tmp_path / "no"), bandwidth=bandwidth)
    assert not (tmp_path / "no").exists()


def test_a_split_has_no_group_twice_and_stays_as_the_corpus_grows(
    outs: dict[str, Path], tmp_path: Path
):
    out = outs["parquet"]
    new = tmp_path / "new"
    split_codes(str(out), str(new), valid=0.3, test=0.2, by="meta.album", seed=3)
    albums = {
        split: {json.loads(row["meta"])["album"] for row in stored_rows(new, f"{split}-")}
        for split in ("train", "valid", "test")
    }
    assert all(albums.values()) and sum(map(len, albums.values())) == 3
    assert by_id(new) == by_id(out) and verify(str(new)) == []
    for split in albums:
        data = CodesDataset(new, split=split)
        assert {data[i].id for i in range(len(data))} == set(by_id(new, f"{split}-"))
    with pytest.raises(UsageError, match=r"several splits \(train, valid, test\): give split="):
        CodesDataset(new)
    front = yaml.safe_load((new / "README.md").read_text().split("---")[1])
    assert [one["split"] for one in front["configs"][0]["data_files"]] == list(albums)

    larger = tmp_path / "larger"
    source = write_list(tmp_path / "corpus", range(60))
    tokenize(str(source), str(larger), codec="mulaw", workers=0, quiet=True)
    for of, to in ((out, "small"), (larger, "large")):
        split_codes(str(of), str(tmp_path / to), valid=0.3)
    for split in ("train", "valid"):
        small, large = (by_id(tmp_path / to, split) for to in ("small", "large"))
        assert small and set(small) <= set(large)


def test_speakers_are_kept_apart_and_rows_without_one_are_alone(out: Path, tmp_path: Path, capsys):
    new = str(tmp_path / "new")
    assert main(["split", str(out), new, "--valid", "0.4", "--by", "speaker", "--seed", "1"]) == 0
    said = capsys.readouterr().err
    assert "5 recordings without speaker: each a group of its own" in said
    assert "% of the seconds" in said
    speakers = [
        {row["speaker"] for row in stored_rows(tmp_path / "new", split)} - {None}
        for split in ("train", "valid")
    ]
    assert all(speakers) and not speakers[0] & speakers[1]


def test_a_share_below_one_group_still_gives_a_split(out: Path, tmp_path: Path, capsys):
    new = str(tmp_path / "new")
    assert main(["split", str(out), new, "--valid", "0.001", "--by", "language"]) == 0
    assert "valid would have been empty" in capsys.readouterr().err
    assert [{row["language"] for row in stored_rows(tmp_path / "new", s)} for s in ("t", "v")] in (
        [{"de"}, {"en"}],
        [{"en"}, {"de"}],
    )
    with pytest.raises(UsageError, match="too few groups"):
        split_codes(str(out), str(tmp_path / "no"), valid=0.1, by="sample_rate")
    with pytest.raises(UsageError, match="no such column"):
        split_codes(str(out), str(tmp_path / "no"), valid=0.1, by="spekaer")
    for shares in ({}, {"valid": 0}, {"valid": 1.5}, {"valid": 0.5, "test": 0.5}):
        with pytest.raises(UsageError, match="valid"):
            split_codes(str(out), str(tmp_path / "no"), **shares)
    assert not (tmp_path / "no").exists()


def test_merging_refuses_what_does_not_belong_together(out: Path, outs: Any, tmp_path: Path):
    small = str(tmp_path / "small")
    reshard_codes(str(out), small, bandwidth=3)
    with pytest.raises(UsageError, match=r"bandwidth: 6 kbps in .*3 kbps in .*--n-q 2"):
        merge_codes([str(out), small], str(tmp_path / "new"))
    with pytest.raises(UsageError, match=r"same id is in two of them: '000.wav', .* --prefix"):
        merge_codes([str(out), small], str(tmp_path / "new"), bandwidth=3)
    with pytest.raises(UsageError, match="given twice"):
        merge_codes([str(out), str(out)], str(tmp_path / "new"), prefix=True)
    with pytest.raises(UsageError, match="two folders or more"):
        merge_codes([str(out)], str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()

    merge_codes([str(out), small], str(tmp_path / "new"), bandwidth=3, prefix=True)
    before, now = by_id(Path(small)), by_id(tmp_path / "new")
    assert now == {
        f"{label}/{id}": {**row, "id": f"{label}/{id}"}
        for label in (out.name, "small")
        for id, row in before.items()
    }
    assert verify(str(tmp_path / "new")) == []


def test_parts_of_a_folder_merge_to_what_it_was(outs: dict[str, Path], tmp_path: Path):
    out = outs["parquet"]
    parts = [str(tmp_path / name) for name in ("short", "long")]
    filter_codes(str(out), parts[0], where="seconds < 1")
    filter_codes(str(out), parts[1], where="seconds >= 1")
    merge_codes(parts, str(tmp_path / "new"), format="webdataset")
    assert by_id(tmp_path / "new") == by_id(out)
    assert verify(str(tmp_path / "new")) == []
    found = inspect(str(tmp_path / "new"))
    assert [one.id for one in found.failures] == ["bad.wav"]  # of both, told once


def test_a_failure_gives_way_to_a_row_of_the_same_id(out: Path, corpus: Path, tmp_path: Path):
    source = tmp_path / "corpus"
    source.mkdir()
    soundfile.write(source / "bad.wav", np.full((9_000, 2), 0.1, np.float32), 48_000)
    mended = tmp_path / "mended"
    tokenize(str(source), str(mended), codec="mulaw", workers=0, quiet=True, quality="peak,silence")
    for order in ([str(out), str(mended)], [str(mended), str(out)]):
        new = tmp_path / f"new{len(list(tmp_path.iterdir()))}"
        merge_codes(order, str(new))
        assert by_id(new) == by_id(out) | by_id(mended)
        assert not inspect(str(new)).failures and verify(str(new)) == []


def test_channels_of_a_recording_stay_together(tmp_path: Path):
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    corpus.mkdir()
    for number in range(8):
        samples = np.random.default_rng(number).standard_normal((20_000, 2)).astype(np.float32)
        soundfile.write(corpus / f"{number}.wav", samples * 0.1, 48_000)
    tokenize(
        str(corpus), str(out), codec="mulaw", channels="split", shard_hours=0.0002, workers=0,
        quiet=True,
    )  # fmt: skip
    reshard_codes(str(out), str(tmp_path / "new"), shuffle=5)
    split_codes(str(out), str(tmp_path / "split"), valid=0.4)
    assert by_id(tmp_path / "new") == by_id(out) == by_id(tmp_path / "split")
    assert len(CodesDataset(tmp_path / "new", channels=2)) == 8
    assert verify(str(tmp_path / "new")) == verify(str(tmp_path / "split")) == []
    of = [{row["id"].split("#")[0] for row in stored_rows(tmp_path / "split", s)} for s in "tv"]
    assert all(of) and not of[0] & of[1]


def kill_at(command: list[str], new: Path, records: int) -> None:
    """Run a command, and kill it for good as soon as it has committed so many shards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "codecshards", *command], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if len(list(new.glob("manifest/commits/*.json"))) >= records:
            break
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait(20)


@pytest.mark.parametrize("more", [[], ["--shuffle", "7"]], ids=["in order", "shuffled"])
def test_what_was_killed_goes_on(outs: dict[str, Path], tmp_path: Path, more: list[str], capsys):
    new, whole = tmp_path / "new", tmp_path / "whole"
    options = ["--shard-hours", "0.0005", *more]
    command = ["reshard", str(outs["parquet"]), str(new), *options]
    kill_at(command, new, 1)
    done = len(list(new.glob("manifest/commits/*.json")))
    before = files_of(new)
    assert main(["reshard", str(outs["parquet"]), str(new), "--shard-hours", "0.001"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "made or begun by another command (" in line and "0.0005 there, 0.001 now" in line
    assert files_of(new) == before
    assert main(command) == 0
    said = capsys.readouterr().err
    total = len(list((new / "data").iterdir()))
    assert done == total or f"resuming: {done} of " in said
    assert main(["reshard", str(outs["parquet"]), str(whole), *options, "--quiet"]) == 0
    assert data_of(new) == data_of(whole) and verify(str(new)) == []
    assert not list(new.rglob("*.tmp")) and not list((new / "manifest/staging").iterdir())
    assert main(command) == 0
    assert "nothing to do" in capsys.readouterr().err


def test_a_parent_that_has_changed_since_is_noticed(own: Path, corpus: Path, tmp_path: Path):
    new = tmp_path / "new"
    filter_codes(str(own), str(new), where="true")
    next((new / "manifest/commits").iterdir()).unlink()
    shutil.rmtree(own)
    tokenize(str(corpus), str(own), codec="mulaw", workers=0, quiet=True, shard_hours=0.1)
    with pytest.raises(OutputError, match="has changed since"):
        filter_codes(str(own), str(new), where="true")


def test_damage_is_not_handed_on(own: Path, tmp_path: Path):
    path = next((own / "data").iterdir())
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(ShardError, match=path.name):
        reshard_codes(str(own), str(tmp_path / "new"))
    path.unlink()
    with pytest.raises(ShardError, match=path.name):
        reshard_codes(str(own), str(tmp_path / "new2"))


def test_what_cannot_be_is_refused_in_a_line(own: Path, tmp_path: Path, capsys):
    new = str(tmp_path / "new")
    for command, said in (
        (["filter", str(own), new, "--where", "nonsense > 1"], "there is no nonsense"),
        (["filter", str(own), new, "--where", "seconds > 1000"], "no recording is left"),
        (["filter", str(own), str(own), "--where", "true"], "what it would be made from"),
        (["filter", str(own), f"{own}/new", "--where", "true"], "lie in each other"),
        (["filter", str(tmp_path), new, "--where", "true"], "is not an output"),
        (["reshard", str(own), new, "--shard-mb", "0"], "--shard-mb 0"),
        (["reshard", str(own), new, "--shard-mb", "1", "--shard-hours", "1"], "give one of them"),
        (["reshard", str(own), new, "--format", "arrow"], "--format arrow: choose one of"),
    ):
        assert main(command) == 2, command
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
    assert not Path(new).exists()
    next((own / "manifest/commits").iterdir()).unlink()
    assert main(["reshard", str(own), new]) == 2
    assert "shards are not there yet" in capsys.readouterr().err


def test_tokenize_leaves_a_derived_folder_alone(own: Path, corpus: Path, tmp_path: Path, capsys):
    new = tmp_path / "new"
    reshard_codes(str(own), str(new))
    before = files_of(new)
    assert main(["tokenize", str(corpus), str(new), "--codec", "mulaw", "--workers", "0"]) == 2
    assert "was made by `codecshards reshard` from" in capsys.readouterr().err
    with pytest.raises(OutputError, match="what `codecshards tokenize` wrote"):
        reshard_codes(str(new), str(own))
    assert files_of(new) == before


def test_the_other_commands_read_a_derived_folder(out: Path, tmp_path: Path, capsys):
    new = tmp_path / "new"
    reshard_codes(str(out), str(new), shuffle=1)
    for where in (out, new):
        assert (
            main(["decode", str(where), "003.wav", "-o", str(tmp_path / f"{where.name}.wav")]) == 0
        )
    heard = [soundfile.read(tmp_path / f"{name}.wav")[0] for name in ("new", out.name)]
    assert np.array_equal(*heard)
    capsys.readouterr()
    assert main(["ls", str(new), "--ids"]) == 0
    assert sorted(capsys.readouterr().out.split()) == sorted(by_id(out))
    assert main(["inspect", str(new)]) == 0
    assert f"reshard --shuffle 1, from {out}" in capsys.readouterr().out
    found = audit(str(new), sample=3, workers=0, page=False, quiet=True)
    assert found.passed and len(found.recordings) == 3


def test_an_object_store_serves_as_well(outs: dict[str, Path]):
    fs = fsspec.filesystem("memory")
    for path in outs["parquet"].rglob("*"):
        if path.is_file():
            fs.pipe_file(f"/far/{path.relative_to(outs['parquet'])}", path.read_bytes())
    reshard_codes("memory://far", "memory://new", shuffle=1, format="webdataset")
    assert verify("memory://new") == []
    data = CodesDataset("memory://new")
    before = by_id(outs["parquet"])
    assert len(data) == len(before)
    for sample in data:
        assert np.array_equal(sample.codes, codes_of(before[sample.id]))


def test_rows_may_be_read_from_a_folder_whose_last_move_was_cut_short(own: Path, tmp_path: Path):
    record = records_of(own)[0]
    path = sorted((own / "data").iterdir())[0]
    (own / "manifest/staging").mkdir(exist_ok=True)
    path.rename(own / record["staged"])
    reshard_codes(str(own), str(tmp_path / "new"))
    assert verify(str(tmp_path / "new")) == []
    assert len(stored_rows(tmp_path / "new")) == sum(one["rows"] for one in records_of(own))


def test_a_plan_of_one_split_says_nothing_of_splits(out: Path):
    """So that folders of before and of now are the same bytes."""
    config = json.loads((out / "manifest/config.json").read_bytes())
    assert "splits" not in config["plan"] and "derived" not in config
    assert b"splits" not in (pq.read_metadata(out / "manifest/plan.parquet").metadata or {})


def test_a_folder_that_grew_is_copied_with_what_counts_last(tmp_path: Path):
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    corpus.mkdir()
    for number in range(6):
        samples = np.random.default_rng(number).standard_normal((9_000, 2)).astype(np.float32)
        soundfile.write(corpus / f"{number}.wav", samples * 0.1, 48_000)
    (corpus / "3.wav").rename(tmp_path / "later.wav")
    (corpus / "4.wav").write_bytes(b"")
    tokenize(str(corpus), str(out), codec="mulaw", workers=0, quiet=True)
    (tmp_path / "later.wav").rename(corpus / "3.wav")
    tokenize(str(corpus), str(out), codec="mulaw", workers=0, quiet=True, append=True)
    soundfile.write(corpus / "4.wav", np.full((9_000, 2), 0.1, np.float32), 48_000)
    tokenize(
        str(corpus),
        str(out),
        codec="mulaw",
        workers=0,
        quiet=True,
        retry_failed=("not_audio", "empty"),
    )
    assert inspect(str(out)).generations[1:] and len(by_id(out)) == 6
    for command in (
        lambda new: reshard_codes(str(out), new, shard_hours=1),
        lambda new: filter_codes(str(out), new, where="true"),
    ):
        new = tmp_path / f"new{len(list(tmp_path.iterdir()))}"
        command(str(new))
        assert by_id(new) == by_id(out) and verify(str(new)) == []
        assert not inspect(str(new)).failures
