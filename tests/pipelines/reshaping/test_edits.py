"""Edits of committed rows: codes bit for bit, everything true, and all of it or nothing whatever is
killed."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from killing import killed_at
from stored_rows import by_id, stored_rows

from codecshards import (
    CodesDataset,
    CodesLoader,
    audit,
    compress_codes,
    correct_codes,
    drop_codes,
    filter_codes,
    merge_codes,
    reshard_codes,
    tokenize,
)
from pipelines.cli.main import main
from pipelines.output.inspect import inspect
from pipelines.output.manifest.commits import Manifest
from pipelines.output.rows import Rows
from pipelines.output.storage import LocalStorage
from pipelines.output.verify import verify
from pipelines.reshaping.derive import _Derivation
from tokenizer import OutputError, ShardError, UsageError
from tokenizer.sealing import seal, unseal

GONE = ["003.wav", "010.wav", "bad.wav"]


def write_csv(path: Path, *rows: dict[str, Any]) -> str:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def files_of(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_what_is_dropped_is_gone_and_in_the_ledger(own: Path, tmp_path: Path, capsys):
    before = by_id(own)
    untouched = {n: c for n, c in files_of(own).items() if n.startswith("data/")}
    (tmp_path / "ids").write_bytes("\ufeff003.wav\r\n\r\n010.wav\r\nbad.wav".encode())
    command = ["edit", str(own), "--drop", str(tmp_path / "ids"), "--reason", "withdrawn"]
    assert main(command) == 0
    assert "3 recordings taken out" in capsys.readouterr().err
    assert by_id(own) == {id: row for id, row in before.items() if id not in GONE}
    assert verify(str(own)) == []
    found = inspect(str(own))
    assert {one.id: (one.kind, one.message) for one in found.failures} == dict.fromkeys(
        GONE, ("dropped", "withdrawn")
    )
    assert (found.failed, found.dropped, found.recordings) == (0, 3, len(before) - 2)
    assert found.hours * 3600 == pytest.approx(
        sum(row["num_samples"] for id, row in before.items() if id not in GONE) / 48_000
    )
    assert "2 dropped" not in (own / "README.md").read_text()
    same = [n for n, c in untouched.items() if files_of(own).get(n) == c]
    assert 0 < len(same) < len(untouched)  # only shards that hold one were written again
    assert main(command) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert main(["decode", str(own), "003.wav", "-o", str(tmp_path / "x.wav")]) == 2
    assert "(dropped): withdrawn" in capsys.readouterr().err


def test_it_stays_out_of_the_next_run_of_appends_and_of_merges(
    outs: dict[str, Path], corpus: Path, tmp_path: Path
):
    own = Path(shutil.copytree(outs["parquet"], tmp_path / "parquet"))
    before = by_id(own)
    drop_codes(str(own), GONE)
    kept = by_id(own)
    more = {"codec": "mulaw", "format": own.name, "shard_hours": 0.003, "workers": 0, "quiet": True}
    for grows in ({}, {"append": True}, {"retry_failed": ()}):
        tokenize(str(corpus), str(own), quality="peak,silence", **more, **grows)
        assert by_id(own) == kept and verify(str(own)) == []
    whole = tmp_path / "whole"
    tokenize(str(corpus), str(whole), quality="peak,silence", **more)
    reshard_codes(str(own), str(tmp_path / "new"))
    assert by_id(tmp_path / "new") == kept
    assert {one.id for one in inspect(str(tmp_path / "new")).failures} == set(GONE)
    with pytest.raises(UsageError, match="the same id"):
        merge_codes([str(whole), str(own)], str(tmp_path / "merged"))
    filter_codes(
        str(whole), str(tmp_path / "some"), where="id in ('003.wav', '010.wav', '004.wav')"
    )
    filter_codes(str(own), str(tmp_path / "others"), where="id != '004.wav'")
    for order in (("some", "others"), ("others", "some")):
        new = tmp_path / "-".join(order)
        merge_codes([str(tmp_path / name) for name in order], str(new))
        assert by_id(new) == kept and verify(str(new)) == []
        assert {one.id: one.kind for one in inspect(str(new)).failures} == dict.fromkeys(
            GONE, "dropped"
        )
    assert set(before) - set(kept) == {"003.wav", "010.wav"}


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_corrections_change_what_they_name_and_nothing_else(own: Path, tmp_path: Path, ending: str):
    rows = [
        {"id": "001.wav", "text": 'new, "text"\nü', "speaker": "s9", "meta.take": 100},
        {"id": "004.wav", "text": "was none", "speaker": None, "meta.take": 4},
    ]
    path = tmp_path / f"table.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(
                file, list(rows[0]), delimiter={"csv": ",", "tsv": "\t"}[ending]
            )
            if ending == "tsv":
                rows[0]["text"] = "new, text"
            writer.writeheader()
            writer.writerows(rows)
    before = by_id(own)
    assert correct_codes(str(own), str(path)).rows == 2
    wanted = {id: dict(row) for id, row in before.items()}
    for row in rows:
        wanted[row["id"]] |= {"text": row["text"], "speaker": row["speaker"]}
        meta = json.loads(wanted[row["id"]]["meta"]) | {"take": row["meta.take"]}
        wanted[row["id"]]["meta"] = json.dumps(meta, sort_keys=True, separators=(",", ":"))
    assert by_id(own) == wanted and verify(str(own)) == []
    assert correct_codes(str(own), str(path)).rows == 0
    assert CodesDataset(own).by_id("004.wav").fields["text"] == "was none"


def test_rows_are_found_by_another_column(own: Path, tmp_path: Path):
    before = by_id(own)
    table = write_csv(tmp_path / "t.csv", {"speaker": "s1", "language": "fr", "meta.note": "x"})
    made = correct_codes(str(own), table, on="speaker")
    of = [id for id, row in before.items() if row["speaker"] == "s1"]
    assert made.rows == len(of) > 1
    now = by_id(own)
    assert all(now[id]["language"] == "fr" for id in of)
    assert {id: row for id, row in now.items() if id not in of} == {
        id: row for id, row in before.items() if id not in of
    }
    table = write_csv(tmp_path / "t.csv", {"meta.album": "a1", "speaker": "band"})
    correct_codes(str(own), table, on="meta.album")
    assert {row["speaker"] for row in by_id(own).values() if '"album":"a1"' in row["meta"]} == {
        "band"
    }
    assert verify(str(own)) == []


def test_what_cannot_be_set_is_refused_and_changes_nothing(own: Path, tmp_path: Path, capsys):
    before = files_of(own)
    for row, said in (
        ({"id": "001.wav", "num_samples": 3}, "num_samples cannot be set"),
        ({"id": "001.wav", "codes": 3}, "codes cannot be set"),
        ({"id": "001.wav", "peak": 3}, "peak cannot be set"),
        ({"id": "001.wav", "meta.start": 3}, "meta.start cannot be set"),
        ({"id": "001.wav", "album": 3}, "text, speaker, language and meta.album can be set"),
        ({"id": "001.wav", "meta.take": "three"}, "'three' is no number"),
        ({"id": "nope.wav", "text": "x"}, "has no such recording: 'nope.wav' ("),
        ({"id": "", "text": "x"}, "there is no id"),
        ({"name": "001.wav", "text": "x"}, "no header with a column `id`"),
    ):
        table = write_csv(tmp_path / "t.csv", row)
        assert main(["edit", str(own), "--set", table]) == 2, row
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
    twice = write_csv(
        tmp_path / "t.csv", {"id": "001.wav", "text": "a"}, {"id": "001.wav", "text": "b"}
    )
    for command, said in (
        (["--set", twice], "is there twice, and differs"),
        (["--set", str(tmp_path / "none.csv")], "cannot be read"),
        (["--set", str(tmp_path / "t.xlsx")], "give a .csv"),
        (["--drop", str(tmp_path / "none")], "cannot be read"),
        (["--drop-where", "nonsense > 1"], "there is no nonsense"),
        (["--set", twice, "--reason", "x"], "--reason: goes with"),
        (["--drop-where", "true", "--on", "x"], "--on: goes with --set"),
        (["--set", twice, "--on", "spekaer"], "no such column"),
    ):
        assert main(["edit", str(own), *command]) == 2, command
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
    (tmp_path / "t.jsonl").write_text('{"id": "001.wav", "text": 7}\n')
    with pytest.raises(UsageError, match=r"text: 7 is no text"):
        correct_codes(str(own), str(tmp_path / "t.jsonl"))
    with pytest.raises(UsageError, match=r"'a' \(given\), 'b' \(given\).* and 1 more"):
        drop_codes(str(own), ["a", "b", "c", "d"])
    assert files_of(own) == before
    next((own / "manifest/commits").iterdir()).unlink()
    assert main(["edit", str(own), "--drop-where", "true"]) == 2
    assert "not there yet" in capsys.readouterr().err


def test_a_shard_may_become_empty(own: Path):
    record = json.loads(next((own / "manifest/commits").iterdir()).read_bytes())
    drop_codes(str(own), where="true")
    assert not list((own / "data").iterdir()) and verify(str(own)) == []
    assert inspect(str(own)).recordings == 0 and record["rows"]


def test_everybody_knows_of_an_edit_that_was_cut_short(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """From its commit on it is as after, before its files and records have their places."""
    rows = by_id(own)
    few = str(tmp_path / "few")
    filter_codes(str(own), few, where="id = '003.wav'")

    def end_here(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(Manifest, "carry_out_edit", end_here)
        with pytest.raises(KeyboardInterrupt):
            drop_codes(str(own), GONE, reason="withdrawn")
    assert by_id(own) == rows
    found = inspect(str(own))
    assert {one.id for one in found.failures if one.kind == "dropped"} == set(GONE)
    assert (found.recordings, found.dropped) == (len(rows) - 2, 3)
    assert {one["id"] for one in Rows(str(own)).failures()} == set(GONE)
    merged = str(tmp_path / "merged")
    merge_codes([few, str(own)], merged)
    assert set(by_id(Path(merged))) == {*rows} - {*GONE}
    heard = audit(str(own), ids=["004.wav", "011.wav"], page=False, workers=0, quiet=True)
    assert heard.report["passed"] and not heard.report["findings"]
    drop_codes(str(own), GONE, reason="withdrawn")
    assert set(by_id(own)) == {*rows} - {*GONE} and verify(str(own)) == []


def test_an_edit_of_what_another_folder_is_being_made_of_is_noticed(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Rows are found by their places, and after the edit others have these."""
    first = stored_rows(own)[0]["id"]
    before = stored_rows(own)
    write = _Derivation._write

    def late(*given: Any) -> None:
        monkeypatch.setattr(_Derivation, "_write", write)
        drop_codes(str(own), [first])
        write(*given)

    for name, make in {
        "filtered": lambda new: filter_codes(str(own), new, where="id <= '002.wav'"),
        "shuffled": lambda new: reshard_codes(str(own), new, shuffle=1),
        "archive": lambda new: compress_codes(str(own), new, coder="static", workers=0),
    }.items():
        monkeypatch.setattr(_Derivation, "_write", late)
        with pytest.raises(OutputError, match=r"was changed while it was read \(train-00000"):
            make(str(tmp_path / name))
        first = stored_rows(own)[0]["id"]
    assert stored_rows(own) == before[3:]
    filter_codes(str(own), str(tmp_path / "anew"), where="seconds > 0")
    assert by_id(tmp_path / "anew") == by_id(own)


def test_killed_at_any_step_it_is_as_before_or_as_after(out: Path, tmp_path: Path):
    """Of WebDataset every third."""
    table = write_csv(
        tmp_path / "t.csv", {"id": "001.wav", "text": "one"}, {"id": "020.wav", "text": "two"}
    )
    before = by_id(out)
    after = before | {
        id: {**before[id], "text": text} for id, text in (("001.wav", "one"), ("020.wav", "two"))
    }
    seen = set()
    for change in range(1, 100, 1 if out.name == "parquet" else 3):
        own = tmp_path / f"own{change}"
        shutil.copytree(out, own)
        killed = killed_at(change, lambda own=own: correct_codes(str(own), table))
        texts = {row["id"]: row["text"] for row in Rows(str(own)).rows(["id", "text"])}
        data = CodesDataset(own)
        assert {data[i].id: data[i].fields["text"] for i in range(len(data))} == texts
        state = [texts == {id: row["text"] for id, row in rows.items()} for rows in (before, after)]
        assert sum(state) == 1
        seen.add(state.index(True))
        begun = (own / "manifest/edits/00001.json").exists()
        done = (own / "manifest/edits/00001.done.json").exists()
        assert begun == (state.index(True) == 1)
        said = [str(one) for one in verify(str(own))]
        assert any("this edit was cut short" in one for one in said) == (begun and not done)
        if change % 2 and begun:  # whoever comes next finishes it
            assert main(["edit", str(own), "--finish"]) == 0
        correct_codes(str(own), table)
        assert by_id(own) == after and verify(str(own)) == []
        assert not [p for p in (own / "manifest/staging").iterdir() if p.suffix != ".json"]
        shutil.rmtree(own)
        if not killed:
            break
    assert seen == {0, 1} and change > 8


def test_staged_shards_are_not_written_again(own: Path, tmp_path: Path, monkeypatch: Any):
    shards = len(list((own / "data").iterdir()))
    # One change for the lease, then two for each shard: its file, and its record beside it.
    assert killed_at(2 + shards // 2, lambda: drop_codes(str(own), where="id < '9'"))
    staged = len(list((own / "manifest/staging").glob("*.json")))
    assert 0 < staged < shards
    written = []
    stage = LocalStorage.stage
    monkeypatch.setattr(
        LocalStorage, "stage", lambda self, name: written.append(name) or stage(self, name)
    )
    drop_codes(str(own), where="id < '9'")
    files = [name for name in written if name.endswith((".parquet", ".tar"))]
    assert not files or len(files) <= shards - staged
    assert not stored_rows(own) and verify(str(own)) == []


def test_a_state_from_before_an_edit_says_what_changed(own: Path):
    loader = CodesLoader(CodesDataset(own), batch_size=2, threads=0)
    next(iter(loader))
    state = loader.state_dict()
    old = CodesDataset(own)
    drop_codes(str(own), where="seconds > 2")
    with pytest.raises(UsageError, match=r"edited since.*taken out"):
        CodesLoader(CodesDataset(own), batch_size=2, threads=0).load_state_dict(state)
    with pytest.raises(ShardError, match="if it was edited since, load it again"):
        [old[i] for i in range(len(old))]


def test_a_shard_that_was_edited_is_not_quietly_done_again(
    own: Path, corpus: Path, tmp_path: Path, capsys
):
    table = write_csv(tmp_path / "t.csv", {"id": "003.wav", "text": "x"})
    correct_codes(str(own), table)
    for path in (own / "data").iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    assert any("restore it: it was edited" in str(one) for one in verify(str(own)))
    command = ["tokenize", str(corpus), str(own), "--codec", "mulaw", "--workers", "0", "--format"]
    command += [own.name, "--shard-hours", "0.003", "--quality", "peak,silence"]
    assert main(command) == 2
    assert "edit 1 changed it: restore it" in capsys.readouterr().err


def test_a_damaged_edit_is_told(own: Path, tmp_path: Path):
    drop_codes(str(own), ["003.wav"])
    path = own / "manifest/edits/00001.json"
    (own / "manifest/edits/00001.done.json").unlink()
    values = unseal(path.read_bytes())
    path.write_bytes(seal(values | {"records": {"x": "y"}, "before": {}}))
    assert any("damaged" in str(one) for one in verify(str(own)))
    (name,) = values["shards"]
    record = (own / f"manifest/commits/{name}.json").read_text()
    for before in (None, "x", {}, {"y": "z"}):
        path.write_bytes(seal(values | {"records": {name: record}, "before": before}))
        with pytest.raises(UsageError, match=r"edits/00001\.json: damaged"):
            drop_codes(str(own), ["004.wav"])
    path.write_bytes(path.read_bytes()[:-9])
    assert any("damaged" in str(one) for one in verify(str(own)))
    with pytest.raises(UsageError, match=r"edits/00001\.json: damaged"):
        drop_codes(str(own), ["004.wav"])


def test_what_stays_of_an_edit_is_verified(own: Path):
    drop_codes(str(own), ["003.wav"])
    for name in ("00001.json", "00001.done.json"):
        path = own / "manifest/edits" / name
        content = path.read_bytes()
        path.write_bytes(content.replace(b"1", b"2", 1))
        assert [one.shard for one in verify(str(own))] == [f"manifest/edits/{name}"]
        path.write_bytes(content)
    assert verify(str(own)) == []


def test_a_folder_on_an_object_store_is_edited(outs: dict[str, Path], tmp_path: Path):
    fs = fsspec.filesystem("memory")
    for path in outs["webdataset"].rglob("*"):
        if path.is_file():
            fs.pipe_file(f"/edits/{path.relative_to(outs['webdataset'])}", path.read_bytes())
    drop_codes("memory://edits", ["003.wav"])
    correct_codes("memory://edits", write_csv(tmp_path / "t.csv", {"id": "001.wav", "text": "x"}))
    assert verify("memory://edits") == []
    for name in fs.find("/edits"):
        target = tmp_path / "copy" / name.removeprefix("/edits/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(fs.cat_file(name))
    before = by_id(outs["webdataset"])
    before.pop("003.wav")
    before["001.wav"]["text"] = "x"
    assert by_id(tmp_path / "copy") == before
