"""Many recordings to audio files on the nodes of a Ray cluster, which all see the folder.

The folder's ledger stays with the process that drives them, which reads the shards too: nodes get
codes and write files. Short recordings travel together; those of a group that ends its process are
tried one by one.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from pipelines.cluster.connect import connect
from pipelines.cluster.pool import Caller, Pool
from pipelines.decoding.job import Done, Job, Loading, Result, result_of
from pipelines.system.compute import Compute
from pipelines.tokenizing.progress import Display
from tokenizer.codecs.base import Codec
from tokenizer.errors import OutputError

Group = tuple[Job, ...]

_GROUP_SECONDS, _GROUP_MOST = 10.0, 64
"""audio, and recordings, of a group: enough that asking for it costs nothing beside its work"""


class DecodeWorker:
    """Holds the codec in another process."""

    def __init__(self, loading: Loading) -> None:
        self._loading = loading
        self._codec: Codec | None = None

    def load(self) -> None:
        """Load the codec.

        Raises:
            CodecshardsError: as `Loading.load`.
        """
        self._codec = self._loading.load()

    def run(self, group: Group) -> list[Result]:
        """Decode a group.

        Raises:
            OutputError: this node does not see the folder, or it cannot be written.
        """
        if self._codec is None:
            raise RuntimeError("run before load")
        if not group[0].temporary.is_dir():
            raise OutputError(
                f"{group[0].temporary} is not there on {platform.node()}: --to must be a folder "
                "that all nodes of the cluster share"
            )
        return [result_of(self._codec, job) for job in group]


def decode_on_cluster(
    jobs: Iterable[Job],
    loading: Loading,
    compute: Compute,
    take: Callable[[Done], None],
    display: Display,
) -> None:
    """Decode on every GPU, or on every core where there is none; `take` is told of each recording
    as it ends.

    Raises:
        CodecshardsError: no such cluster, the codec cannot be loaded there, the folder cannot be
            written.
    """

    def finished(group: Group, results: list[Result]) -> None:
        for job, result in zip(group, results, strict=True):
            take(Done(job, *result))

    def failed(group: Group, reason: str) -> None:
        if len(group) > 1:
            pool.add([(job,) for job in reversed(group)], caller)
            return
        take(Done(group[0], failure=reason))

    with connect(compute.address, compute.workers, compute.ray_gpus) as cluster:
        compute.require_on(cluster.gpus)
        device = "cuda" if cluster.gpus and compute.device != "cpu" else "cpu"
        worker = DecodeWorker(replace(loading, device=device))
        caller = Caller[Group, list[Result]](
            name=_name, finished=finished, failed=failed, size=_bytes
        )
        pool = Pool[Group, list[Result]](cluster, worker, "a decoder", display)
        pool.run(_groups(jobs), caller)


def _groups(jobs: Iterable[Job]) -> Iterator[Group]:
    group: list[Job] = []
    seconds = 0.0
    for job in jobs:
        more = job.codes.seconds
        if group and (seconds + more > _GROUP_SECONDS or len(group) == _GROUP_MOST):
            yield tuple(group)
            group, seconds = [], 0.0
        group.append(job)
        seconds += more
    if group:
        yield tuple(group)


def _name(group: Group) -> str:
    more = len(group) - 1
    return group[0].key + (f" and {more} more" if more else "")


def _bytes(group: Group) -> int:
    return sum(job.codes.codes.nbytes for job in group)
