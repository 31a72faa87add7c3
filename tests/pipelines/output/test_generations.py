"""A generation is there with its plan or it is not, whoever is killed when, and however many begin
one at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from test_formats import FOOTER, make_row
from test_storage_manifest import SPEC

from pipelines.output.config import TokenizeConfig
from pipelines.output.formats import shard_format
from pipelines.output.manifest.commits import CommitRecord, Failure, Manifest
from pipelines.output.manifest.generations import APPEND, RETRY
from pipelines.output.manifest.leases import Lease, at_work, new_run
from pipelines.output.manifest.names import CONFIG, hash_file, staged_name
from pipelines.output.manifest.strangers import strangers
from pipelines.output.plan import Plan, PlannedShard, make_plan
from pipelines.output.storage import LocalStorage, Storage
from pipelines.output.stored_run import StoredRun
from pipelines.output.verify import verify
from tokenizer.errors import ManifestError, OutputError
from tokenizer.types import Recording

PARQUET = shard_format("parquet")
FORK = get_context("fork")
ROOT = Path(__file__).resolve().parents[3]
FIRST, SECOND, THIRD = ("a", "b", "c"), ("d", "e"), ("f",)


def plan_of(*ids: str) -> Plan:
    """A shard for each."""
    recordings = [Recording(id, f"{id}.wav", seconds=1.0) for id in ids]
    return make_plan(recordings, shard_hours=0.5 / 3600)


def begun(root: Path) -> Manifest:
    manifest = Manifest(LocalStorage(str(root)))
    manifest.begin(StoredRun(TokenizeConfig("corpus"), SPEC, "1"), plan_of(*FIRST))
    return manifest


def commit(manifest: Manifest, shard: PlannedShard, run: str) -> None:
    """What a worker does, with rows that follow from the ids."""
    staged = staged_name(shard.name, PARQUET, run)
    rows = [replace(make_row(ord(one.id)), id=one.id) for one in shard.recordings]
    with manifest.storage.stage(staged) as path:
        PARQUET.write(path, rows, FOOTER)
        size, digest = Path(path).stat().st_size, hash_file(path)
    record = CommitRecord(
        shard=shard.name,
        format="parquet",
        fingerprint=shard.fingerprint,
        rows=len(rows),
        frames=sum(row.codes.frames for row in rows),
        chunks=sum(len(row.codes.chunk_frames) for row in rows),
        num_samples=sum(row.codes.num_samples for row in rows),
        bytes=size,
        sha256=digest,
        staged=staged,
        failures=(),
    )
    manifest.publish(record, PARQUET)


def go_on(root: Path, *later: tuple[str, ...]) -> None:
    """A run that finishes what is planned and then appends, as often as it is told."""
    manifest, run = begun(root), new_run()
    with Lease(manifest.storage, run, CONFIG, redoes=False):
        for ids in ((), *later):
            there = False
            while not there:
                plans = manifest.read_plans()
                there = set(ids) <= set(plans.ids())
                if not there:
                    manifest.begin_generation(APPEND, plan_of(*ids), len(plans.parts), run)
                missing = set(manifest.settle(PARQUET).missing)
                for shard in manifest.read_plans().shards:
                    if shard.name in missing:
                        commit(manifest, shard, run)
    manifest.tidy(run)


class Mortal(LocalStorage):
    """A folder whose process dies at a step."""

    steps = 0
    last = 1 << 30

    def _step(self) -> None:
        type(self).steps += 1
        if self.steps == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


def _mortal(name: str) -> Any:
    inner: Callable[..., Any] = getattr(LocalStorage, name)

    def step(self: Mortal, *given: Any) -> Any:
        self._step()
        done = inner(self, *given)
        self._step()
        return done

    return step


for _name in ("create", "move", "remove", "write", "remove_if"):
    setattr(Mortal, _name, _mortal(_name))


def _die(root: Path, step: int) -> None:
    Mortal.last = step
    manifest, run = Manifest(Mortal(str(root))), new_run()
    with Lease(manifest.storage, run, CONFIG, redoes=False):
        manifest.begin_generation(APPEND, plan_of(*SECOND), 1, run)
        for shard in manifest.read_plans().shards:
            if not manifest.is_committed(shard.name):
                commit(manifest, shard, run)
        manifest.begin_generation(APPEND, plan_of(*THIRD), 2, run)
        manifest.settle(PARQUET)
    manifest.tidy(run)


def files(root: Path) -> dict[str, bytes]:
    """What lies there; names of staged files are each attempt's own."""
    return {
        str(path.relative_to(root)): b"" if path.suffix == ".json" else path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("whole") / "out"
    go_on(root, SECOND, THIRD)
    return files(root)


def test_a_kill_at_any_step_changes_nothing_of_the_end(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    step, died = 0, True
    while died:
        step += 1
        root = tmp_path / f"{step}"
        go_on(root)
        before = {name: (root / name).stat().st_mtime_ns for name in files(root)}
        child = FORK.Process(target=_die, args=(root, step))
        child.start()
        child.join()
        died = child.exitcode == -signal.SIGKILL
        assert died or child.exitcode == 0
        go_on(root, SECOND, THIRD)
        assert files(root) == undisturbed
        assert {name: (root / name).stat().st_mtime_ns for name in before} == before
        manifest = Manifest(LocalStorage(str(root)))
        plans = [
            f"manifest/{folder}/{number:05d}.{kind}"
            for number in (1, 2)
            for folder, kind in (("generations", "json"), ("plans", "parquet"))
        ]
        names = manifest.planned_names()
        assert list(strangers(manifest.storage, PARQUET, names, {}, plans)) == []
        assert list(manifest.read_plans().ids()) == [*FIRST, *SECOND, *THIRD]
    assert step > 20


def test_of_many_that_begin_at_once_one_does(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    root = tmp_path / "out"
    go_on(root)
    runs = [FORK.Process(target=go_on, args=(root, SECOND, THIRD)) for _ in range(4)]
    for one in runs:
        one.start()
    for one in runs:
        one.join()
        assert one.exitcode == 0
    go_on(root, SECOND, THIRD)
    assert files(root) == undisturbed


def test_shards_are_numbered_on_and_sort_as_they_came(tmp_path: Path) -> None:
    go_on(tmp_path / "out", SECOND, THIRD)
    manifest = Manifest(LocalStorage(str(tmp_path / "out")))
    names = manifest.planned_names()
    assert (
        names
        == sorted(names)
        == [
            *(f"train-0000{number}-of-00003" for number in range(3)),
            *(f"train-0000{number}-of-00005" for number in (3, 4)),
            "train-00005-of-00006",
        ]
    )
    assert len(set(manifest.fingerprints().values())) == 3
    assert manifest.read_plans().holding(["d", "f", "x"]) == {3, 5}
    assert [record.shard for record in manifest.records()] == names


@pytest.fixture
def failed(tmp_path: Path) -> Iterator[Manifest]:
    """An output in which `b` was unavailable."""
    manifest, run = begun(tmp_path / "out"), new_run()
    for shard in manifest.read_plans().shards:
        commit(manifest, shard, run)
    name = manifest.planned_names()[1]
    record = manifest.record(name)
    failure = Failure("b", "b.wav", "unavailable", "b.wav: no answer", "open")
    manifest.storage.remove(f"manifest/commits/{name}.json")
    manifest.storage.remove(f"data/{name}.parquet")
    none = {"rows": 0, "frames": 0, "chunks": 0, "num_samples": 0, "bytes": 0}
    gone = replace(record, **none, sha256=None, staged=None, failures=(failure,))
    assert manifest.publish(gone, PARQUET)
    yield manifest


def _supersede(storage: Storage, shard: PlannedShard) -> None:
    """What a run does that tries an outage's recordings again in their place."""
    manifest, run = Manifest(storage), new_run()
    staged = staged_name(shard.name, PARQUET, run)
    with storage.stage(staged) as path:
        PARQUET.write(path, [replace(make_row(1), id="b")], FOOTER)
        size, digest = Path(path).stat().st_size, hash_file(path)
    record = manifest.record(shard.name)
    better = replace(record, rows=1, bytes=size, sha256=digest, staged=staged, failures=())
    assert manifest.supersede(better, PARQUET) is False
    assert storage.list("manifest/staging") == []


def test_what_a_retry_has_planned_is_not_done_in_its_old_place_too(failed: Manifest) -> None:
    assert failed.begin_generation(RETRY, plan_of("b"), 1, new_run(), retried=1)
    assert [failure.id for record in failed.records() for failure in record.failures] == []
    old = failed.read_plans().shards[1]
    _supersede(failed.storage, old)
    assert [one.id for one in failed.record(old.name).failures] == ["b"]  # as it was written
    plans = failed.read_plans()
    assert plans.count == 3 and sorted(plans.ids()) == ["a", "b", "c"]
    assert plans.holding(["b"]) == {3}


def test_a_run_that_may_do_shards_again_is_told_from_one_that_adds_some(failed: Manifest) -> None:
    storage = failed.storage
    with Lease(storage, "a" * 12, CONFIG, redoes=False):
        assert at_work(storage, "b" * 12) == []
    with Lease(storage, "a" * 12, CONFIG):
        (said,) = at_work(storage, "b" * 12)
        assert f"process {os.getpid()}" in said and at_work(storage, "a" * 12) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux tells what has ended")
def test_a_run_whose_parent_has_not_noticed_its_end_is_over(failed: Manifest) -> None:
    code = (
        "import sys; from pipelines.output.manifest.leases import Lease;"
        "from pipelines.output.storage.local import LocalStorage;"
        f"Lease(LocalStorage({failed.storage.root!r}), 'a' * 12, 'x')._write();"
        "print('there', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as run:
        assert run.stdout is not None and run.stdout.readline() == b"there\n"
        assert len(at_work(failed.storage, "b" * 12)) == 1
        run.kill()
        os.waitid(os.P_PID, run.pid, os.WEXITED | os.WNOWAIT)
        assert at_work(failed.storage, "b" * 12) == []


def test_a_run_that_is_stopped_as_it_begins_leaves_no_lease(
    failed: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(self: Lease) -> None:
        write(self)
        raise KeyboardInterrupt

    write = Lease._write
    monkeypatch.setattr(Lease, "_write", stopped)
    with pytest.raises(KeyboardInterrupt), Lease(failed.storage, "a" * 12, CONFIG):
        pass
    assert failed.storage.list("manifest/runs") == []


def test_a_missing_generation_is_no_smaller_folder(tmp_path: Path) -> None:
    root = tmp_path / "out"
    go_on(root, SECOND, THIRD)
    (root / "manifest/generations/00001.json").unlink()
    with pytest.raises(ManifestError, match=r"generations/00001.json is missing, and 00002.json"):
        Manifest(LocalStorage(str(root))).planned_names()
    with pytest.raises(OutputError):
        go_on(root)


def test_a_copy_of_a_generation_s_file_is_a_stranger(tmp_path: Path) -> None:
    go_on(tmp_path, SECOND, THIRD)
    folder = tmp_path / "manifest/generations"
    content = (folder / "00002.json").read_bytes()
    names = ("00002 (copy).json", "Copy of 00001.json", "00001.json.json", "notes.json", "00002~")
    for name in names:
        (folder / name).write_bytes(content)
    assert len(Manifest(LocalStorage(str(tmp_path))).generations()) == 3
    found = {str(one).split(": ")[0].rsplit("/", 1)[-1] for one in verify(str(tmp_path))}
    assert set(names) <= found
    (folder / "00001.json").rename(folder / "old-00001.json")
    with pytest.raises(ManifestError, match="is missing"):
        Manifest(LocalStorage(str(tmp_path))).generations()
