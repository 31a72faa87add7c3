"""Commit records: what each shard holds, which recordings failed, and how often each code
occurs."""

from __future__ import annotations

import base64
import builtins
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.output.manifest.spread import is_figures
from tokenizer.errors import FailureKind, ManifestError, ShardError
from tokenizer.sealing import seal, unseal

_MANY = 1 << 14
"""counts that are packed more tightly"""
_KINDS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("shard", "format", "fingerprint"), (str,)),
    **dict.fromkeys(("rows", "frames", "chunks", "num_samples", "bytes"), (int,)),
    **dict.fromkeys(("sha256", "staged", "codebook_counts"), (str, type(None))),
    **dict.fromkeys(("flags", "timings", "footer", "quality"), (dict,)),
}
"""what a record's values are in JSON"""
TIMINGS = ("wall", "decode", "decode_wait", "encode", "encode_wait", "write")
"""names of `CommitRecord.timings`"""
EDITABLE = ("text", "speaker", "language")
"""columns that an edit may change"""
_LEFT_OUT = ("groups", "quality", "scales", "edited")
"""what a record has only where there is something, as those of before had none"""
NO_ERRORS = (FailureKind.FILTERED, FailureKind.DROPPED)
"""kinds of failures that are none of a run: what somebody asked for"""


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
    """seconds, of each of `TIMINGS`; none where nothing was encoded"""
    codebook_counts: str | None = None
    """how often each code occurs: `pack_counts`"""
    footer: Mapping[str, Any] = field(default_factory=dict)
    quality: Mapping[str, Any] = field(default_factory=dict)
    """how the columns of quality are spread: `pipelines.output.quality.figures`"""
    scales: tuple[float, ...] = ()
    """how the scales of its chunks are spread, `pipelines.output.manifest.spread.Figures`; empty
    where there are none, and in records of before"""
    groups: tuple[int, ...] = ()
    """rows of each recording, in order, where channels are rows of their own; empty where every row
    is a recording"""
    edited: tuple[str, ...] = ()
    """columns that are not as planned any more, of `EDITABLE`"""

    @property
    def failed(self) -> frozenset[str]:
        """Ids of the recordings that are no rows."""
        return frozenset(failure.id for failure in self.failures)

    @property
    def errors(self) -> tuple[Failure, ...]:
        """Those that are errors: not what `--keep` leaves out, and not what was dropped."""
        return tuple(failure for failure in self.failures if failure.kind not in NO_ERRORS)

    @property
    def filtered(self) -> int:
        """Recordings that `--keep` leaves out."""
        return self._of_kind(FailureKind.FILTERED)

    @property
    def dropped(self) -> int:
        """Recordings that somebody took out."""
        return self._of_kind(FailureKind.DROPPED)

    def _of_kind(self, kind: FailureKind) -> int:
        return sum(failure.kind == kind for failure in self.failures)

    def betters(self, other: CommitRecord) -> bool:
        """Whether fewer recordings have failed than in another record of the shard, and none that
        was a row there is none here."""
        errors, before = (frozenset(failure.id for failure in one.errors) for one in (self, other))
        return errors < before and self.failed <= other.failed

    def without(self, ids: Collection[str]) -> CommitRecord:
        """The same record without the failures of some recordings."""
        if not any(failure.id in ids for failure in self.failures):
            return self
        return replace(self, failures=tuple(one for one in self.failures if one.id not in ids))

    @property
    def is_hopeful(self) -> bool:
        """Whether a recording may be had another day: its store answered, but not for it."""
        return any(failure.kind == FailureKind.UNAVAILABLE for failure in self.failures)

    # In this class `bytes` is the size above, and so to type checkers too: the type goes by its
    # full name.

    def to_json(self) -> builtins.bytes:
        values = asdict(self)
        for name in _LEFT_OUT:
            if not values[name]:
                del values[name]
        return seal(values)

    @classmethod
    def from_json(cls, content: builtins.bytes, name: str) -> CommitRecord:
        """The inverse of `to_json`.

        Raises:
            ShardError: not a commit record, or not as it was written.
            ManifestError: a record as it was written, with what this version does not know.
        """
        try:
            values = unseal(content)
            _require_known({*values}, cls, name)
            for failure in values["failures"]:
                _require_known({*failure}, Failure, name)
            _require_kinds(values)
            failures = tuple(Failure(**failure) for failure in values.pop("failures"))
            groups = tuple(int(rows) for rows in values.pop("groups", ()))
            edited = tuple(str(name) for name in values.pop("edited", ()))
            scales = tuple(float(value) for value in values.pop("scales", ()))
            return cls(failures=failures, groups=groups, edited=edited, scales=scales, **values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ShardError(
                f"{name}: not a commit record ({error}): run the same `tokenize` again to heal it"
            ) from error


def _require_known(names: Collection[str], kind: type, place: str) -> None:
    """
    Raises:
        ManifestError: it is no damage, and must not be healed as if it were some.
    """
    more = sorted({*names} - {one.name for one in fields(kind)})
    if more:
        raise ManifestError(
            f"{place}: written by a newer codecshards, with {', '.join(more)}, which this one does "
            "not know: use that version here"
        )


def _require_kinds(values: Mapping[str, Any]) -> None:
    """
    Raises:
        ValueError: a value is of another kind than this version writes.
    """
    for name, kinds in _KINDS.items():
        if name not in values and name not in _LEFT_OUT:
            raise ValueError(f"it lacks {name}")
        if name in values and type(values[name]) not in kinds:
            raise ValueError(f"{name} is {values[name]!r}")
    for name, figures in {**values.get("quality", {}), "scales": values.get("scales", ())}.items():
        if not is_figures(figures):
            raise ValueError(f"{name} is no spread of values")
    for failure in values["failures"]:
        for name, value in failure.items():
            if not isinstance(value, str):
                raise ValueError(f"{name} of a failure is {value!r}")


@dataclass(slots=True)
class Totals:
    """Sums over commit records, which are read one at a time."""

    shards: int = 0
    rows: int = 0
    failures: int = 0
    filtered: int = 0
    """recordings that `--keep` left out, which are no failures"""
    dropped: int = 0
    """recordings that somebody took out, which are none either"""
    num_samples: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    """failures by kind"""
    first: str = ""
    """what the first failure says"""
    hopeful: set[str] = field(default_factory=set)
    """shards with recordings that may be had another day"""
    settled: int = 0
    """failures in the others"""
    measured: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = field(default_factory=list)
    """of shards with columns of quality: what these are, and how they are spread"""
    scales: list[tuple[float, ...]] = field(default_factory=list)
    """of each shard: `CommitRecord.scales`"""
    splits: Counter[str] = field(default_factory=Counter)
    """rows by split"""

    @classmethod
    def over(cls, records: Iterable[CommitRecord]) -> Totals:
        totals = cls()
        for record in records:
            totals.add(record)
        return totals

    def add(self, record: CommitRecord) -> None:
        """Count one shard's."""
        failed = self.failures
        self.shards += 1
        self.rows += record.rows
        self.splits[record.shard.rsplit("-", 3)[0]] += record.rows
        self.num_samples += record.num_samples
        self.failures += len(record.errors)
        self.filtered += record.filtered
        self.dropped += record.dropped
        if "quality" in record.footer:
            self.measured.append((record.footer["quality"], record.quality))
        self.scales.append(record.scales)
        self.kinds.update(failure.kind for failure in record.failures)
        of_shard = record.errors or record.failures
        if of_shard and (not self.first or (record.errors and not failed)):
            self.first = of_shard[0].message
        if record.is_hopeful:
            self.hopeful.add(record.shard)
        else:
            self.settled += len(record.errors)

    def describe_failures(self) -> str:
        """What to say of a run that made no row at all."""
        counted = ", ".join(f"{kind} {count}" for kind, count in self.kinds.most_common())
        return (
            f"not one of {self.kinds.total()} recordings could be tokenized ({counted}); the "
            f"first: {self.first}"
        )


def pack_counts(counts: NDArray[np.int64] | None) -> str | None:
    """int64 `[n_q, codebook_size]` as text: base64 of zlib of little-endian uint64, after its
    number of rows; of many counts, of as few bytes each as hold the largest, after their number."""
    if counts is None:
        return None
    width = 8
    if counts.size > _MANY:
        width = next(one for one in (1, 2, 4, 8) if int(counts.max()) < 1 << (8 * one))
    packed = zlib.compress(counts.astype(f"<u{width}").tobytes(), 9)
    head = f"{counts.shape[0]}:" if width == 8 else f"{counts.shape[0]}:{width}:"
    return f"{head}{base64.b64encode(packed).decode()}"


def unpack_counts(text: str) -> NDArray[np.int64]:
    """The inverse of `pack_counts`.

    Raises:
        ShardError: not what it makes.
    """
    try:
        rows, *width, content = text.split(":")
        kind = f"<u{int(width[0]) if width else 8}"
        return (
            np.frombuffer(zlib.decompress(base64.b64decode(content)), kind)
            .astype(np.int64)
            .reshape(int(rows), -1)
        )
    except (ValueError, TypeError, zlib.error) as error:
        raise ShardError(f"counts of codes that cannot be read: {error}") from error
