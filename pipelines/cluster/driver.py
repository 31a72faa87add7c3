"""Ray: the actors, and the driver that walks a plan with them. The only module that imports ray.

    driver ── shard ──▶ Runner (reads, decodes, cuts, packs, writes, commits)
                          │ batches of chunks, a bounded number under way
                          ▼
                        EncodeActor (holds the codec; one a GPU, or one a core)

Without GPUs every core gets an encode actor with one thread, which is faster than one process with
many threads, and a shard's batches spread over all of them, so that even a single shard uses the
whole machine. With GPUs there is a runner for almost every core; each sends to the GPUs of its own
node, where there are any.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import reduce
from importlib.metadata import version
from operator import add
from pathlib import Path
from threading import Condition, Lock
from typing import Any

# Before ray is imported: no telemetry, and no advice about other people's settings on a user's
# terminal.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import numpy as np
import ray
from ray.exceptions import (
    ActorUnavailableError,
    GetTimeoutError,
    RayActorError,
    RayError,
    RayTaskError,
)
from ray.job_config import JobConfig
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipelines.auditing.choose.sampling import Chosen
from pipelines.auditing.recording import Auditor, AuditSettings, not_audited
from pipelines.auditing.results import RecordingAudit
from pipelines.cluster.local import HeadWatch, private_folder
from pipelines.cluster.token import require_token
from pipelines.output.plan import PlannedShard
from pipelines.system.blame import Death, DeathKind, LastWords, Trial
from pipelines.system.machine import own_paths, usable_cores
from pipelines.system.remote import store_environment, work_for
from pipelines.system.signals import kept_signals
from pipelines.tokenizing.encoders import Chunk, EncoderLost, clocked_encode, warm_up
from pipelines.tokenizing.jobs import (
    CodecSettings,
    Journal,
    ShardJob,
    ShardResult,
    ShardWorker,
    WorkSettings,
)
from pipelines.tokenizing.progress import Display, RunProgress, ShardProgress, refuse_more_failures
from tokenizer.allocator import keep_freed_memory
from tokenizer.codecs.base import ChunkCodes
from tokenizer.codecs.precision import PrecisionReport
from tokenizer.errors import CodecshardsError, FailureKind, RecordingError, UsageError

DEATHS_BEFORE_ISOLATION = {DeathKind.CRASHED: 1, DeathKind.MEMORY: 2, DeathKind.KILLED: 16}
"""deaths of a shard's processes, by kind, before its recordings are taken one at a time"""
MOST_DEATHS = 120
"""of one shard's processes, when no recording can be named"""
STARTS = 5
"""times in a row that a process may die before it has begun"""
DECODE_TRIES = 4
WORDS_SECONDS = 60.0
"""to ask a node how one of its processes died"""
LOOK_SECONDS = 2.0
"""between looks at the encoders"""
COUNT_SECONDS = 10.0
"""between looks at how many nodes there are"""
SAY_SECONDS = 30.0
"""between messages while nothing can be done"""
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
LOOPBACK = "127.0.0.1"
CORES_PER_RUNNER = 4
"""CPU encoders that one runner can feed: decoding is some 100 times faster than encoding"""
BATCHES_AHEAD = 2
"""for each encoder: one that it computes, one that waits for it"""
GPU_CALLS = 2
"""batches that a GPU's process takes at a time: one is filled and handed back while the other is
computed"""
WINDOW_BYTES = 2 << 30
"""of batches under way to one GPU, from all runners together"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What this run may use."""

    cores: int
    gpus: int
    local: bool
    most_cores: int | None = None
    """what was asked for; None takes all there are, and those of nodes that join"""
    most_gpus: int | None = None


class _OwnPaths(JobConfig):
    """A job whose workers do not search the driver's working folder, nor its script's, for modules:
    a user's `tokenizer.py` there would be run in place of this package."""

    def __init__(self) -> None:
        super().__init__(_py_driver_sys_path=own_paths())

    def _runtime_env_has_working_dir(self) -> bool:
        # Only then does Ray leave those two folders away.
        return True


@contextmanager
def connect(address: str | None, workers: int | None, gpus: int | None) -> Iterator[Cluster]:
    """Start Ray on this machine, or join a cluster, for the length of a `with` block.

    Raises:
        UsageError: no cluster answers at `address`, it lacks the GPUs asked for, or it fails in the
            block.
    """
    with private_folder() if address is None else nullcontext() as folder:
        try:
            with (
                kept_signals()
            ):  # Ray's own handler would end the process with another exit code, and a stack trace
                _init(address, workers, gpus, folder)
        except CodecshardsError:
            raise
        # Ray's own, of any class: `Exception` itself where a busy machine lets it wait too long
        except Exception as error:
            place = (
                f"no Ray cluster at --address {address}"
                if address
                else "Ray could not start on this machine"
            )
            raise UsageError(f"{place} ({_reason(error)})") from error
        # stopped half-way: what has been started must not outlive this process, nor crash it at its
        # end
        except BaseException:
            ray.shutdown()
            raise
        watch = _watch_head(address)
        try:
            yield _cluster(address, workers, gpus)
        except (RayError, ConnectionError) as error:
            raise UsageError(
                f"Ray failed ({_last_line(error)}); run the same command again to go on"
            ) from error
        except KeyboardInterrupt:
            if watch is not None and watch.lost:
                raise UsageError(watch.message) from None
            raise
        finally:
            ray.shutdown()
            if watch is not None:
                watch.close()


def _watch_head(address: str | None) -> HeadWatch | None:
    """None for Ray's client, which has no connection to the head of its own, and notices by
    itself."""
    if address is not None and address.startswith(CLIENT):
        return None
    return HeadWatch(ray.get_runtime_context().gcs_address)


def _init(
    address: str | None, workers: int | None, gpus: int | None, folder: str | None = None
) -> None:
    if ray.is_initialized():  # a caller's own session, or the tests'
        raise RuntimeError("this process is connected to Ray already; call ray.shutdown() first")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    logging.getLogger("ray.client_builder").setLevel(logging.ERROR)
    if address:
        _knock(address)
        _join(address, quiet)
        return
    own: dict[str, Any] = {
        "address": "local",  # without it Ray joins whatever cluster it finds on this machine
        "num_cpus": workers or usable_cores(),
        "num_gpus": gpus,
        "include_dashboard": False,
        "object_store_memory": _store_bytes(gpus),
        "_temp_dir": folder,
        "_node_ip_address": LOOPBACK,
        **quiet,
    }
    with _on_loopback():
        try:
            ray.init(**own, job_config=_OwnPaths())
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()  # a busy machine: once more, now that its programs are in memory
            ray.init(**own, job_config=_OwnPaths())


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Have a Ray that is started listen on this machine alone: on Linux it takes the address of the
    network otherwise."""
    constants, name = ray._private.ray_constants, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
    before, environment = getattr(constants, "ENABLE_RAY_CLUSTER", None), os.environ.get(name)
    constants.ENABLE_RAY_CLUSTER = False
    os.environ[name] = "0"  # for the processes that it starts
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before
        os.environ.pop(name)
        if environment is not None:
            os.environ[name] = environment


def _join(address: str, quiet: dict[str, Any]) -> None:
    """Connect to a running cluster. A busy head may need a while until it can start the process
    that serves a client."""
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
    """Room for the batches under way. Memory is taken as it is used, so that too much costs
    nothing."""
    if gpus == 0 or sys.platform == "darwin":  # where Ray allows no more
        return OBJECT_STORE_BYTES
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    shared = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else 0
    return max(OBJECT_STORE_BYTES, int(min(STORE_SHARE * memory, 0.9 * shared)))


def _knock(address: str) -> None:
    """See that something listens at `host:port`: where nothing does, Ray itself tries for six
    minutes."""
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
        most_cores=workers,
        most_gpus=gpus,
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an actor runs."""

    node: str
    words: str
    """file on that node in which it says how it died"""


def _settle_down() -> tuple[LastWords, _Place]:
    """Have this actor's process say how it dies."""
    context = ray.get_runtime_context()
    path = Path(
        tempfile.gettempdir(),
        f"codecshards-{os.getuid()}",
        f"{context.get_actor_id()}.{os.getpid()}",
    )
    return LastWords(path), _Place(str(context.get_node_id()), str(path))


def _read_last_words(path: str) -> Death:
    return LastWords.read(Path(path))


def _own_node() -> str | None:
    """The node that this process is on; None for a client, which is on none."""
    if ray.util.client.ray.is_connected():  # type: ignore[no-untyped-call]
        return None
    return str(ray.get_runtime_context().get_node_id())


def _death(place: _Place | None, error: BaseException) -> Death:
    """How an actor's process died; asked on its node, while there is one."""
    if place is None:
        return Death(DeathKind.LOST, "a death before it had begun")
    if (
        "low on memory" in str(error) or "OutOfMemory" in type(error).__name__
    ):  # Ray's own watch over memory
        return Death(DeathKind.MEMORY, "Ray's limit on a node's memory")
    if place.node == _own_node():
        return _read_last_words(place.words)
    gone = Death(DeathKind.LOST, "the loss of its node")
    if not _is_alive(place.node):
        return gone
    there = NodeAffinitySchedulingStrategy(place.node, soft=False)
    options: dict[str, Any] = {"num_cpus": 0, "max_retries": 3, "scheduling_strategy": there}
    task: Any = ray.remote(**options)(_read_last_words)
    try:
        found: Death = ray.get(task.remote(place.words), timeout=WORDS_SECONDS)
    except RayError:
        return gone
    return found


class _EncodeActor:
    """Holds one codec and encodes batches with it."""

    def __init__(self, settings: CodecSettings) -> None:
        self._words, self._place = _settle_down()
        keep_freed_memory()
        self._settings = settings
        self._codec: Any = None
        self._loading = Lock()

    @ray.method(concurrency_group="status")
    def where(self) -> _Place:
        return self._place

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
        """A GPU that has failed fails for ever in this process: end it, so that Ray starts another
        and tries again."""
        try:
            yield
        except RuntimeError as error:
            if self._settings.device == "cuda" and "CUDA" in str(error):
                self._words.say(_last_line(error))
                os._exit(1)
            raise


@dataclass(frozen=True, slots=True)
class _Feed:
    """Where a runner may send its chunks, and how many at a time."""

    actors: tuple[Any, ...]
    """encode actors that are ready"""
    places: tuple[_Place, ...]
    """each one's"""
    nearby: bool
    """send only to those on the runner's own node, where there are any: what a GPU takes would fill
    a network"""
    batch_chunks: int
    window: int
    """batches that a runner may have under way"""

    def seen_from(self, node: str, number: int) -> tuple[Any, ...]:
        """The actors that runner `number` on `node` sends to, the one that gets its first batch in
        front."""
        near = [
            actor
            for actor, place in zip(self.actors, self.places, strict=True)
            if place.node == node
        ]
        chosen = near if self.nearby and near else list(self.actors)
        first = number % len(chosen) if chosen else 0
        return tuple(chosen[first:] + chosen[:first])


@dataclass(frozen=True, slots=True, eq=False)
class _Ticket:
    """A batch under way."""

    answer: Any
    actor: Any


class RayEncoder:
    """Sends each batch to the encode actor that has the fewest of this runner's, so that none waits
    for a slower one.

    The driver says which actors there are, and again whenever that changes; while there are none,
    `submit` waits.
    """

    def __init__(self, node: str, number: int, feed: _Feed) -> None:
        self.busy = 0.0
        self._node, self._number = node, number
        self._under_way: dict[Any, Any] = {}
        """actor by answer"""
        self._changed = Condition()
        self.refeed(feed)

    def refeed(self, feed: _Feed) -> None:
        """Take over which actors there are; on any thread."""
        with self._changed:
            self._feed = feed
            self._actors = list(feed.seen_from(self._node, self._number))
            self.batch_chunks, self.window, self.lanes = (
                feed.batch_chunks,
                max(feed.window, 1),
                max(len(self._actors), 1),
            )
            self._changed.notify_all()

    def submit(self, chunks: Sequence[Chunk]) -> _Ticket:
        actor = self._idlest()
        answer = actor.encode.remote(list(chunks))
        self._under_way[answer] = actor
        return _Ticket(answer, actor)

    def result(self, ticket: _Ticket) -> list[ChunkCodes]:
        try:
            found = ray.get(ticket.answer)
        except RayActorError as error:
            raise EncoderLost(self._lost(ticket.actor, error)) from error
        finally:
            self._under_way.pop(ticket.answer, None)
        if isinstance(found, CodecshardsError):
            raise found
        codes, seconds = found
        self.busy += seconds
        return list(codes)

    def decode(self, chunks: Sequence[ChunkCodes]) -> list[Chunk]:
        for _ in range(DECODE_TRIES):
            actor = self._idlest()
            try:
                samples = ray.get(actor.decode.remote(list(chunks)))
            except RayActorError as error:
                self._lost(actor, error)
                continue
            if isinstance(samples, CodecshardsError):
                raise samples
            return list(samples)
        raise RecordingError(
            FailureKind.ENCODER,
            f"its process died {DECODE_TRIES} times while it was decoded",
            "decode",
        )

    def _lost(self, actor: Any, error: RayActorError) -> Death:
        """An actor is gone: send it no more, until the driver says so."""
        if isinstance(error, ActorUnavailableError):  # it may be there again
            return Death(DeathKind.LOST, "a connection that broke")
        with self._changed:
            if actor in self._actors:
                self._actors.remove(actor)
            feed = self._feed
        places = [
            place for known, place in zip(feed.actors, feed.places, strict=True) if known == actor
        ]
        return (
            _death(places[0], error)
            if places
            else Death(DeathKind.LOST, "a death that was known of")
        )

    def _idlest(self) -> Any:
        """The actor with the fewest unfinished batches; of several, the one whose turn it is."""
        under_way = list(self._under_way)
        done, _ = (
            ray.wait(under_way, num_returns=len(under_way), timeout=0) if under_way else ([], [])
        )
        for answer in done:
            self._under_way.pop(answer)
        busy = list(self._under_way.values())
        with self._changed:
            while not self._actors:
                self._changed.wait()
            actor = min(self._actors, key=busy.count)
            self._actors.remove(actor)
            self._actors.append(actor)
            return actor


class _Runner:
    """Works on one shard at a time; answers `progress` meanwhile on a thread of its own."""

    def __init__(self, settings: WorkSettings, feed: _Feed, number: int) -> None:
        self._words, self._place = _settle_down()
        keep_freed_memory()
        work_for()
        self._encoder = RayEncoder(self._place.node, number, feed)
        self._worker = ShardWorker(settings, self._encoder)
        self._worker.decoder.start()

    @ray.method(concurrency_group="status")
    def where(self) -> _Place:
        return self._place

    def load(self) -> None:
        """Nothing is loaded here, but for what has been on construction."""

    @ray.method(concurrency_group="status")
    def refeed(self, feed: _Feed) -> None:
        self._encoder.refeed(feed)

    def run(self, job: ShardJob) -> ShardResult | CodecshardsError:
        try:
            return self._worker.run(job)
        except CodecshardsError as error:
            return error

    @ray.method(concurrency_group="status")
    def progress(self) -> ShardProgress:
        return replace(self._worker.progress)


@dataclass(slots=True, eq=False)
class _Member:
    """One actor, on its way into use: placed, then loaded, then asked now and then whether it is
    there."""

    actor: Any
    number: int
    asked: Any
    """an answer that is waited for; an error in its place says that the actor is dead"""
    place: _Place | None = None
    ready: bool = False


class _Team:
    """Actors of one kind: as many as there is room for. Those that die are replaced, wherever there
    is room then.

    An actor that cannot be placed waits for a place and holds nobody up.
    """

    def __init__(self, what: str, new: Callable[[int], Any], display: Display) -> None:
        self.what = what
        self.members: list[_Member] = []
        self._new = new
        self._display = display
        self._started = 0
        self._false_starts = 0
        self._looked = 0.0

    @property
    def ready(self) -> list[_Member]:
        return [member for member in self.members if member.ready]

    def resize(self, count: int) -> None:
        """Grow to `count`, or let go of those above it that have no place."""
        while len(self.members) < count:
            self._add()
        surplus = len(self.members) - count
        for member in [member for member in self.members if member.place is None][
            : max(surplus, 0)
        ]:
            self.members.remove(member)
            ray.kill(member.actor)

    def look(self) -> bool:
        """Take in what has changed; returns whether other members are ready than before.

        Raises:
            CodecshardsError: what the actors hold cannot be loaded.
        """
        asked = {member.asked: member for member in self.members if member.asked is not None}
        done, _ = ray.wait(list(asked), num_returns=len(asked), timeout=0) if asked else ([], [])
        changed = [self._take(asked[answer]) for answer in done]
        now = time.monotonic()
        if now - self._looked > LOOK_SECONDS:
            self._looked = now
            for member in self.members:
                if member.asked is None:
                    member.asked = member.actor.where.remote()
        return any(changed)

    def bury(self, member: _Member, error: BaseException) -> None:
        """A member is dead: another in its place."""
        if member not in self.members:
            return
        self.members.remove(member)
        _require_package(error)
        if member.ready:
            self._false_starts = 0
        elif member.place is None or _is_alive(member.place.node):
            self._false_starts += 1
        if self._false_starts >= STARTS:
            raise UsageError(
                f"{self.what} died {STARTS} times in a row as it started ({_last_line(error)}): if "
                "memory is short, "
                "take fewer with --workers, as each holds a codec; then run the same command again"
            )
        self._add()

    def _add(self) -> None:
        actor = self._new(self._started)
        self.members.append(_Member(actor, self._started, actor.where.remote()))
        self._started += 1

    def _take(self, member: _Member) -> bool:
        answer, member.asked = member.asked, None
        try:
            found = ray.get(answer)
        except (RayActorError, RayTaskError) as error:
            self.bury(member, error)
            return member.ready
        if isinstance(found, CodecshardsError):
            raise found
        if member.place is None:
            member.place = found
            member.asked = member.actor.load.remote()
            return False
        if not member.ready:
            member.ready = True
            self._false_starts = 0
            return True
        return False


@dataclass(slots=True, eq=False)
class _Task:
    """A shard that a runner works on."""

    runner: _Member
    job: ShardJob
    asked: Any = None
    """an unanswered request for progress"""
    seen: ShardProgress | None = None


class Driver:
    """Gives shards to runners until every shard is done; replaces runners and encoders that die."""

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
        self._deaths: dict[str, dict[DeathKind, int]] = {}
        """of processes that worked on a shard, by shard and kind"""
        self._trials: dict[str, Trial] = {}
        """by recording"""
        self._busy: dict[Any, _Task] = {}
        self._feed = _Feed((), (), False, codec.batch_chunks, 1)
        self._encoders = _Team("an encoder", self._new_encoder, display)
        self._runners = _Team("a runner", self._new_runner, display)
        self._counted = self._said = 0.0

    def run(self, shards: Sequence[PlannedShard], progress: RunProgress) -> None:
        """Do every shard.

        Raises:
            UsageError: the codec cannot be loaded where it runs, OUT cannot be written, too many
                failures.
        """
        todo = deque(ShardJob.of(shard) for shard in shards)
        planned = {shard.name: shard.seconds for shard in shards}
        self._said = time.monotonic()
        self._count(len(todo))
        encoders = len(self._encoders.members)
        self._display.message(
            f"loading {self._codec.codec} in {encoders} process{'es' if encoders > 1 else ''} …"
        )
        while todo or self._busy:
            self._tend(len(todo))
            for runner in self._idle() if self._feed.actors else ():
                if todo:
                    job = todo.popleft()
                    self._busy[runner.actor.run.remote(job)] = _Task(runner, job)
            for answer in self._done():
                retry = self._settle(answer, self._busy.pop(answer), progress, planned)
                if retry is not None:
                    todo.appendleft(retry)
            self._poll(progress)

    def precision_report(self) -> PrecisionReport | None:
        """Of all encoders together; None where codes are exact."""
        known = []
        for member in self._encoders.ready:
            with suppress(RayActorError):  # it died with what it knew
                report = ray.get(member.actor.precision_report.remote())
                known += [report] if report is not None else []
        return reduce(add, known) if known else None

    def _done(self) -> list[Any]:
        """Answers of runners, waited for a little."""
        if not self._busy:
            time.sleep(POLL_SECONDS)
            return []
        return list(ray.wait(list(self._busy), timeout=POLL_SECONDS)[0])

    def _idle(self) -> list[_Member]:
        busy = [task.runner for task in self._busy.values()]
        return [runner for runner in self._runners.ready if runner not in busy]

    def _tend(self, todo: int) -> None:
        """See to encoders and runners: those that died, those that have come into use, nodes that
        came and went."""
        if time.monotonic() - self._counted > COUNT_SECONDS:
            self._count(todo)
        self._runners.look()
        if self._encoders.look():
            self._feed = self._feed_of(self._encoders.ready)
            for runner in self._runners.members:
                runner.actor.refeed.remote(self._feed)
        self._say_what_is_waited_for()

    def _count(self, todo: int) -> None:
        """Fit the numbers of encoders and runners to what there is now, and to what is left to
        do."""
        self._counted = time.monotonic()
        self._cluster = _recount(self._cluster)
        cluster = self._cluster
        # A GPU's process fills batches on a core of its own.
        runners = (
            cluster.cores - cluster.gpus if cluster.gpus else -(-cluster.cores // CORES_PER_RUNNER)
        )
        self._encoders.resize(max(cluster.gpus or cluster.cores, 1))
        self._runners.resize(max(min(runners, todo + len(self._busy)), 1))

    def _say_what_is_waited_for(self) -> None:
        now = time.monotonic()
        lacking = [team for team in (self._encoders, self._runners) if not team.ready]
        if not lacking:
            self._said = now
        elif now - self._said > SAY_SECONDS:
            self._said = now
            self._display.message(_what_is_lacking(lacking, "GPU" if self._cluster.gpus else "CPU"))

    def _new_encoder(self, number: int) -> Any:
        options: dict[str, Any] = {
            "max_restarts": 0,
            "scheduling_strategy": "SPREAD",
            "concurrency_groups": {"status": 1},
        }
        options |= (
            {"num_gpus": 1, "num_cpus": 0, "max_concurrency": GPU_CALLS}
            if self._cluster.gpus
            else {"num_cpus": 1}
        )
        actor_class: Any = ray.remote(**options, **_store_settings(self._cluster))(_EncodeActor)
        return actor_class.remote(self._codec)

    def _feed_of(self, encoders: Sequence[_Member]) -> _Feed:
        gpus, batch, spec = self._cluster.gpus, self._codec.batch_chunks, self._settings.spec
        window = BATCHES_AHEAD * len(encoders)
        if gpus and spec.chunk_length is not None:
            size = batch * spec.channels * spec.chunk_length * np.float32().nbytes
            window = min(
                window, WINDOW_BYTES * len(encoders) // (len(self._runners.members) * size)
            )
        places = tuple(member.place for member in encoders if member.place is not None)
        return _Feed(
            tuple(member.actor for member in encoders), places, gpus > 0, batch, max(window, 1)
        )

    def _new_runner(self, number: int) -> Any:
        # On a CPU the encoders hold every core, and runners must not wait for one.
        cores = 1 if self._cluster.gpus else 0
        options: dict[str, Any] = {
            "num_cpus": cores,
            "scheduling_strategy": "SPREAD",
            "concurrency_groups": {"status": 1},
        }
        actor_class: Any = ray.remote(**options, **_store_settings(self._cluster))(_Runner)
        return actor_class.remote(self._settings, self._feed, number)

    def _settle(
        self, answer: Any, task: _Task, progress: RunProgress, planned: dict[str, float]
    ) -> ShardJob | None:
        """Take in a shard's outcome; returns the job to try again, if it must be."""
        job = task.job
        try:
            outcome = ray.get(answer)
        except RayActorError as error:
            self._runners.bury(task.runner, error)
            return self._judge(job, _death(task.runner.place, error))
        except RayTaskError as error:
            raise UsageError(
                f"shard {job.name}: {_last_line(error)} (a fault in codecshards: please report it)"
            ) from error
        if isinstance(outcome, RecordingError) or not isinstance(outcome, ShardResult):
            raise outcome
        progress.finish(planned[job.name], outcome.progress)
        refuse_more_failures(progress, self._max_failures)
        return None

    def _judge(self, job: ShardJob, death: Death) -> ShardJob:
        """How a shard is tried again after the death of its runner."""
        if death.kind is DeathKind.LOST:  # says nothing about the shard
            self._display.message(
                f"shard {job.name}: its process is gone with {death.what}, trying again"
            )
            return job
        deaths = self._deaths.setdefault(job.name, {})
        deaths[death.kind] = deaths.get(death.kind, 0) + 1
        self._display.message(
            f"shard {job.name}: its process died of {death.what} ({deaths[death.kind]}), trying "
            "again"
        )
        if sum(deaths.values()) >= MOST_DEATHS:
            raise UsageError(
                f"shard {job.name}: its process died {MOST_DEATHS} times, the last time of "
                f"{death.what}, and no recording is at "
                "fault; look for lack of memory on its machine, then run the same command again"
            )
        if not job.careful:
            return replace(
                job, careful=deaths[death.kind] >= DEATHS_BEFORE_ISOLATION.get(death.kind, 1)
            )
        return self._try_alone(job, death)

    def _try_alone(self, job: ShardJob, death: Death) -> ShardJob:
        """A runner died that took one recording at a time: it may have been that one's doing."""
        suspect = self._journal.read(job.name)
        self._journal.clear(job.name)  # the next process may die before it writes its own
        if suspect is None or suspect in job.quarantined:
            return job
        trial = self._trials.setdefault(suspect, Trial(suspect))
        if trial.died(death, alone=True) is None:
            return job
        self._display.message(
            f"shard {job.name}: {suspect} kills its process ({death.what}) and is quarantined"
        )
        return replace(job, quarantined=(*job.quarantined, suspect))

    def _poll(self, progress: RunProgress) -> None:
        for task in self._busy.values():
            if task.asked is None:
                task.asked = task.runner.actor.progress.remote()
            try:
                seen = ray.get(task.asked, timeout=0)
                task.asked = None
                if seen.name == task.job.name:
                    task.seen = seen
            except GetTimeoutError:
                continue
            except RayError:
                task.asked = None
        progress.under_way = [task.seen for task in self._busy.values() if task.seen is not None]
        self._display.update(progress)


def _recount(cluster: Cluster) -> Cluster:
    """What there is now: nodes may have come or gone. On one machine, and of what was asked for, no
    more than at the start."""
    if cluster.local:
        return cluster
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    cores, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    if cluster.most_cores:
        cores = min(cores, cluster.most_cores)
    if cluster.most_gpus is not None:
        gpus = min(gpus, cluster.most_gpus)
    if cluster.gpus:  # a run that began on GPUs stays there: other devices may have other codes
        return replace(cluster, cores=cores, gpus=max(gpus, 1))
    return replace(cluster, cores=cores)


def _what_is_lacking(teams: Sequence[_Team], resource: str) -> str:
    """One line: what is waited for, and what the cluster has of it."""
    unplaced = [team for team in teams if not any(member.place for member in team.members)]
    if not unplaced:
        return f"waiting for {' and '.join(team.what for team in teams)} to load …"
    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    held = (
        f"{free.get(resource, 0):g} of {total.get(resource, 0):g} {resource}s of the cluster are "
        "free"
    )
    return f"waiting for a place for {' and '.join(team.what for team in unplaced)}: {held} …"


def _require_package(error: BaseException) -> None:
    """Say what to install, where a node lacks it.

    Raises:
        UsageError: a process died of a missing module.
    """
    missing = re.search(r"No module named '([\w.]+)'", str(error))
    if missing is None:
        return
    python = ".".join(map(str, sys.version_info[:2]))
    raise UsageError(
        f"a node of the cluster lacks the module {missing[1]}: install codecshards "
        f"{version('codecshards')} there, with Python "
        f"{python} and ray=={ray.__version__} as here, then run the same command again"
    )


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
    """Audit recordings on every GPU, or on every core where there is none; `finished` is told of
    each as it ends.

    Raises:
        CodecshardsError: the codec cannot be loaded where it runs, OUT cannot be written.
    """
    options: dict[str, Any] = {
        "max_restarts": -1,
        "max_task_retries": 2,
        "scheduling_strategy": "SPREAD",
    }
    options |= {"num_gpus": 1, "num_cpus": 0} if cluster.gpus else {"num_cpus": 1}
    device = "cuda" if cluster.gpus else "cpu"
    precision = settings.codec.precision if cluster.gpus else "exact"
    settings = replace(settings, codec=replace(settings.codec, device=device, precision=precision))
    actor_class: Any = ray.remote(**options, **_store_settings(cluster))(_AuditActor)
    idle = [
        actor_class.remote(settings) for _ in range(min(len(todo), cluster.gpus or cluster.cores))
    ]
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
                result = not_audited(
                    chosen, f"{_last_line(error)} (a fault in codecshards: please report it)"
                )
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
