"""Sums over the commit records of an output folder, of which one is in memory at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from pipelines.output.manifest.commits import CommitRecord, Failure, Manifest, unpack_counts


class Failures(Sequence[Failure]):
    """The recordings that are no rows, read from the commit records each time that they are asked
    for."""

    def __init__(self, manifest: Manifest, count: int) -> None:
        self._manifest, self._count = manifest, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Failure]:
        for record in self._manifest.records():
            yield from record.failures

    @overload
    def __getitem__(self, place: int) -> Failure: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Failure, ...]: ...
    def __getitem__(self, place: int | slice) -> Failure | tuple[Failure, ...]:
        return tuple(self)[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))


@dataclass(slots=True)
class Sums:
    """Over commit records, one at a time."""

    shards: int = 0
    rows: int = 0
    num_samples: int = 0
    frames: int = 0
    chunks: int = 0
    bytes: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    timings: Counter[str] = field(default_factory=Counter)
    counts: NDArray[np.int64] | None = None
    scales: list[tuple[float, ...]] = field(default_factory=list)
    """of each shard: `CommitRecord.scales`"""

    def add(self, record: CommitRecord) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Count one shard's; what it says of its columns of quality."""
        self.shards += 1
        self.rows += record.rows
        self.num_samples += record.num_samples
        self.frames += record.frames
        self.chunks += record.chunks
        self.bytes += record.bytes
        self.kinds.update(failure.kind for failure in record.failures)
        self.flags.update(record.flags)
        self.timings.update(record.timings)
        self.scales.append(record.scales)
        if record.codebook_counts is not None:
            counts = unpack_counts(record.codebook_counts)
            self.counts = counts if self.counts is None else self.counts + counts
        return record.footer.get("quality", {}), record.quality
