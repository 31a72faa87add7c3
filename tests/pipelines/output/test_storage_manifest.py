"""Files that appear whole, and commits that one writer wins, whoever is killed when."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path

import fsspec
import numpy as np
import pytest
from test_formats import FOOTER, make_row

from pipelines.output.config import TokenizeConfig
from pipelines.output.formats import shard_format
from pipelines.output.manifest.commits import (
    CommitRecord,
    Failure,
    Manifest,
    pack_counts,
    unpack_counts,
)
from pipelines.output.manifest.leases import RUNS, Holder, Lease, is_over, new_run
from pipelines.output.manifest.names import (
    COMMITS,
    CONFIG,
    STAGING,
    data_name,
    hash_file,
    hash_stored,
    staged_name,
)
from pipelines.output.manifest.strangers import strangers
from pipelines.output.plan import make_plan
from pipelines.output.storage import LocalStorage, Storage, open_storage
from pipelines.output.stored_run import StoredRun
from tokenizer import OutputError, ShardError
from tokenizer.codecs.base import CodecSpec
from tokenizer.errors import ManifestError
from tokenizer.sealing import seal, unseal
from tokenizer.types import Recording

PARQUET = shard_format("parquet")
SHARD = "train-00000-of-00001"
SPEC = CodecSpec("c", None, "abc", 6.0, 4, 1024, 48000, 2, 320, 48000, 47520, True)


@pytest.fixture(params=["local", "memory", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    if request.param == "local":
        yield open_storage(str(tmp_path / "out"))
        return
    if request.param == "s3":
        yield open_storage(request.getfixturevalue("bucket").url("out"))
        return
    root = f"/{uuid.uuid4().hex}"
    yield open_storage(f"memory:/{root}")
    fs = fsspec.filesystem("memory")
    if fs.exists(root):
        fs.rm(root, recursive=True)


def begun(storage: Storage) -> StoredRun:
    """The configuration of a folder on which a run has begun."""
    Manifest(storage).begin(
        StoredRun(TokenizeConfig("corpus"), SPEC, "1"),
        make_plan([Recording("a", "a.wav")], shard_hours=1),
    )
    return Manifest(storage).require_config()


def stage(
    storage: Storage, number: int = 0, attempt_rows: int = 3, run: str | None = None
) -> CommitRecord:
    """Write a shard of a few rows and make its record."""
    staged = staged_name(SHARD, PARQUET, run or new_run())
    with storage.stage(staged) as path:
        PARQUET.write(path, [make_row(number + i) for i in range(attempt_rows)], FOOTER)
        size, digest = Path(path).stat().st_size, hash_file(path)
    return CommitRecord(
        SHARD,
        "parquet",
        begun(storage).fingerprint,
        attempt_rows,
        600,
        6,
        1,
        size,
        digest,
        staged,
        (),
    )


def test_files_are_written_read_listed_and_removed(storage: Storage) -> None:
    assert storage.list("a") == [] and not storage.exists("a/x")
    storage.write("a/x", b"one")
    storage.write("a/x", b"two")
    storage.write("a/y", b"")
    assert (
        storage.read("a/x") == b"two"
        and storage.list("a") == ["x", "y"]
        and storage.size("a/x") == 3
    )
    with storage.open("a/x") as file:
        assert file.read() == b"two"
    assert storage.move("a/x", "b/z") and not storage.move("a/x", "b/z")
    assert storage.read("b/z") == b"two"
    storage.remove("b/z")
    storage.remove("b/z")
    with pytest.raises(FileNotFoundError):
        storage.read("b/z")


def test_only_the_first_creates(storage: Storage) -> None:
    assert storage.create("a/x", b"first")
    assert not storage.create("a/x", b"second")
    assert storage.read("a/x") == b"first" and storage.list("a") == ["x"]


def test_nothing_is_staged_when_writing_fails(storage: Storage) -> None:
    with pytest.raises(ZeroDivisionError), storage.stage("a/x") as path:
        Path(path).write_bytes(b"half")
        _ = 1 / 0
    assert not storage.exists("a/x") and storage.list("a") == []


def test_file_systems_without_hard_links_still_have_one_winner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    storage = LocalStorage(str(tmp_path))
    assert storage.create("a/x", b"first") and not storage.create("a/x", b"second")
    assert storage.read("a/x") == b"first" and storage.list("a") == ["x"]


def test_places_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    storage = open_storage(str(tmp_path / "file" / "out"))
    with pytest.raises(OutputError, match="cannot be written") as caught:
        storage.write("a", b"")
    assert "\n" not in str(caught.value)


def test_a_commit_is_a_record_and_a_file_of_its_hash(storage: Storage) -> None:
    manifest, record = Manifest(storage), stage(storage)
    assert manifest.publish(record, PARQUET)
    assert manifest.committed() == {SHARD: record}
    assert hash_stored(storage, data_name(SHARD, PARQUET)) == record.sha256
    assert storage.list(STAGING) == []


def test_the_second_to_commit_gives_way(storage: Storage) -> None:
    manifest, first, second = Manifest(storage), stage(storage, 0), stage(storage, 9)
    assert manifest.publish(first, PARQUET) and not manifest.publish(second, PARQUET)
    assert manifest.committed() == {SHARD: first}
    assert hash_stored(storage, data_name(SHARD, PARQUET)) == first.sha256
    assert storage.list(STAGING) == []


def test_what_was_staged_and_not_committed_never_was(storage: Storage) -> None:
    stage(storage)
    manifest = Manifest(storage)
    manifest.recover(PARQUET)
    assert storage.list(STAGING) == [] and manifest.committed() == {} and storage.list("data") == []


def test_a_commit_that_was_cut_short_is_finished(storage: Storage) -> None:
    manifest, record = Manifest(storage), stage(storage)
    assert storage.create(
        f"{COMMITS}/{SHARD}.json", record.to_json()
    )  # killed before the file was moved
    manifest.recover(PARQUET)
    assert manifest.committed() == {SHARD: record}
    assert hash_stored(storage, data_name(SHARD, PARQUET)) == record.sha256


def test_a_record_whose_file_was_thrown_away_is_withdrawn(storage: Storage) -> None:
    manifest, record = Manifest(storage), stage(storage)
    manifest.recover(PARQUET)  # another run cleans up, not knowing that the worker lives
    assert not manifest.publish(record, PARQUET)
    assert manifest.committed() == {}
    assert storage.create(
        f"{COMMITS}/{SHARD}.json", record.to_json()
    )  # the worker is killed before it can withdraw
    manifest.recover(PARQUET)
    assert manifest.committed() == {}


def test_a_shard_without_rows_has_a_record_and_no_file(storage: Storage) -> None:
    manifest = Manifest(storage)
    failure = Failure("a", "a.wav", "truncated", "a.wav ends early", "decode")
    record = CommitRecord(
        SHARD, "parquet", begun(storage).fingerprint, 0, 0, 0, 0, 0, None, None, (failure,)
    )
    assert manifest.publish(record, PARQUET)
    manifest.recover(PARQUET)
    assert manifest.committed() == {SHARD: record} and storage.list("data") == []


def test_records_survive_json_and_damage_is_named() -> None:
    counts = np.random.default_rng(0).integers(0, 10**6, (4, 1024))
    failure = Failure("caf\udce9", "x", "damaged", "ä", "decode")
    record = CommitRecord(
        SHARD,
        "parquet",
        "f",
        1,
        2,
        3,
        4,
        5,
        "ab",
        "s",
        (replace(failure, id="é"),),
        {"silent": 1},
        {"wall": 1.5},
    )
    record = replace(record, codebook_counts=pack_counts(counts))
    assert CommitRecord.from_json(record.to_json(), "x") == record
    assert np.array_equal(unpack_counts(record.codebook_counts or ""), counts)
    for content in (b"", b"{}", b"[]", b'{"failures": 3}'):
        with pytest.raises(ShardError, match=r"r\.json"):
            CommitRecord.from_json(content, "r.json")


def test_a_run_is_begun_once(storage: Storage) -> None:
    manifest, plan = Manifest(storage), make_plan([Recording("a", "a.wav")], shard_hours=1)
    assert manifest.read_config() is None
    with pytest.raises(OutputError, match="not an output"):
        manifest.require_config()
    other = make_plan([Recording("b", "b.wav"), Recording("c", "c.wav")], shard_hours=1)
    first, second = (StoredRun(TokenizeConfig(name), SPEC, "1") for name in ("x", "y"))
    assert manifest.begin(first, plan) and not manifest.begin(second, other)
    assert manifest.require_config().config == first.config and manifest.read_plan() == plan
    assert storage.list(STAGING) == []


def test_a_folder_with_strangers_is_refused(storage: Storage) -> None:
    storage.write("data/somebody.parquet", b"x")
    with pytest.raises(OutputError, match="choose another OUT"):
        begun(storage)


def race(root: str, number: int, barrier: object) -> None:
    storage = open_storage(root)
    record = stage(storage, 100 * number)
    barrier.wait()  # type: ignore[attr-defined]
    os._exit(10 if Manifest(storage).publish(record, PARQUET) else 11)


def test_of_many_processes_one_wins(tmp_path: Path) -> None:
    context = get_context("fork")
    for attempt in range(5):
        root = str(tmp_path / str(attempt))
        barrier = context.Barrier(4)
        racers = [context.Process(target=race, args=(root, n, barrier)) for n in range(4)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert sorted(racer.exitcode or 0 for racer in racers) == [10, 11, 11, 11]
        storage = open_storage(root)
        record = Manifest(storage).committed()[SHARD]
        assert hash_stored(storage, data_name(SHARD, PARQUET)) == record.sha256
        assert storage.list(STAGING) == []


COMMITTER = """
import sys
sys.path[:0] = ["tests", "tests/pipelines"]
from test_storage_manifest import stage, Manifest, PARQUET, open_storage
storage = open_storage(sys.argv[1])
print("ready", flush=True)
Manifest(storage).publish(stage(storage), PARQUET)
"""


@pytest.mark.parametrize("number", range(6))
def test_killed_at_any_moment_a_commit_is_whole_or_nothing(tmp_path: Path, number: int) -> None:
    root = Path(__file__).resolve().parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMITTER, str(tmp_path)], cwd=root, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(number * 0.004)
    process.send_signal(signal.SIGKILL)
    process.wait()
    storage = open_storage(str(tmp_path))
    manifest = Manifest(storage)
    manifest.recover(PARQUET)
    committed = manifest.committed()
    assert storage.list(STAGING) == []
    assert len(storage.list("data")) == len(committed)
    for record in committed.values():
        assert hash_stored(storage, data_name(SHARD, PARQUET)) == record.sha256


def test_staged_names_are_never_shared() -> None:
    names = {staged_name(SHARD, PARQUET, new_run()) for _ in itertools.repeat(None, 100)}
    assert len(names) == 100


def test_another_run_leaves_alone_what_a_live_one_has_staged(storage: Storage) -> None:
    run = new_run()
    with Lease(storage, run, while_there=CONFIG):
        record = stage(storage, run=run)
        Manifest(storage).recover(PARQUET)
        Manifest(storage).tidy()
        assert Manifest(storage).publish(record, PARQUET)
        left = stage(storage, 5, run=run)
    assert storage.exists(left.staged or "") and storage.list(RUNS) == []
    Manifest(storage).tidy()
    assert storage.list(STAGING) == []


def test_a_run_is_over_when_its_process_is_gone_or_silent_for_long(storage: Storage) -> None:
    here = Holder.here()
    dead = subprocess.Popen(["true"])
    dead.wait()
    for holder, over in (
        (here, False),
        (replace(here, pid=dead.pid), True),
        (replace(here, born="0"), True),
        (replace(here, host="elsewhere"), False),
        (replace(here, host="elsewhere", time=here.time - 10_000), True),
    ):
        storage.write(f"{RUNS}/{'a' * 12}.json", seal(asdict(holder)))
        assert is_over(storage, "a" * 12) is over
    storage.write(f"{RUNS}/{'a' * 12}.json", b"{")
    assert not is_over(storage, "a" * 12)  # no proof
    assert is_over(storage, "b" * 12)


def test_a_stale_file_does_not_win_over_a_new_commit(storage: Storage) -> None:
    manifest, old = Manifest(storage), stage(storage, 0)
    assert manifest.publish(old, PARQUET)
    storage.remove(f"{COMMITS}/{SHARD}.json")
    new = stage(storage, 9)
    assert manifest.publish(new, PARQUET)
    assert hash_stored(storage, data_name(SHARD, PARQUET)) == new.sha256 != old.sha256
    storage.remove(f"{COMMITS}/{SHARD}.json")
    third = stage(storage, 20)
    assert storage.create(
        f"{COMMITS}/{SHARD}.json", third.to_json()
    )  # killed before the file was moved
    manifest.recover(PARQUET)
    assert hash_stored(storage, data_name(SHARD, PARQUET)) == third.sha256


def test_a_late_worker_withdraws_only_its_own_record(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its staged file was thrown away, and a newer run withdraws and commits anew just before the
    worker does."""
    manifest, late, newer = Manifest(storage), stage(storage, 0), stage(storage, 9)
    storage.remove(late.staged or "")
    move = storage.move

    def meanwhile(name: str, to: str) -> bool:
        if name != late.staged:
            return move(name, to)
        monkeypatch.setattr(storage, "move", move)
        assert storage.remove_if(f"{COMMITS}/{SHARD}.json", late.to_json())
        assert manifest.publish(newer, PARQUET)
        return move(name, to)

    monkeypatch.setattr(storage, "move", meanwhile)
    assert not manifest.publish(late, PARQUET)
    assert manifest.committed() == {SHARD: newer}
    assert hash_stored(storage, data_name(SHARD, PARQUET)) == newer.sha256


def test_what_a_damaged_or_foreign_record_describes_is_done_again(storage: Storage) -> None:
    manifest = Manifest(storage)
    for spoil in (
        lambda record: record.to_json()[:-5],
        lambda record: replace(record, fingerprint="x").to_json(),
        lambda record: replace(record, shard="train-00007-of-00001").to_json(),
    ):
        record = stage(storage)
        storage.write(f"{COMMITS}/{SHARD}.json", spoil(record))
        (line,) = manifest.recover(PARQUET)
        assert SHARD in line and "done again" in line and manifest.committed() == {}


def test_a_copied_record_counts_for_nothing(storage: Storage) -> None:
    manifest, record = Manifest(storage), stage(storage)
    manifest.publish(record, PARQUET)
    storage.write(f"{COMMITS}/{SHARD} (copy).json", record.to_json())
    assert manifest.committed() == {SHARD: record}


def test_the_plan_is_where_the_configuration_says_whenever_a_run_was_killed(
    storage: Storage,
) -> None:
    begun(storage)
    manifest, plan = Manifest(storage), Manifest(storage).read_plan()
    digest = manifest.plan_facts().sha256
    storage.move(
        "manifest/plan.parquet", f"{STAGING}/plan-{digest}.parquet"
    )  # killed before it was moved
    assert manifest.read_plan() == plan
    manifest.recover(PARQUET)
    assert storage.list(STAGING) == [] and manifest.read_plan() == plan
    content = bytearray(storage.read("manifest/plan.parquet"))
    content[len(content) // 2] ^= 1
    storage.write("manifest/plan.parquet", bytes(content))
    with pytest.raises(ManifestError, match="damaged"):
        manifest.read_plan()


def test_every_flipped_bit_and_every_cut_of_a_sealed_file_is_noticed() -> None:
    content = seal({"a": "é", "b": [1, 2.5, None], "checksum_of": "x"})
    assert unseal(content) == {"a": "é", "b": [1, 2.5, None], "checksum_of": "x"}
    for at in range(len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[at] ^= 1 << bit
            with pytest.raises(ValueError, match="checksum"):
                unseal(bytes(flipped))
        with pytest.raises(ValueError, match="checksum"):
            unseal(content[:at])


def test_a_file_is_removed_only_if_it_is_still_the_same(storage: Storage) -> None:
    storage.write("a/x", b"one")
    assert not storage.remove_if("a/x", b"two") and not storage.remove_if("a/y", b"")
    assert storage.remove_if("a/x", b"one") and not storage.exists("a/x")
    storage.write("a/b/y", b"12")
    storage.write("a/z", b"")
    assert dict(storage.find("a")) == {"b/y": 2, "z": 0} and dict(storage.find("none")) == {}


def test_what_a_killed_process_was_writing_is_known_from_what_a_live_one_is(
    tmp_path: Path,
) -> None:
    """Killed between the link and the unlink of a commit record; before the link, long ago; and not
    killed at all."""
    storage = LocalStorage(str(tmp_path))
    record, manifest = stage(storage), Manifest(storage)
    manifest.publish(record, PARQUET)
    commits = tmp_path / COMMITS
    linked, old, young, foreign = (
        commits / f".{SHARD}.json.{uuid.uuid4().hex}.tmp",
        commits / f".x.json.{uuid.uuid4().hex}.tmp",
        commits / f".y.json.{uuid.uuid4().hex}.tmp",
        commits / ".somebody's.tmp",
    )
    os.link(commits / f"{SHARD}.json", linked)
    for path in (old, young, foreign):
        path.write_bytes(b"{")
    os.utime(old, (1e9, 1e9))
    waiting = {record.staged or "": SHARD for record in manifest.records()}
    found = dict(strangers(storage, PARQUET, [SHARD], waiting))
    for path in (linked, old):
        assert "the next run removes it" in found.pop(f"{COMMITS}/{path.name}")
    assert list(found) == [f"{COMMITS}/{foreign.name}"]
    manifest.recover(PARQUET)
    assert sorted(commits.iterdir()) == sorted([commits / f"{SHARD}.json", young, foreign])
    assert manifest.committed() == {SHARD: record}
