"""An audit on every GPU, or on every core where there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from pipelines.auditing.choose.sampling import Chosen
from pipelines.auditing.recording import Auditor, AuditSettings, not_audited
from pipelines.auditing.results import RecordingAudit
from pipelines.cluster.connect import connect
from pipelines.cluster.pool import Caller, Pool
from pipelines.tokenizing.progress import Display


class AuditWorker:
    """An auditor that is made in another process."""

    def __init__(self, settings: AuditSettings) -> None:
        self._settings = settings
        self._auditor: Auditor | None = None

    def load(self) -> None:
        """Load the codec.

        Raises:
            CodecshardsError: it cannot be loaded here, or is not the one that wrote the corpus.
        """
        self._auditor = Auditor(self._settings, threads=1)

    def run(self, chosen: Chosen) -> RecordingAudit:
        """Audit one recording, as `Auditor.run` does."""
        if self._auditor is None:
            raise RuntimeError("run before load")
        return self._auditor.run(chosen)


def audit_on_cluster(
    settings: AuditSettings,
    todo: Sequence[Chosen],
    finished: Callable[[Chosen, RecordingAudit], None],
    display: Display,
) -> None:
    """Audit recordings where `settings.options` say; `finished` is told of each as it ends.

    Raises:
        CodecshardsError: no such cluster, the codec cannot be loaded there, OUT cannot be written.
    """
    compute = settings.options.compute
    with connect(compute.address, compute.workers, compute.ray_gpus) as cluster:
        compute.require_on(cluster.gpus)
        cards = cluster.gpus and compute.device != "cpu"
        codec = replace(
            settings.codec,
            device="cuda" if cards else "cpu",
            precision=settings.codec.precision if cards else "exact",
        )
        worker = AuditWorker(replace(settings, codec=codec))
        caller = Caller[Chosen, RecordingAudit](
            name=lambda one: one.entry.recording.id,
            finished=finished,
            failed=lambda one, reason: finished(one, not_audited(one, reason)),
        )
        Pool(cluster, worker, "an auditor", display).run(todo, caller)
