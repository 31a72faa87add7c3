"""An evaluation on every GPU, or on every core where there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipelines.cluster.connect import connect
from pipelines.cluster.pool import Caller, Pool
from pipelines.evaluating.work import Evaluator, Row, Settings, Task
from pipelines.system.compute import Compute
from pipelines.tokenizing.progress import Display


def evaluate_on_cluster(
    settings: Settings,
    tasks: Sequence[Task],
    compute: Compute,
    finished: Callable[[Task, list[Row]], None],
    failed: Callable[[Task, str], None],
    display: Display,
) -> None:
    """Do tasks where `compute` says; `finished` or `failed` is told of each as it ends.

    Raises:
        CodecshardsError: no such cluster, a codec cannot be loaded there, or the folder not be
            written.
    """
    with connect(compute.address, compute.workers, compute.ray_gpus) as cluster:
        compute.require_on(cluster.gpus)
        device = "cuda" if cluster.gpus and compute.device != "cpu" else "cpu"
        caller = Caller[Task, list[Row]](
            name=lambda task: task.excerpt.id, finished=finished, failed=failed
        )
        worker = Evaluator(settings.on(device))
        Pool[Task, list[Row]](cluster, worker, "an evaluator", display).run(tasks, caller)
