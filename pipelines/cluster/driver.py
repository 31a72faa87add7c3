"""The driver: walks a plan with the actors of a cluster.

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

import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from pipelines.cluster.actors import EncodeActor, Runner
from pipelines.cluster.connect import Cluster, recount, store_settings
from pipelines.cluster.deaths import how_it_died, why_it_failed
from pipelines.cluster.encoder import Feed
from pipelines.cluster.judgement import Judgement
from pipelines.cluster.team import Member, Team, Watchman
from pipelines.output.plan import PlannedShard
from pipelines.tokenizing.jobs import (
    CodecSettings,
    Journal,
    ShardJob,
    ShardResult,
    WorkSettings,
)
from pipelines.tokenizing.progress import Display, RunProgress, ShardProgress, refuse_more_failures
from tokenizer.codecs.precision import PrecisionReport
from tokenizer.errors import RecordingError, UsageError

COUNT_SECONDS = 10.0
"""between looks at how many nodes there are"""
POLL_SECONDS = 0.5
CORES_PER_RUNNER = 4
"""CPU encoders that one runner can feed: decoding is some 100 times faster than encoding"""
BATCHES_AHEAD = 2
"""for each encoder: one that it computes, one that waits for it"""
GPU_CALLS = 2
"""batches that a GPU's process takes at a time: one is filled and handed back while the other is
computed"""
WINDOW_BYTES = 2 << 30
"""of batches under way to one GPU, from all runners together"""


@dataclass(slots=True, eq=False)
class _Task:
    """A shard that a runner works on."""

    runner: Member
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
        self._display = display
        self._max_failures = max_failures
        self._judgement = Judgement(journal, display)
        self._busy: dict[Any, _Task] = {}
        self._feed = Feed((), (), False, codec.batch_chunks, 1)
        self._encoders = Team("an encoder", self._new_encoder)
        self._runners = Team("a runner", self._new_runner)
        self._watchman = Watchman(display, "GPU" if cluster.gpus else "CPU")
        self._counted = 0.0

    def run(self, shards: Sequence[PlannedShard], progress: RunProgress) -> None:
        """Do every shard; what a shard holds is read as a runner is given it.

        Raises:
            UsageError: the codec cannot be loaded where it runs, OUT cannot be written, too many
                failures.
        """
        todo: deque[PlannedShard | ShardJob] = deque(shards)
        planned = {shard.name: shard.seconds for shard in shards}
        self._count(len(todo))
        encoders = len(self._encoders.members)
        self._display.message(
            f"loading {self._codec.codec} in {encoders} process{'es' if encoders > 1 else ''} …"
        )
        while todo or self._busy:
            self._tend(len(todo))
            for runner in self._idle() if self._feed.actors else ():
                if todo:
                    first = todo.popleft()
                    job = first if isinstance(first, ShardJob) else ShardJob.of(first)
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
        asked = [*self._busy, *self._encoders.asked, *self._runners.asked]
        if not asked:
            time.sleep(POLL_SECONDS)
            return []
        done, _ = ray.wait(asked, timeout=POLL_SECONDS)
        return [answer for answer in done if answer in self._busy]

    def _idle(self) -> list[Member]:
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
        self._watchman.look(self._encoders, self._runners)

    def _count(self, todo: int) -> None:
        """Fit the numbers of encoders and runners to what there is now, and to what is left to
        do."""
        self._counted = time.monotonic()
        self._cluster = recount(self._cluster)
        cluster = self._cluster
        # A GPU's process fills batches on a core of its own.
        runners = (
            cluster.cores - cluster.gpus if cluster.gpus else -(-cluster.cores // CORES_PER_RUNNER)
        )
        self._encoders.resize(max(cluster.gpus or cluster.cores, 1))
        self._runners.resize(max(min(runners, todo + len(self._busy)), 1))

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
        actor_class: Any = ray.remote(**options, **store_settings(self._cluster))(EncodeActor)
        return actor_class.remote(self._codec)

    def _feed_of(self, encoders: Sequence[Member]) -> Feed:
        gpus, batch, spec = self._cluster.gpus, self._codec.batch_chunks, self._settings.spec
        window = BATCHES_AHEAD * len(encoders)
        if gpus and spec.chunk_length is not None:
            size = batch * spec.channels * spec.chunk_length * np.float32().nbytes
            window = min(
                window, WINDOW_BYTES * len(encoders) // (len(self._runners.members) * size)
            )
        places = tuple(member.place for member in encoders if member.place is not None)
        return Feed(
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
        actor_class: Any = ray.remote(**options, **store_settings(self._cluster))(Runner)
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
            return self._judgement.after(job, how_it_died(task.runner.place, error))
        except RayTaskError as error:
            raise UsageError(f"shard {job.name}: {why_it_failed(error)}") from error
        if isinstance(outcome, RecordingError) or not isinstance(outcome, ShardResult):
            raise outcome
        progress.finish(planned[job.name], outcome.progress)
        refuse_more_failures(progress, self._max_failures)
        return None

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
