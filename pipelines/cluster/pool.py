"""A pool of actors that audit."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from pipelines.auditing.choose.sampling import Chosen
from pipelines.auditing.recording import Auditor, AuditSettings, not_audited
from pipelines.auditing.results import RecordingAudit
from pipelines.cluster.connect import Cluster, store_settings
from pipelines.cluster.deaths import last_line
from tokenizer.errors import CodecshardsError


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
    actor_class: Any = ray.remote(**options, **store_settings(cluster))(_AuditActor)
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
                    chosen, f"{last_line(error)} (a fault in codecshards: please report it)"
                )
            if isinstance(result, CodecshardsError):
                raise result
            finished(chosen, result)
