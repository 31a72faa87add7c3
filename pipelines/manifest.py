"""What was committed, and how a shard gets there.

    1  the shard is written to a name of its own in `manifest/staging/` and made durable
    2  its commit record, which holds that name and a hash, is created at `manifest/commits/SHARD.json`: first writer wins
    3  the winner moves the staged file to `data/SHARD.SUFFIX`; a loser throws its own away

The record is the commit. What is staged without a record never was; a record whose file is still staged is rolled forward by
whoever comes next. So a file under its final name always has a record, and is the file that the record describes, however
many processes raced and whichever of them were killed.

One more race: the workers of a killed run outlive it by a second or two, and the next run may throw away what one of them has
staged just before it commits. Its record then describes nothing; the worker, or the next `recover`, withdraws it.

    OUT/manifest/config.json       what was asked for, written once
    OUT/manifest/plan.parquet      which shard holds which recordings, written once, before config.json
    OUT/manifest/commits/*.json    one record a shard
    OUT/manifest/precision.json    with --precision fast: how a sample of the codes compares with exact ones
"""

from __future__ import annotations

import base64
import builtins
import hashlib
import json
import uuid
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.plan import Plan
from pipelines.shards import ShardFormat
from pipelines.storage import Storage
from tokenizer.codecs.precision import PrecisionReport
from tokenizer.errors import OutputError, ShardError

PRECISION = "manifest/precision.json"
CONFIG, PLAN, COMMITS, DATA, STAGING = (
    "manifest/config.json",
    "manifest/plan.parquet",
    "manifest/commits",
    "data",
    "manifest/staging",
)
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Failure:
    """A recording that was not tokenized, and why."""

    id: str
    source_uri: str
    kind: str
    message: str
    stage: str


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """What one shard holds. Totals are sums of these, never counters in memory."""

    shard: str
    format: str
    fingerprint: str
    """of the configuration"""
    rows: int
    frames: int
    chunks: int
    num_samples: int
    bytes: int
    sha256: str | None
    """of the file; None when every recording failed and there is none"""
    staged: str | None
    """where the file waits until it has its final name"""
    failures: tuple[Failure, ...]
    flags: Mapping[str, int] = field(default_factory=dict)
    """recordings by flag"""
    timings: Mapping[str, float] = field(default_factory=dict)
    """seconds: those that `pipelines.tokenize.TIMINGS` names"""
    codebook_counts: str | None = None
    """how often each code occurs: `pack_counts`"""
    footer: Mapping[str, Any] = field(default_factory=dict)

    # In this class `bytes` is the size above, and so to type checkers too: the type goes by its full name.

    def to_json(self) -> builtins.bytes:
        return (json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n").encode("utf-8", "backslashreplace")

    @classmethod
    def from_json(cls, content: builtins.bytes, name: str) -> CommitRecord:
        """The inverse of `to_json`.

        Raises:
            ShardError: not a commit record.
        """
        try:
            values = json.loads(content)
            failures = tuple(Failure(**failure) for failure in values.pop("failures"))
            return cls(failures=failures, **values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ShardError(f"{name}: not a commit record: {error}") from error


def pack_counts(counts: NDArray[np.int64] | None) -> str | None:
    """int64 `[n_q, codebook_size]` as text: base64 of zlib of little-endian uint64, after its number of rows."""
    if counts is None:
        return None
    return f"{counts.shape[0]}:{base64.b64encode(zlib.compress(counts.astype('<u8').tobytes(), 9)).decode()}"


def unpack_counts(text: str) -> NDArray[np.int64]:
    """The inverse of `pack_counts`."""
    rows, content = text.split(":")
    return np.frombuffer(zlib.decompress(base64.b64decode(content)), "<u8").astype(np.int64).reshape(int(rows), -1)


class Manifest:
    """The manifest of one output folder."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def read_config(self) -> dict[str, Any] | None:
        """The stored configuration; None on a fresh folder.

        Raises:
            OutputError: a folder that holds something else.
        """
        try:
            stored: dict[str, Any] = json.loads(self.storage.read(CONFIG))
            return stored
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, OSError) as error:
            raise OutputError(f"{self.storage.root}/{CONFIG} cannot be read: {error}") from error

    def require_config(self) -> dict[str, Any]:
        """The stored configuration.

        Raises:
            OutputError: there is none: not an output of `tokenize`.
        """
        stored = self.read_config()
        if stored is None:
            raise OutputError(f"{self.storage.root} is not an output of `codecshards tokenize`: it has no {CONFIG}")
        return stored

    def read_plan(self) -> Plan:
        """The stored plan.

        Raises:
            OutputError: there is none, or it is damaged.
        """
        try:
            return Plan.from_bytes(self.storage.read(PLAN))
        except OSError as error:
            raise OutputError(f"{self.storage.root}/{PLAN} cannot be read: {error}") from error

    def read_precision(self) -> PrecisionReport | None:
        """What was found out about "fast" codes; None when nothing was.

        Raises:
            OutputError: it is damaged.
        """
        if not self.storage.exists(PRECISION):
            return None
        try:
            return PrecisionReport.from_json(json.loads(self.storage.read(PRECISION)))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(f"{self.storage.root}/{PRECISION} cannot be read: remove it ({error})") from error

    def write_precision(self, report: PrecisionReport) -> None:
        """Write it down, over what there was."""
        self.storage.write(PRECISION, (json.dumps(report.to_json(), indent=1) + "\n").encode())

    def begin(self, config: Mapping[str, Any], plan: Plan) -> bool:
        """Store plan and configuration on a fresh folder; False when another run has just done so."""
        if self.storage.list(DATA):
            raise OutputError(f"{self.storage.root}/{DATA} holds files that no manifest knows: choose another OUT")
        # The configuration comes last: where it is, there is a plan. A plan without one was never begun.
        if self.storage.exists(CONFIG):
            return False
        self.storage.write(PLAN, plan.to_bytes())
        return self.storage.create(CONFIG, (json.dumps(config, indent=1, sort_keys=True) + "\n").encode())

    def committed(self) -> dict[str, CommitRecord]:
        """Every commit record by shard, in order."""
        names = [name for name in self.storage.list(COMMITS) if name.endswith(".json") and not name.startswith(".")]
        return {name.removesuffix(".json"): self.record(name.removesuffix(".json")) for name in names}

    def record(self, shard: str) -> CommitRecord:
        """One commit record.

        Raises:
            FileNotFoundError: the shard is not committed.
            ShardError: the record is damaged.
        """
        name = _record_name(shard)
        return CommitRecord.from_json(self.storage.read(name), f"{self.storage.root}/{name}")

    def publish(self, record: CommitRecord, form: ShardFormat) -> bool:
        """Commit a shard that is staged; False when it was not this process that did (or nobody: see `recover`)."""
        won = self.storage.create(_record_name(record.shard), record.to_json())
        if won:
            return self._roll_forward(record, form)
        if record.staged is not None:
            self.storage.remove(record.staged)
        return False

    def recover(self, form: ShardFormat) -> None:
        """Finish commits that were cut short, and throw away what was staged and never committed."""
        for record in self.committed().values():
            self._roll_forward(record, form)
        for name in self.storage.list(STAGING):
            self.storage.remove(f"{STAGING}/{name}")

    def _roll_forward(self, record: CommitRecord, form: ShardFormat) -> bool:
        """See that a committed file has its final name; without the file, withdraw the record."""
        final = data_name(record.shard, form)
        if record.staged is None or self.storage.exists(final):
            return True
        if self.storage.move(record.staged, final) or self.storage.exists(final):
            return True
        self.storage.remove(_record_name(record.shard))
        return False


def _record_name(shard: str) -> str:
    return f"{COMMITS}/{shard}.json"


def data_name(shard: str, form: ShardFormat) -> str:
    """Where a committed shard lies, in the output folder."""
    return f"{DATA}/{form.file_name(shard)}"


def staged_name(shard: str, form: ShardFormat) -> str:
    """A place for one attempt at a shard, shared with nobody."""
    return f"{STAGING}/{shard}.{uuid.uuid4().hex}{form.suffix}"


def hash_file(path: str) -> str:
    """SHA-256 of a local file, in hex."""
    with open(path, "rb") as file:  # noqa: PTH123
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_stored(storage: Storage, name: str) -> str:
    """SHA-256 of a stored file, in hex."""
    digest = hashlib.sha256()
    with storage.open(name) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
