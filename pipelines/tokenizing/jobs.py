"""What a worker is told: how to load the codec, what all shards of a run have in common, and the
shard to do; and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.corpus.reader import DecodeSettings
from pipelines.output.manifest.leases import new_run
from pipelines.output.plan import PlannedShard
from pipelines.output.storage import Storage
from pipelines.tokenizing.observer import ObserverSettings
from pipelines.tokenizing.progress import ShardProgress
from tokenizer.codecs.base import Codec, CodecSpec
from tokenizer.types import Recording


@dataclass(frozen=True, slots=True)
class CodecSettings:
    """How to load the codec in any process."""

    codec: str
    revision: str | None
    bandwidth: float | None
    device: str
    batch_chunks: int
    reference: bool = False
    precision: str = "exact"
    n_q: int | None = None

    def load(self, threads: int | None = None) -> Codec:
        """Load it here, computing with `threads` CPU threads (None leaves them as they are)."""
        from tokenizer.codecs import load_codec

        return load_codec(
            self.codec,
            bandwidth=self.bandwidth,
            n_q=self.n_q,
            device=self.device,
            revision=self.revision,
            threads=threads,
            reference=self.reference,
            precision=self.precision,
        )


@dataclass(frozen=True, slots=True)
class WorkSettings:
    """What every shard of a run has in common; small and picklable."""

    out: str
    format: str
    spec: CodecSpec
    footer: Mapping[str, Any]
    fingerprint: str
    decode: DecodeSettings
    max_chunk_seconds: float
    keep: str | None = None
    """condition under which a recording becomes a row; None is always"""
    observe: ObserverSettings | None = None
    """what looks on while shards are made; None is nothing"""
    missing_allowed: bool = False
    """recordings that are not there fail however many they are; False stops when the whole corpus
    seems to be away"""
    run: str = field(default_factory=new_run)
    """whose staged files these workers write: `pipelines.output.manifest.leases`"""


@dataclass(frozen=True, slots=True)
class ShardJob:
    """One shard to do."""

    name: str
    recordings: tuple[Recording, ...]
    careful: bool = False
    """one recording at a time, journalled, so that the one that kills the process can be named"""
    quarantined: tuple[str, ...] = ()
    """ids that are known to kill it"""
    fingerprint: str = ""
    """of its generation; empty is that of the settings"""

    @classmethod
    def of(cls, shard: PlannedShard) -> ShardJob:
        return cls(shard.name, shard.recordings, fingerprint=shard.fingerprint)


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What became of a job."""

    name: str
    won: bool
    """False when another process had committed the shard first"""
    progress: ShardProgress


class Journal:
    """Names the recording that a careful shard is working on, where it outlives the process."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def write(self, shard: str, recording: str) -> None:
        self._storage.write(self._path(shard), recording.encode())

    def read(self, shard: str) -> str | None:
        try:
            return self._storage.read(self._path(shard)).decode()
        except FileNotFoundError:
            return None

    def clear(self, shard: str) -> None:
        self._storage.remove(self._path(shard))

    @staticmethod
    def _path(shard: str) -> str:
        return f"manifest/journal/{shard}"
