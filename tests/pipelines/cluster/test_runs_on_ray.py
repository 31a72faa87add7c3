"""Runs on Ray: equal to a run in one process, whatever is killed. One cluster serves all tests of
this file."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from corpora import write_corpus
from s3 import Bucket
from stored_rows import by_id

from pipelines import AuditOptions, audit
from pipelines.decoding.many import decode_many
from pipelines.evaluating.options import EvaluateOptions
from pipelines.evaluating.run import evaluate
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.inspect import inspect
from pipelines.output.verify import verify
from pipelines.run import tokenize_corpus
from pipelines.system.blame import LIMITS, DeathKind

ROOT = Path(__file__).resolve().parents[3]
ROUNDS = int(os.environ.get("CODECSHARDS_KILL_ROUNDS", "1"))
"""how often each kill test is repeated, at other moments each time"""


SHARD_HOURS = "0.004"
IMPATIENT = """
import sys
from pipelines.cli.main import main
from pipelines.cluster import team
team.SAY_SECONDS = 2.0
sys.exit(main())
"""
"""the command, but for how often it says what it waits for"""


ABORTING = """
import os
from pipelines.running.work import Work

class Abort:
    def begin(self, id):
        if id == FATAL:
            os.abort()

    def drop(self, id): pass
    def end(self, row, shard, report, codes): pass
    def write(self, shard): pass

class Aborting:
    def observer(self, storage, codec):
        return Abort()

Work._observer = lambda self: Aborting()
"""
"""something that looks on, and ends the process over one recording"""
TAKING_TIME = """
import time
from pipelines.cluster import driver

class EncodeActor(driver.EncodeActor):
    def encode(self, batch):
        time.sleep(0.1)
        return super().encode(batch)

driver.EncodeActor = EncodeActor
"""
"""encoders that are seldom idle, as EnCodec's, and start in a tenth of the time"""
BUSY = {"runner": "Runner.run", "encoder": "EncodeActor.encode"}


@dataclass(frozen=True)
class Scene:
    """A corpus, a codec, a cluster, and what an undisturbed run writes."""

    corpus: Path
    codec: str
    address: str
    client: str
    """the same cluster's `ray://` address"""
    expected: dict[str, bytes]
    plain: Path
    """what a run in one process writes with `--codec mulaw`, which starts faster"""
    cluster: Any
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def command(self, out: Path | str, *more: str, first: str = "") -> list[str]:
        code = f"{first}\n{IMPATIENT}"
        base = [sys.executable, "-c", code, "tokenize", str(self.corpus), str(out)]
        where = [] if "--workers" in more else ["--address", self.address]
        return [*base, "--codec", self.codec, "--shard-hours", SHARD_HOURS, *where, *more]

    def start(
        self, out: Path, *more: str, first: str = "", stderr: int | TextIO = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        """The run in a process, which does `first` before."""
        command = self.command(out, *more, first=first)
        process = subprocess.Popen(command, cwd=ROOT, stderr=stderr, text=True)
        self.started.append(process)
        return process

    def finish(self, out: Path | str, *more: str) -> str:
        ended = subprocess.run(
            self.command(out, *more), cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 3, ended.stderr
        return ended.stderr

    def assert_undisturbed(self, out: Path, plain: bool = False) -> None:
        assert verify(str(out)) == []
        assert shard_bytes(out) == (shard_bytes(self.plain) if plain else self.expected)


@pytest.fixture(autouse=True)
def nothing_is_left_running(scene: Scene) -> Iterator[None]:
    """A run that a failed test leaves behind would hold the cluster's cores, and fail the tests
    that follow."""
    yield
    for process in scene.started:
        process.kill()
        process.wait()
    scene.started.clear()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def shard_bytes(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "data").iterdir())}


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    from ray.cluster_utils import Cluster

    root = tmp_path_factory.mktemp("ray")
    corpus = write_corpus(root / "corpus", 24, longest=300_000)
    config = TokenizeConfig(str(corpus), codec="small", shard_hours=float(SHARD_HOURS))
    here = RunOptions(workers=0, quiet=True, device="cpu")
    tokenize_corpus(config, str(root / "expected"), here)
    tokenize_corpus(replace(config, codec="mulaw"), str(root / "plain"), here)
    port = free_port()
    head = {
        "num_cpus": 2,
        "object_store_memory": 512 << 20,
        "include_dashboard": False,
    }
    with pytest.MonkeyPatch.context() as patch:
        # Ray's workers import the package from where the tests run; an empty part would be the
        # working folder.
        paths = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        # A node that was killed refuses connections: Ray asks ten times, at its own pace for half a
        # minute. One that is only busy has as long as ever.
        patch.setenv("RAY_health_check_period_ms", "500")
        patch.setenv("RAY_health_check_failure_threshold", "10")
        cluster = Cluster(
            initialize_head=True, head_node_args={**head, "ray_client_server_port": port}
        )
    try:
        yield Scene(
            corpus,
            config.codec,
            cluster.address,
            f"ray://127.0.0.1:{port}",
            shard_bytes(root / "expected"),
            root / "plain",
            cluster,
        )
    finally:
        cluster.shutdown()


def actors(kind: str) -> list[int]:
    """Process ids of the actors of a kind, in the tests' own cluster and in no other on this
    machine."""
    processes = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in processes if is_actor(pid, kind) and is_ours(pid)]


def is_actor(pid: int, kind: str) -> bool:
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes().startswith(b"ray::" + kind.encode())
    except OSError:
        return False


def is_ours(pid: int) -> bool:
    """Whether the process hangs below a raylet that the tests themselves have started."""
    return parent(parent(pid)) == os.getpid()


def parent(pid: int) -> int:
    try:
        return int(Path("/proc", str(pid), "stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


def wait_for(condition: Callable[[], object], seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.005)


def commits(out: Path) -> list[Path]:
    return sorted(out.glob("manifest/commits/*.json"))


def test_nodes_reach_the_driver_s_store(scene: Scene, bucket: Bucket) -> None:
    """Its variables say where it is and who asks; the cluster was started without them."""
    text = scene.finish(bucket.url("out"), "--codec", "mulaw")
    names = [key.rsplit("/", 1)[-1] for key in bucket.keys("out/data/")]
    expected = shard_bytes(scene.plain)
    assert len(expected) > 3
    assert {name: bucket.get(f"out/data/{name}") for name in names} == expected
    assert "real time" in text and "recordings failed" in text


def test_several_sources_by_channel_and_split_are_as_in_one_process(
    scene: Scene, tmp_path: Path
) -> None:
    talks = tmp_path / "test-clean" / "1" / "2"
    talks.mkdir(parents=True)
    noise = np.random.default_rng(0).standard_normal((20_000, 2)) * 0.1
    for number in range(3):
        soundfile.write(talks / f"1-2-000{number}.flac", noise[number:], 16_000)
    (talks / "1-2.trans.txt").write_text("".join(f"1-2-000{n} WORD {n}\n" for n in range(3)))
    config = TokenizeConfig(
        (str(scene.corpus), str(tmp_path / "test-clean")),
        codec="mulaw",
        shard_hours=float(SHARD_HOURS),
        channels="split",
    )
    for out, options in (
        ("here", RunOptions(workers=0, quiet=True)),
        ("ray", RunOptions(address=scene.address, quiet=True)),
    ):
        tokenize_corpus(config, str(tmp_path / out), options)
    assert shard_bytes(tmp_path / "ray") == shard_bytes(tmp_path / "here")
    assert verify(str(tmp_path / "ray")) == []
    rows = by_id(tmp_path / "ray", "test_clean")
    texts = {id.rpartition("/")[2]: row["text"] for id, row in rows.items()}
    assert texts == {f"1-2-000{n}.flac#{c}": f"WORD {n}" for n in range(3) for c in (0, 1)}


def test_without_an_address_a_run_has_a_ray_of_its_own(scene: Scene, tmp_path: Path) -> None:
    """Though a cluster runs on this machine, which is none of its business."""
    process = scene.start(tmp_path / "out", "--codec", "mulaw", "--workers", "2")
    joined = 0
    while process.poll() is None:
        joined += len(actors("EncodeActor"))
        time.sleep(0.2)
    assert process.returncode == 3, process.stderr and process.stderr.read()
    assert not joined and verify(str(tmp_path / "out")) == []
    assert shard_bytes(tmp_path / "out") == shard_bytes(scene.plain)


def test_through_rays_client_the_result_is_the_same(scene: Scene, tmp_path: Path) -> None:
    wait_for(lambda: answers(scene.client))
    scene.finish(tmp_path / "out", "--codec", "mulaw", "--address", scene.client)
    assert shard_bytes(tmp_path / "out") == shard_bytes(scene.plain)


def answers(address: str) -> bool:
    host, port = address.removeprefix("ray://").split(":")
    with socket.socket() as knock:
        return knock.connect_ex((host, int(port))) == 0


@pytest.mark.parametrize("round", range(ROUNDS))
def test_a_driver_that_is_stopped_or_killed_loses_nothing(
    scene: Scene, tmp_path: Path, round: int
) -> None:
    """One after the other on the same folder, and then to its end."""
    out, chance = tmp_path / "out", random.Random(round)
    small = ("--codec", "mulaw", "--shard-hours", "0.001")
    config = TokenizeConfig(str(scene.corpus), codec="mulaw", shard_hours=0.001)
    tokenize_corpus(config, str(tmp_path / "plain"), RunOptions(workers=0, quiet=True))
    before: dict[str, int] = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        process = scene.start(out, *small)
        wait_for(lambda: len(commits(out)) > len(before) or process.poll() is not None)  # noqa: B023
        time.sleep(chance.uniform(0, 0.3))
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
        if number == signal.SIGKILL:
            assert process.returncode == -number, error
        else:
            assert process.returncode == 128 + number, error
            assert "run the same command again" in error
            assert "Traceback" not in error and "received at" not in error
        now = {path.name: path.stat().st_mtime_ns for path in commits(out)}
        assert before.items() <= now.items(), "committed shards are not redone"
        before = now
    scene.finish(out, *small)
    assert before.items() <= {p.name: p.stat().st_mtime_ns for p in commits(out)}.items()
    assert verify(str(out)) == [] and shard_bytes(out) == shard_bytes(tmp_path / "plain")


def test_a_recording_that_kills_its_process_is_quarantined_and_the_others_go_on(
    scene: Scene, tmp_path: Path
) -> None:
    """Its runner aborts whenever it begins that recording."""
    out = tmp_path / "out"
    fatal = "a/003.flac"
    command = scene.command(out, "--codec", "mulaw", first=f"FATAL = {fatal!r}\n{ABORTING}")
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    error = ended.stderr
    assert ended.returncode == 3, error
    assert {f.id: f.kind for f in inspect(str(out)).failures} == {
        "broken.wav": "truncated",
        fatal: "quarantined",
    }, error
    assert f"{fatal} kills its process" in error and "is quarantined" in error
    assert error.count("its process died of") == 1 + LIMITS[DeathKind.CRASHED], error
    assert verify(str(out)) == []


def test_kills_from_outside_cost_no_recording(scene: Scene, tmp_path: Path) -> None:
    """Of decoders, runners and encoders, as the kernel kills when memory runs out; in as many runs
    as these kills take."""
    chance, kills = random.Random(0), 0
    while kills < 6 * ROUNDS:
        out, before = tmp_path / f"out-{kills}", kills
        process = scene.start(out, "--codec", "mulaw", first=TAKING_TIME)
        wait_for(lambda: actors("Runner.run") or process.poll() is not None)  # noqa: B023
        while process.poll() is None and kills < 6 * ROUNDS:
            kind = ("decoder", "runner", "encoder")[kills % 3]
            chosen = decoders() if kind == "decoder" else actors(BUSY[kind])
            if chosen:
                kills += 1
                with suppress(ProcessLookupError):
                    os.kill(chance.choice(chosen), signal.SIGKILL)
                time.sleep(chance.uniform(0.2, 1.0))
            time.sleep(0.02)
        error = process.communicate(timeout=240)[1]
        assert process.returncode == 3, error
        scene.assert_undisturbed(out, plain=True)
        print(f"{kills - before} kills in a run")


def test_a_lost_node_costs_nothing_and_a_new_one_is_used(scene: Scene, tmp_path: Path) -> None:
    """Its encoders, its runner and what they were working on are gone; the others go on, and need
    not wait for the next."""
    extra = {"num_cpus": 2, "object_store_memory": 256 << 20}
    nodes = [scene.cluster.add_node(**extra)]
    try:
        process = scene.start(tmp_path / "out", "--codec", "mulaw", first=TAKING_TIME)
        wait_for(lambda: commits(tmp_path / "out") or process.poll() is not None)
        scene.cluster.remove_node(nodes.pop(), allow_graceful=False)
        nodes.append(scene.cluster.add_node(**extra))
        error = process.communicate(timeout=240)[1]
    finally:
        for node in nodes:
            scene.cluster.remove_node(node)
    assert process.returncode == 3, error
    scene.assert_undisturbed(tmp_path / "out", plain=True)


def test_when_every_gpu_s_node_is_lost_the_run_says_so_and_goes_on_with_the_next(
    scene: Scene, tmp_path: Path
) -> None:
    """With logical GPUs: the codec computes on the CPU, as these have no more to them."""
    extra, log = {"num_cpus": 2, "object_store_memory": 256 << 20}, tmp_path / "log"
    nodes = [scene.cluster.add_node(num_gpus=2, **extra)]
    with log.open("w") as told:
        process = scene.start(tmp_path / "out", "--gpus", "2", "--device", "cpu", stderr=told)
    try:
        seen = 0
        while not commits(tmp_path / "out") and process.poll() is None:
            seen = max(seen, len(actors("EncodeActor")))
            time.sleep(0.05)
        scene.cluster.remove_node(nodes.pop(), allow_graceful=False)
        wait_for(
            lambda: (
                "0 of 0 GPUs of the cluster are free" in log.read_text()
                or process.poll() is not None
            )
        )
        assert process.poll() is None, log.read_text()
        nodes.append(scene.cluster.add_node(num_gpus=1, **extra))
        process.wait(timeout=240)
    finally:
        for node in nodes:
            scene.cluster.remove_node(node)
    text = log.read_text()
    assert process.returncode == 3, text
    assert seen == 2, "each GPU has one encoder"
    assert "waiting for a place for an encoder" in text and "Traceback" not in text
    scene.assert_undisturbed(tmp_path / "out")


def test_an_audit_loses_nothing_with_a_node_and_an_actor(scene: Scene, tmp_path: Path) -> None:
    out = Path(shutil.copytree(scene.plain, tmp_path / "out"))
    options = AuditOptions(all=True, page=False, quiet=True, device="cpu")
    audit(str(out), options=replace(options, workers=0))
    report = out / "audit" / "report.json"
    expected = json.loads(report.read_text())["recordings"]
    report.unlink()
    node = scene.cluster.add_node(num_cpus=2, object_store_memory=256 << 20)
    command = [sys.executable, "-m", "pipelines", "audit", str(out), "--all", "--no-page"]
    process = subprocess.Popen(
        [*command, "--address", scene.address], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    scene.started.append(process)
    try:
        wait_for(lambda: list(out.glob("audit/parts/*")) or process.poll() is not None)
        kill([*actors("PoolActor.run"), *actors("PoolActor")][:1], signal.SIGKILL)
    finally:
        scene.cluster.remove_node(node, allow_graceful=False)
    error = process.communicate(timeout=240)[1]
    assert process.returncode == 0 and "trying again" in error, error
    assert json.loads(report.read_text())["recordings"] == expected


def test_an_evaluation_has_the_same_figures_on_ray(scene: Scene, tmp_path: Path) -> None:
    asked = EvaluateOptions(
        codec=("mulaw",),
        against=("opus",),
        bandwidths=("24",),
        excerpts=4,
        seconds=1.0,
        metrics=("si-snr",),
        device="cpu",
        quiet=True,
    )
    here, there = tmp_path / "here", tmp_path / "there"
    evaluate(str(scene.corpus), options=replace(asked, report=str(here), workers=0))
    on_ray = replace(asked, report=str(there), workers=None, address=scene.address)
    evaluate(str(scene.corpus), options=on_ray)
    first, second = (
        pq.read_table(folder / "results.parquet")
        .drop_columns(["encode_seconds", "decode_seconds"])
        .to_pylist()
        for folder in (here, there)
    )
    assert first == second and len(first) == 16  # of two domains
    written = {path.name for path in (there / "audio").iterdir()}
    assert written == {"reference", "mulaw-24", "opus-24"}


SLOW = """
import sys, time
from pipelines.cli.main import main
from pipelines.decoding import on_cluster

class Slow(on_cluster.DecodeWorker):
    def run(self, group):
        time.sleep(0.4)
        return super().run(group)

on_cluster.DecodeWorker, on_cluster._GROUP_SECONDS = Slow, 2.0
sys.exit(main())
"""


def test_decoding_loses_nothing_with_a_node_an_actor_and_the_driver(
    scene: Scene, tmp_path: Path
) -> None:
    """Files, table and lists are those of one process, though it was stopped and gone on with."""
    decode_many(str(scene.plain), str(tmp_path / "here" / "to"), workers=0, quiet=True)
    to = tmp_path / "there" / "to"
    arguments = ["decode", str(scene.plain), "--all", "--to", str(to), "--address", scene.address]

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", SLOW, *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        scene.started.append(process)
        return process

    def there() -> int:
        """Files so far; folders that go while it looks are passed over, which `rglob` does not."""
        return sum(name.endswith(".flac") for *_, names in os.walk(to) for name in names)

    first = start()
    wait_for(lambda: there() or first.poll() is not None)
    assert first.poll() is None, first.communicate()[1]
    first.kill()
    first.communicate()
    begun = there()
    node = scene.cluster.add_node(num_cpus=2, object_store_memory=256 << 20)
    second = start()
    try:
        wait_for(lambda: there() > begun + 2 or second.poll() is not None)
        kill([*actors("PoolActor.run"), *actors("PoolActor")][:1], signal.SIGKILL)
    finally:
        scene.cluster.remove_node(node, allow_graceful=False)
    error = second.communicate(timeout=240)[1]
    assert second.returncode == 0 and "trying again" in error, error
    assert "Traceback" not in error
    assert decoded(to) == decoded(tmp_path / "here" / "to")


def decoded(to: Path) -> dict[str, bytes]:
    """All that a folder of recordings holds, with its own place taken out of the list for Kaldi."""
    return {
        path.relative_to(to).as_posix(): path.read_bytes().replace(str(to).encode(), b"TO")
        for path in to.rglob("*")
        if path.is_file() and ".decode" not in path.parts
    }


def decoders() -> list[int]:
    """Process ids of decoders below the tests' own runners."""
    runners = set(actors("Runner"))
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and parent(int(entry.name)) in runners
    ]


def kill(pids: list[int], number: int) -> None:
    """Send a signal, and see them go."""
    for pid in pids:
        os.kill(pid, number)
    wait_for(lambda: not any(Path("/proc", str(pid)).exists() for pid in pids))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--gpus", "3"], "the cluster has 0"),
        (["--address", "127.0.0.1:1"], "no Ray cluster at --address"),
    ],
)
def test_impossible_resources_are_one_line(
    scene: Scene, tmp_path: Path, more: list[str], words: str
) -> None:
    ended = subprocess.run(
        scene.command(tmp_path / "out", *more),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2 and words in ended.stderr.splitlines()[-1], ended.stderr
    assert "Traceback" not in ended.stderr
