"""Ray: the actors, and the driver that walks a plan with them. The only module that imports ray.

    driver ── shard ──▶ Runner (reads, decodes, cuts, packs, writes, commits)
                          │ batches of chunks, a bounded number under way
                          ▼
                        EncodeActor (holds the codec; one a GPU, or one a core)

Without GPUs every core gets an encode actor with one thread, which is faster than one process with many threads, and a
shard's batches spread over all of them, so that even a single shard uses the whole machine. With GPUs there is a runner for
almost every core; each sends to the GPUs of its own node, where there are any.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from pathlib import Path
from threading import Lock
from typing import Any

# Before ray is imported: no telemetry, and no advice about other people's settings on a user's terminal.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import numpy as np
import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError
from ray.job_config import JobConfig

from pipelines.auditing.recording import Auditor, AuditSettings, not_audited
from pipelines.auditing.results import RecordingAudit
from pipelines.auditing.sampling import Chosen
from pipelines.encoders import Chunk, EncoderLost, clocked_encode, warm_up
from pipelines.machine import own_paths, usable_cores
from pipelines.plan import PlannedShard
from pipelines.progress import Display, RunProgress, ShardProgress, refuse_more_failures
from pipelines.ray_token import require_token
from pipelines.remote import store_environment, work_for
from pipelines.signals import kept_signals
from pipelines.tokenize import CodecSettings, Journal, ShardJob, ShardResult, ShardWorker, WorkSettings
from tokenizer.allocator import keep_freed_memory
from tokenizer.codecs.base import ChunkCodes
from tokenizer.codecs.precision import PrecisionReport
from tokenizer.errors import CodecshardsError, FailureKind, RecordingError, UsageError

DEATHS_BEFORE_ISOLATION = 3
"""times that a shard's process may die before its recordings are taken one at a time"""
STARTS = 5
"""times that a runner may die before it has begun"""
POLL_SECONDS = 0.5
OBJECT_STORE_BYTES = 2 << 30
"""at least, where this run starts Ray"""
STORE_SHARE = 0.3
"""of a machine's memory that the object store may take with GPUs, as Ray has it by default"""
SHARED_MEMORY = Path("/dev/shm")
"""where the object store lies; it must fit in, or Ray moves it to a disk"""
CLIENT = "ray://"
CLIENT_PAUSES = (1.0, 5.0, 15.0)
"""seconds to wait before a head node is asked again that listens and cannot serve a client yet"""
KNOCK_SECONDS = 10.0
CORES_PER_RUNNER = 4
"""CPU encoders that one runner can feed: decoding is some 100 times faster than encoding"""
BATCHES_AHEAD = 2
"""for each encoder: one that it computes, one that waits for it"""
GPU_CALLS = 2
"""batches that a GPU's process takes at a time: one is filled and handed back while the other is computed"""
WINDOW_BYTES = 2 << 30
"""of batches under way to one GPU, from all runners together"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What this run may use."""

    cores: int
    gpus: int
    local: bool


class _OwnPaths(JobConfig):
    """A job whose workers do not search the driver's working folder, nor its script's, for modules: a user's `tokenizer.py`
    there would be run in place of this package."""

    def __init__(self) -> None:
        super().__init__(_py_driver_sys_path=own_paths())

    def _runtime_env_has_working_dir(self) -> bool:
        # Only then does Ray leave those two folders away.
        return True


@contextmanager
def connect(address: str | None, workers: int | None, gpus: int | None) -> Iterator[Cluster]:
    """Start Ray on this machine, or join a cluster, for the length of a `with` block.

    Raises:
        UsageError: no cluster answers at `address`, it lacks the GPUs asked for, or it fails in the block.
    """
    try:
        with kept_signals():  # Ray's own handler would end the process with another exit code, and a stack trace
            _init(address, workers, gpus)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        reason = _reason(error)
        raise UsageError(
            f"no Ray cluster at --address {address} ({reason})" if address else f"Ray could not start on this machine ({reason})"
        ) from error
    except BaseException:  # stopped half-way: what has been started must not outlive this process, nor crash it at its end
        ray.shutdown()
        raise
    try:
        yield _cluster(address, workers, gpus)
    except RayError as error:
        raise UsageError(f"Ray failed ({_last_line(error)}); run the same command again to go on") from error
    finally:
        ray.shutdown()


def _init(address: str | None, workers: int | None, gpus: int | None) -> None:
    if ray.is_initialized():  # a caller's own session, or the tests'
        raise RuntimeError("this process is connected to Ray already; call ray.shutdown() first")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    logging.getLogger("ray.client_builder").setLevel(logging.ERROR)
    if address:
        _knock(address)
        _join(address, quiet)
        return
    ray.init(
        address="local",  # without it Ray joins whatever cluster it finds on this machine
        num_cpus=workers or usable_cores(),
        num_gpus=gpus,
        include_dashboard=False,
        object_store_memory=_store_bytes(gpus),
        job_config=_OwnPaths(),
        **quiet,
    )


def _join(address: str, quiet: dict[str, Any]) -> None:
    """Connect to a running cluster. A busy head may need a while until it can start the process that serves a client."""
    client = address.startswith(CLIENT)
    if not client:  # a client's workers search no folder of this machine
        quiet = {**quiet, "job_config": _OwnPaths()}
    for pause in CLIENT_PAUSES if client else ():
        try:
            ray.init(address=address, **quiet)
            return
        except ConnectionError:
            time.sleep(pause)
    ray.init(address=address, **quiet)


def _store_bytes(gpus: int | None) -> int:
    """Room for the batches under way. Memory is taken as it is used, so that too much costs nothing."""
    if gpus == 0 or sys.platform == "darwin":  # where Ray allows no more
        return OBJECT_STORE_BYTES
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    shared = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else 0
    return max(OBJECT_STORE_BYTES, int(min(STORE_SHARE * memory, 0.9 * shared)))


def _knock(address: str) -> None:
    """See that something listens at `host:port`: where nothing does, Ray itself tries for six minutes."""
    host, _, port = address.removeprefix(CLIENT).rpartition(":")
    if not host or not port.isdigit():
        return  # `auto`, or a form that Ray checks
    with socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS):
        pass
    require_token(f"{host}:{port}", client=address.startswith(CLIENT))


def _cluster(address: str | None, workers: int | None, gpus: int | None) -> Cluster:
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    cores, cards = int(resources.get("CPU", 1)), int(resources.get("GPU", 0))
    if gpus is not None and gpus > cards:
        raise UsageError(f"--gpus {gpus}: the cluster has {cards}")
    return Cluster(
        cores=min(cores, workers) if workers else max(cores, 1),
        gpus=cards if gpus is None else gpus,
        local=address is None,
    )


class _EncodeActor:
    """Holds one codec and encodes batches with it."""

    def __init__(self, settings: CodecSettings) -> None:
        keep_freed_memory()
        self._settings = settings
        self._codec: Any = None
        self._loading = Lock()

    def where(self) -> str:
        return str(ray.get_runtime_context().get_node_id())

    def load(self) -> CodecshardsError | None:
        """Load the codec now; an error is returned, since one that is raised loses its type."""
        try:
            self._loaded()
        except CodecshardsError as error:
            return error
        return None

    def encode(self, chunks: list[Chunk]) -> tuple[list[ChunkCodes], float] | CodecshardsError:
        """Codes, and the seconds that they took."""
        try:
            with self._alive():
                return clocked_encode(self._loaded(), chunks)
        except CodecshardsError as error:
            return error

    def precision_report(self) -> PrecisionReport | None:
        report: PrecisionReport | None = self._loaded().precision_report()
        return report

    def decode(self, chunks: list[ChunkCodes]) -> list[Chunk] | CodecshardsError:
        try:
            with self._alive():
                samples: list[Chunk] = self._loaded().decode_chunks(chunks)
                return samples
        except CodecshardsError as error:
            return error

    def _loaded(self) -> Any:
        with self._loading:
            if self._codec is None:  # a restarted actor has lost it
                codec = self._settings.load(threads=1)
                warm_up(codec)
                self._codec = codec
            return self._codec

    @contextmanager
    def _alive(self) -> Iterator[None]:
        """A GPU that has failed fails for ever in this process: end it, so that Ray starts another and tries again."""
        try:
            yield
        except RuntimeError as error:
            if self._settings.device == "cuda" and "CUDA" in str(error):
                os._exit(1)
            raise


@dataclass(frozen=True, slots=True)
class _Feed:
    """Where a runner may send its chunks, and how many at a time."""

    actors: tuple[Any, ...]
    """encode actors"""
    nodes: tuple[str, ...]
    """id of each one's node"""
    nearby: bool
    """send only to those on the runner's own node, where there are any: what a GPU takes would fill a network"""
    batch_chunks: int
    window: int
    """batches that a runner may have under way"""

    def seen_from(self, node: str, number: int) -> tuple[Any, ...]:
        """The actors that runner `number` on `node` sends to, the one that gets its first batch in front."""
        near = [actor for actor, place in zip(self.actors, self.nodes, strict=True) if place == node]
        chosen = near if self.nearby and near else list(self.actors)
        first = number % len(chosen)
        return tuple(chosen[first:] + chosen[:first])


class RayEncoder:
    """Sends each batch to the encode actor that has the fewest of this runner's, so that none waits for a slower one."""

    def __init__(self, actors: Sequence[Any], batch_chunks: int, window: int) -> None:
        self.batch_chunks, self.window, self.lanes = batch_chunks, window, len(actors)
        self.busy = 0.0
        self._actors = list(actors)
        self._under_way: dict[Any, Any] = {}
        """actor by ticket"""

    def submit(self, chunks: Sequence[Chunk]) -> Any:
        actor = self._idlest()
        ticket = actor.encode.remote(list(chunks))
        self._under_way[ticket] = actor
        return ticket

    def result(self, ticket: Any) -> list[ChunkCodes]:
        try:
            found = ray.get(ticket)
        except RayActorError as error:
            raise EncoderLost("after several tries") from error
        finally:
            self._under_way.pop(ticket, None)
        if isinstance(found, CodecshardsError):
            raise found
        codes, seconds = found
        self.busy += seconds
        return list(codes)

    def decode(self, chunks: Sequence[ChunkCodes]) -> list[Chunk]:
        try:
            samples = ray.get(self._idlest().decode.remote(list(chunks)))
        except RayActorError as error:
            raise RecordingError(FailureKind.ENCODER, "decoding it killed its process, after several tries", "decode") from error
        if isinstance(samples, CodecshardsError):
            raise samples
        return list(samples)

    def _idlest(self) -> Any:
        """The actor with the fewest unfinished batches; of several, the one whose turn it is."""
        done, _ = ray.wait(list(self._under_way), num_returns=len(self._under_way), timeout=0) if self._under_way else ([], [])
        for ticket in done:
            self._under_way.pop(ticket)
        busy = list(self._under_way.values())
        actor = min(self._actors, key=busy.count)
        self._actors.remove(actor)
        self._actors.append(actor)
        return actor


class _Runner:
    """Works on one shard at a time; answers `progress` meanwhile on a thread of its own."""

    def __init__(self, settings: WorkSettings, feed: _Feed, number: int) -> None:
        keep_freed_memory()
        work_for()
        actors = feed.seen_from(self.where(), number)
        self._worker = ShardWorker(settings, RayEncoder(actors, feed.batch_chunks, feed.window))
        self._worker.decoder.start()

    def where(self) -> str:
        return str(ray.get_runtime_context().get_node_id())

    def run(self, job: ShardJob) -> ShardResult | CodecshardsError:
        try:
            return self._worker.run(job)
        except CodecshardsError as error:
            return error

    @ray.method(concurrency_group="status")
    def progress(self) -> ShardProgress:
        return replace(self._worker.progress)


@dataclass(slots=True, eq=False)
class _Slot:
    """One runner and what it is doing."""

    number: int
    actor: Any
    node: str
    job: ShardJob | None = None
    asked: Any = None
    """an unanswered request for progress"""
    seen: ShardProgress | None = None


class Driver:
    """Gives shards to runners until every shard is done; replaces runners that die."""

    def __init__(
        self,
        cluster: Cluster,
        settings: WorkSettings,
        codec: CodecSettings,
        journal: Journal,
        display: Display,
        max_failures: int | None,
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._codec = codec
        self._journal = journal
        self._display = display
        self._max_failures = max_failures
        self._deaths: dict[str, int] = {}
        self._slots: list[_Slot] = []
        self._actors: list[Any] = []
        self._feed = _Feed((), (), False, 0, 0)

    def run(self, shards: Sequence[PlannedShard], progress: RunProgress) -> None:
        """Do every shard.

        Raises:
            UsageError: the codec cannot be loaded where it runs, OUT cannot be written, too many failures.
        """
        todo = deque(ShardJob.of(shard) for shard in shards)
        planned = {shard.name: shard.seconds for shard in shards}
        self._slots = self._start(min(self._runners(), len(todo)))
        busy: dict[Any, _Slot] = {}
        while todo or busy:
            for slot in self._slots:
                if slot.job is None and todo:
                    slot.job = todo.popleft()
                    busy[slot.actor.run.remote(slot.job)] = slot
            done, _ = ray.wait(list(busy), timeout=POLL_SECONDS)
            for ref in done:
                slot = busy.pop(ref)
                job, slot.job, slot.seen = slot.job, None, None
                if job is None:
                    continue
                retry = self._settle(ref, slot, job, progress, planned)
                if retry is not None:
                    todo.appendleft(retry)
            self._poll(progress)

    def precision_report(self) -> PrecisionReport | None:
        """Of all encoders together; None where codes are exact."""
        reports: list[PrecisionReport | None] = ray.get([actor.precision_report.remote() for actor in self._actors])
        known = [report for report in reports if report is not None]
        return reduce(add, known) if known else None

    def _runners(self) -> int:
        cluster = self._cluster
        if cluster.gpus:
            return max(cluster.cores - cluster.gpus, 1)  # a GPU's process fills batches on a core of its own
        return max(1, -(-cluster.cores // CORES_PER_RUNNER))

    def _start(self, runners: int) -> list[_Slot]:
        """Start every process; runners start while the encoders load."""
        encoders = self._cluster.gpus or self._cluster.cores
        self._display.message(f"loading {self._codec.codec} in {encoders} process{'es' if encoders > 1 else ''} …")
        self._actors = [self._new_encoder() for _ in range(encoders)]
        places = [actor.where.remote() for actor in self._actors]
        loads = [actor.load.remote() for actor in self._actors]
        self._feed = self._feed_of(tuple(ray.get(places)), runners)
        started = [self._new_runner(number) for number in range(runners)]
        for error in ray.get(loads):
            if error is not None:
                raise error
        return [self._settled(number, actor) for number, actor in enumerate(started)]

    def _new_encoder(self) -> Any:
        options: dict[str, Any] = {"max_restarts": -1, "max_task_retries": 3, "scheduling_strategy": "SPREAD"}
        options |= {"num_gpus": 1, "num_cpus": 0, "max_concurrency": GPU_CALLS} if self._cluster.gpus else {"num_cpus": 1}
        actor_class: Any = ray.remote(**options, **_store_settings(self._cluster))(_EncodeActor)
        return actor_class.remote(self._codec)

    def _feed_of(self, nodes: tuple[str, ...], runners: int) -> _Feed:
        gpus, batch, spec = self._cluster.gpus, self._codec.batch_chunks, self._settings.spec
        window = BATCHES_AHEAD * len(nodes)
        if gpus and spec.chunk_length is not None:
            size = batch * spec.channels * spec.chunk_length * np.float32().nbytes
            window = min(window, max(WINDOW_BYTES * gpus // (runners * size), 1))
        return _Feed(tuple(self._actors), nodes, gpus > 0, batch, window)

    def _new_runner(self, number: int) -> Any:
        # On a CPU the encoders hold every core, and runners must not wait for one.
        cores = 1 if self._cluster.gpus else 0
        options: dict[str, Any] = {"num_cpus": cores, "scheduling_strategy": "SPREAD", "concurrency_groups": {"status": 1}}
        actor_class: Any = ray.remote(**options, **_store_settings(self._cluster))(_Runner)
        return actor_class.remote(self._settings, self._feed, number)

    def _settled(self, number: int, actor: Any) -> _Slot:
        """A runner once it is there; another in its place when it dies as it starts."""
        for _ in range(STARTS):
            try:
                return _Slot(number, actor, ray.get(actor.where.remote()))
            except RayActorError:
                self._display.message(f"runner {number} died as it started, trying again")
                actor = self._new_runner(number)
        raise UsageError(
            f"runner {number} died {STARTS} times as it started: look for lack of memory, then run the same command again"
        )

    def _settle(self, ref: Any, slot: _Slot, job: ShardJob, progress: RunProgress, planned: dict[str, float]) -> ShardJob | None:
        """Take in a shard's outcome; returns the job to try again, if it must be."""
        try:
            outcome = ray.get(ref)
        except RayActorError:
            return self._bury(slot, job)
        except RayTaskError as error:
            raise UsageError(f"shard {job.name}: {_last_line(error)} (a fault in codecshards: please report it)") from error
        if isinstance(outcome, RecordingError) or not isinstance(outcome, ShardResult):
            raise outcome
        progress.finish(planned[job.name], outcome.progress)
        refuse_more_failures(progress, self._max_failures)
        return None

    def _bury(self, slot: _Slot, job: ShardJob) -> ShardJob:
        """A runner died: start another, and decide how its shard is tried again."""
        node_died = not _is_alive(slot.node)
        fresh = self._settled(slot.number, self._new_runner(slot.number))
        slot.actor, slot.node, slot.asked = fresh.actor, fresh.node, None
        if node_died:  # says nothing about the shard
            return job
        deaths = self._deaths[job.name] = self._deaths.get(job.name, 0) + 1
        self._display.message(f"shard {job.name}: its process died ({deaths}), trying again")
        if deaths < DEATHS_BEFORE_ISOLATION:
            return job
        return self._isolate(job, deaths)

    def _isolate(self, job: ShardJob, deaths: int) -> ShardJob:
        suspect = self._journal.read(job.name) if job.careful else None
        if suspect is not None and suspect not in job.quarantined:
            self._display.message(f"shard {job.name}: {suspect} kills its process and is quarantined")
            self._deaths[job.name] = DEATHS_BEFORE_ISOLATION
            return replace(job, quarantined=(*job.quarantined, suspect))
        if deaths >= 2 * DEATHS_BEFORE_ISOLATION:
            raise UsageError(
                f"shard {job.name}: its process died {deaths} times and no recording is at fault; "
                "look for lack of memory on its machine"
            )
        return replace(job, careful=True)

    def _poll(self, progress: RunProgress) -> None:
        for slot in self._slots:
            if slot.job is None:
                continue
            if slot.asked is None:
                slot.asked = slot.actor.progress.remote()
            try:
                seen = ray.get(slot.asked, timeout=0)
                slot.asked = None
                if seen.name == slot.job.name:
                    slot.seen = seen
            except GetTimeoutError:
                continue
            except RayError:
                slot.asked = None
        progress.under_way = [slot.seen for slot in self._slots if slot.job is not None and slot.seen is not None]
        self._display.update(progress)


class _AuditActor:
    """Audits recordings, one after the other."""

    def __init__(self, settings: AuditSettings) -> None:
        self._settings = settings
        self._auditor: Auditor | None = None

    def load(self) -> CodecshardsError | None:
        """Load the codec now; an error is returned, since one that is raised loses its type."""
        try:
            self._loaded()
        except CodecshardsError as error:
            return error
        return None

    def run(self, chosen: Chosen) -> RecordingAudit | CodecshardsError:
        try:
            return self._loaded().run(chosen)
        except CodecshardsError as error:
            return error

    def _loaded(self) -> Auditor:
        if self._auditor is None:  # a restarted actor has lost it
            self._auditor = Auditor(self._settings, threads=1)
        return self._auditor


def audit_on_ray(
    cluster: Cluster,
    settings: AuditSettings,
    todo: Sequence[Chosen],
    finished: Callable[[Chosen, RecordingAudit], None],
) -> None:
    """Audit recordings on every GPU, or on every core where there is none; `finished` is told of each as it ends.

    Raises:
        CodecshardsError: the codec cannot be loaded where it runs, OUT cannot be written.
    """
    options: dict[str, Any] = {"max_restarts": -1, "max_task_retries": 2, "scheduling_strategy": "SPREAD"}
    options |= {"num_gpus": 1, "num_cpus": 0} if cluster.gpus else {"num_cpus": 1}
    device = "cuda" if cluster.gpus else "cpu"
    precision = settings.codec.precision if cluster.gpus else "exact"
    settings = replace(settings, codec=replace(settings.codec, device=device, precision=precision))
    actor_class: Any = ray.remote(**options, **_store_settings(cluster))(_AuditActor)
    idle = [actor_class.remote(settings) for _ in range(min(len(todo), cluster.gpus or cluster.cores))]
    for error in ray.get([actor.load.remote() for actor in idle]):
        if error is not None:
            raise error
    waiting = deque(todo)
    busy: dict[Any, tuple[Any, Chosen]] = {}
    while waiting or busy:
        while waiting and idle:
            actor, chosen = idle.pop(), waiting.popleft()
            busy[actor.run.remote(chosen)] = (actor, chosen)
        done, _ = ray.wait(list(busy))
        for ref in done:
            actor, chosen = busy.pop(ref)
            idle.append(actor)
            try:
                result = ray.get(ref)
            except RayActorError:
                result = not_audited(chosen, "the process that audited it died, again and again")
            except RayTaskError as error:
                result = not_audited(chosen, f"{_last_line(error)} (a fault in codecshards: please report it)")
            if isinstance(result, CodecshardsError):
                raise result
            finished(chosen, result)


def _store_settings(cluster: Cluster) -> dict[str, Any]:
    """What actors on other machines need of this process's environment to reach the same stores."""
    variables = {} if cluster.local else store_environment()
    return {"runtime_env": {"env_vars": variables}} if variables else {}


def _is_alive(node_id: str) -> bool:
    nodes: Any = ray.nodes()  # type: ignore[no-untyped-call]
    return any(node["NodeID"] == node_id and node["Alive"] for node in nodes)


def _reason(error: BaseException) -> str:
    """The first line of what Ray says; the last where the first only announces it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[-1] if lines[0].endswith(":") else lines[0]


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
