"""Edits and derived folders on a real S3 server whose answers fail, are lost or cut, and whose
clients are killed: all of it or nothing, and the same rows as on a disk. What is there at the end
is read with boto3 and pyarrow."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loader_data import make_rows, write_output
from s3 import Bucket, Fault, Request, forget_clients

from codecshards import (
    adopt_codes,
    correct_codes,
    drop_codes,
    filter_codes,
    merge_codes,
    reshard_codes,
    split_codes,
)
from pipelines.output.rows import Rows
from pipelines.output.verify import verify
from pipelines.system.remote import PATIENCE_VARIABLE
from tokenizer.codecs.mulaw import describe_mulaw
from tokenizer.errors import CodecshardsError

ROOT = Path(__file__).resolve().parents[3]
SPEC = describe_mulaw(6.0)
FAULTS = {
    "503": Fault(status=503, code="SlowDown"),
    "500 and done": Fault(status=500, done=True),
    "lost": Fault(lost=True, done=True),
    "cut": Fault(cut=True),
}
WRITES = ("PUT", "DELETE", "POST")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = make_rows(4, SPEC, longest=0.4)
    out = write_output(tmp_path_factory.mktemp("store") / "out", rows, shards=2, manifest=False)
    adopt_codes(str(out))
    return out


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.system.remote._PAUSES", (0.01, 0.05))


def rows_of(files: list[Any]) -> dict[str, Any]:
    tables = [pq.read_table(file).to_pylist() for file in files]
    found = {row["id"]: row for table in tables for row in table}
    assert len(found) == sum(map(len, tables))
    return found


def stored(bucket: Bucket, out: str) -> dict[str, Any]:
    return rows_of([pa.BufferReader(bucket.get(key)) for key in bucket.keys(f"{out}/data/")])


def texts(out: str) -> dict[str, str | None]:
    return {row["id"]: row["text"] for row in Rows(out).rows(["id", "text"])}


def table(tmp_path: Path) -> str:
    """One recording of the first shard, and one of the last."""
    path = tmp_path / "table.jsonl"
    said = [{"id": f"folder/{n:05d}.wav", "text": f"corrected {n}"} for n in (0, 3)]
    path.write_text("".join(json.dumps(one) + "\n" for one in said))
    return str(path)


def after_edits(made: Path) -> dict[str, Any]:
    rows = rows_of(sorted((made / "data").iterdir()))
    for number in (0, 3):
        rows[f"folder/{number:05d}.wav"]["text"] = f"corrected {number}"
    return rows


def by_turns(share: float) -> Callable[[Request], Fault | None]:
    """A fault of every kind after the other, at some of the requests."""
    chance, faults = random.Random(7), itertools.cycle(FAULTS.values())
    return lambda request: next(faults) if chance.random() < share else None


def test_answers_that_fail_cost_an_edit_nothing(bucket: Bucket, made: Path, tmp_path: Path) -> None:
    bucket.upload(made, "out")
    bucket.proxy.rule = by_turns(0.08)
    out = bucket.url("out")
    correct_codes(out, table(tmp_path))
    drop_codes(out, ["folder/00001.wav"])
    expected = after_edits(made)
    del expected["folder/00001.wav"]
    assert bucket.proxy.faults > 6
    bucket.proxy.rule = lambda request: None
    assert stored(bucket, "out") == expected and verify(out) == []
    assert not [key for key in bucket.keys("out/manifest/staging/") if key.endswith(".parquet")]


FEW, REST = "text is not null", "text is null"
COMMANDS: dict[str, Callable[[str, str, list[str]], Any]] = {
    "filter": lambda out, new, parts: filter_codes(out, new, where=FEW),
    "merge": lambda out, new, parts: merge_codes(parts, new),
    "split": lambda out, new, parts: split_codes(out, new, valid=0.5),
    "reshard": lambda out, new, parts: reshard_codes(out, new, shuffle=5),
}


@pytest.fixture(scope="module")
def parts(made: Path) -> list[Path]:
    """The two halves of it that `filter` makes, on a disk."""
    made_of = {made.with_name("few"): FEW, made.with_name("rest"): REST}
    for new, where in made_of.items():
        filter_codes(str(made), str(new), where=where)
    return [*made_of]


@pytest.mark.parametrize("command", COMMANDS)
def test_answers_that_fail_cost_new_folders_nothing(
    bucket: Bucket, made: Path, parts: list[Path], command: str
) -> None:
    for part in parts if command == "merge" else [made]:
        bucket.upload(part, part.name)
    bucket.proxy.rule = by_turns(0.1)
    sources = [bucket.url(part.name) for part in parts]
    COMMANDS[command](bucket.url("out"), bucket.url("new"), sources)
    assert bucket.proxy.faults > 4
    bucket.proxy.rule = lambda request: None
    rows = rows_of(sorted((made / "data").iterdir()))
    if command == "filter":
        rows = {id: row for id, row in rows.items() if row["text"] is not None}
        assert 0 < len(rows) < 4
    assert stored(bucket, "new") == rows and verify(bucket.url("new")) == []
    assert bucket.keys("new/manifest/staging/") == []
    splits = {key.rsplit("/", 1)[1].split("-")[0] for key in bucket.keys("new/data/")}
    assert splits == ({"train", "valid"} if command == "split" else {"train"})


def test_a_copy_is_adopted_on_a_failing_store(bucket: Bucket, made: Path) -> None:
    for path in sorted((made / "data").iterdir()):
        bucket.put(f"copy/{path.name}", path.read_bytes())
    chance = random.Random(1)
    lost = FAULTS["lost"]
    bucket.proxy.rule = lambda request: lost if chance.random() < 0.1 else None
    adopt_codes(bucket.url("copy"))
    assert bucket.proxy.faults
    bucket.proxy.rule = lambda request: None
    assert stored(bucket, "copy") == rows_of(sorted((made / "data").iterdir()))
    assert verify(bucket.url("copy")) == []


class Gone:
    """The store does its nth write, its answer is lost, and from then on nothing is answered."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, request: Request) -> Fault | None:
        if self.left <= 0:
            return Fault(lost=True)
        if request.method in WRITES:
            self.left -= 1
            if not self.left:
                return Fault(lost=True, done=True)
        return None


def steps(*some: int) -> list[int]:
    """Writes at which the store goes: by default one before the write that decides and one behind
    it; all of them with CODECSHARDS_KILL_ROUNDS."""
    return list(range(1, 60)) if "CODECSHARDS_KILL_ROUNDS" in os.environ else [*some]


def test_a_store_that_goes_at_any_step_leaves_an_edit_before_or_after(
    bucket: Bucket, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATIENCE_VARIABLE, "0")
    rows, said = rows_of(sorted((made / "data").iterdir())), table(tmp_path)
    expected = after_edits(made)
    states = [{id: row["text"] for id, row in one.items()} for one in (rows, expected)]
    seen = set()
    for step in steps(3, 13):
        name = f"out{step}"
        bucket.upload(made, name)
        bucket.proxy.rule = Gone(step)
        forget_clients()
        ended = _ends(lambda name=name: correct_codes(bucket.url(name), said))
        bucket.proxy.rule = lambda request: None
        forget_clients()
        found = texts(bucket.url(name))
        assert found in states, f"write {step}: neither before nor after"
        seen.add(states.index(found))
        correct_codes(bucket.url(name), said)
        assert stored(bucket, name) == expected and verify(bucket.url(name)) == []
        if ended:
            break
    assert seen == {0, 1}


def _ends(work: Callable[[], Any]) -> bool:
    try:
        work()
    except CodecshardsError as error:
        assert "\n" not in str(error)
        return False
    return True


def test_a_store_that_goes_at_any_step_leaves_nothing_half_in_a_new_folder(
    bucket: Bucket, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATIENCE_VARIABLE, "0")
    bucket.upload(made, "out")
    rows = rows_of(sorted((made / "data").iterdir()))
    for step in steps(9):
        new = f"new{step}"
        bucket.proxy.rule = Gone(step)
        forget_clients()
        ended = _ends(lambda new=new: reshard_codes(bucket.url("out"), bucket.url(new), shuffle=5))
        bucket.proxy.rule = lambda request: None
        forget_clients()
        reshard_codes(bucket.url("out"), bucket.url(new), shuffle=5)
        assert stored(bucket, new) == rows and verify(bucket.url(new)) == []
        if ended:
            break


@pytest.mark.parametrize("step", steps(7)[:20])
def test_a_killed_edit_on_a_store_is_before_or_after(
    bucket: Bucket, made: Path, tmp_path: Path, step: int
) -> None:
    """A real SIGKILL, as the store has just done the nth write."""
    bucket.upload(made, "out")
    said, out = table(tmp_path), bucket.url("out")
    process: list[subprocess.Popen[bytes]] = []
    left = [step]

    def rule(request: Request) -> Fault | None:
        if request.method in WRITES:
            left[0] -= 1
            if not left[0]:
                os.kill(process[0].pid, signal.SIGKILL)
        return None

    bucket.proxy.rule = rule
    command = [sys.executable, "-m", "codecshards", "edit", out, "--set", said, "--quiet"]
    process.append(subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE))
    process[0].communicate()
    assert process[0].returncode == -signal.SIGKILL
    expected = after_edits(made)
    rows = rows_of(sorted((made / "data").iterdir()))
    assert texts(out) in [{id: row["text"] for id, row in one.items()} for one in (rows, expected)]
    correct_codes(out, said)
    assert stored(bucket, "out") == expected and verify(out) == []
