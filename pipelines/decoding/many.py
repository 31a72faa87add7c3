"""`codecshards decode OUT --to DIR`: many recordings to audio files, by name and by table."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.decoding.job import Done, Job, Loading
from pipelines.decoding.ledger import Ledger
from pipelines.decoding.names import Names
from pipelines.decoding.pool import decode_all
from pipelines.decoding.selection import Selection
from pipelines.loader.in_order import CodedRow, InOrder
from pipelines.output.export_audio import require_writable
from pipelines.system.compute import Compute
from pipelines.system.devices import require_device
from pipelines.system.machine import usable_cores
from pipelines.system.places import is_remote, local_path
from pipelines.system.streams import counted
from pipelines.tokenizing.progress import PlainDisplay
from tokenizer.codecs.devices import device_kind, resolve_device
from tokenizer.errors import OutputError, ShardError, UsageError
from tokenizer.types import Codes

FORMATS = ("flac", "wav", "opus")


@dataclass(slots=True)
class Decoded:
    """What a run has done."""

    decoded: int = 0
    already: int = 0
    """recordings whose files were there"""
    seconds: float = 0.0
    """of audio that was decoded"""
    failures: list[tuple[str, str]] = field(default_factory=list)
    """id, or nothing where a whole shard is damaged, and why"""
    lost: int = 0
    """recordings of damaged shards"""
    stale: int = 0
    """recordings of earlier runs that are not in OUT any more"""


def decode_many(
    out: str,
    to: str,
    *,
    format: str = "flac",
    ids_file: str | None = None,
    where: str | None = None,
    partial: bool = False,
    codec: str | None = None,
    device: str = "auto",
    workers: int | None = None,
    gpus: int | None = None,
    address: str | None = None,
    quiet: bool = False,
) -> Decoded:
    """Decode recordings to a folder, each exactly as long as its original at the codec's rate, or
    go on where a run was stopped.

    Args:
        out: an output of `tokenize`.
        to: folder; it may hold nothing but what this wrote.
        format: one of `FORMATS`.
        ids_file: lines of ids; None is all.
        where: condition on the rows, in SQL's words; None is all.
        partial: accept an `out` that lacks some of its shards.
        codec: where the codec lies now; None is where it lay then.
        device: "auto", "cpu" or "cuda".
        workers: processes; None is one a core, or one for a GPU; 0 does all in this one.
        gpus: of Ray, which then decodes; None is all that a cluster has.
        address: Ray cluster to join, whose nodes see `to`; None is this machine.
        quiet: show nothing.

    Raises:
        UsageError: anything that makes it impossible, in one line.
        ShardError: damage that is met while a condition is answered.
    """
    compute = _on_ray(workers, gpus, address, device)
    _require(format, to, workers, device, compute)
    work = _Work(_Asked(out, ids_file, where, partial), Path(local_path(to)), format, quiet)
    spec = work.rows.spec
    require_writable(f".{format}", spec.sample_rate, spec.channels)
    loading = Loading(spec, codec, device, None if workers == 0 else 1)
    here = device if compute is None else "cpu"
    Loading(spec, codec, here, None).load()  # what is wrong with it is told here
    work.begin()
    try:
        if compute is not None:
            from pipelines.decoding.on_cluster import decode_on_cluster

            decode_on_cluster(work.jobs(), loading, compute, work.take, Words(quiet))
        else:
            count = _workers(workers, device, work.rows.rows)
            for done in decode_all(work.jobs(), loading, count):
                work.take(done)
        work.finish()
    finally:
        work.ledger.close()
    return work.result


def _on_ray(
    workers: int | None, gpus: int | None, address: str | None, device: str
) -> Compute | None:
    """What Ray is asked for; None where processes of this machine are enough."""
    if workers == 0 or (address is None and gpus is None):
        return None
    return Compute(workers=workers, gpus=gpus, address=address, device=device)


def _require(
    format: str, to: str, workers: int | None, device: str, compute: Compute | None
) -> None:
    if format not in FORMATS:
        raise UsageError(f"--format {format}: choose one of {', '.join(FORMATS)}")
    if is_remote(to):
        raise OutputError(f"{to}: give a local folder, and copy it from there")
    if workers is not None and workers < 0:
        raise UsageError(f"--workers {workers}: give 0 or more")
    if compute is not None:
        compute.require_here()
    else:
        require_device(device)


def _workers(workers: int | None, device: str, rows: int) -> int:
    if workers is not None:
        return min(workers, max(rows, 1))
    if device_kind(resolve_device(device)) == "cuda":
        return 1
    return min(usable_cores(), max(rows, 1))


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which recordings are meant."""

    out: str
    ids_file: str | None
    where: str | None
    partial: bool


class _Work:
    """One run over the rows of a folder."""

    def __init__(self, asked: _Asked, to: Path, format: str, quiet: bool) -> None:
        self.result = Decoded()
        self.rows = InOrder(
            asked.out, where=asked.where, partial=asked.partial, damaged=self._damaged
        )
        self._chosen = None if asked.ids_file is None else Selection(asked.ids_file)
        self._all = asked.ids_file is None and asked.where is None
        chosen = self._chosen
        ids = self.rows.ids() if chosen is None else chosen.seen(self.rows.ids())
        self._names = Names(ids, f".{format}")
        if chosen is not None:
            chosen.require_found(asked.out)
        self._to, self._format, self._quiet = to, format, quiet
        self._pending: dict[str, tuple[str, CodedRow, str, int]] = {}
        self._failures: list[tuple[int, str, str]] = []
        """with the row's place, as a cluster's nodes tell of rows in any order"""
        self._read = 0

    def begin(self) -> None:
        """Take hold of the folder."""
        spec = self.rows.spec
        about = {"format": self._format, "weights": spec.weights_sha256, "codebooks": spec.n_q}
        self.ledger = Ledger(self._to, about)

    def jobs(self) -> Iterator[Job]:
        """What is not done yet, in order."""
        what = f"decoding to {self._to}"
        for split, row in counted(self.rows, self.rows.rows, what, quiet=self._quiet):
            self._read += 1
            if row is None or (self._chosen is not None and row.id not in self._chosen):
                continue
            file, digest = self._names.file(row.id), digest_of(row.codes)
            if self.ledger.is_done(row.id, file, digest):
                self.result.already += 1
                self._note(split, row, digest, file, self.ledger.bytes_of(row.id))
                continue
            self.ledger.claim(row.id, file)
            self._pending[row.id] = split, row, digest, self._read
            yield Job(row.id, row.codes, self._to / file, self.ledger.temporary, row.lost)

    def take(self, done: Done) -> None:
        """Note what has become of a job."""
        split, row, digest, place = self._pending.pop(done.job.key)
        if done.failure is not None:
            self._failures.append((place, row.id, done.failure))
            return
        self.result.decoded += 1
        self.result.seconds += row.codes.seconds
        file = done.job.target.relative_to(self._to).as_posix()
        self._note(split, row, digest, file, done.bytes)

    def finish(self) -> None:
        """Write the tables."""
        self.result.failures = [(id, why) for _, id, why in sorted(self._failures)]
        whole = self._all and not self.result.failures
        self.result.stale = self.ledger.stale() if whole else 0
        self.ledger.write_tables(only_this_run=whole, failures=self.result.failures)

    def _note(self, split: str, row: CodedRow, digest: str, file: str, size: int) -> None:
        self.ledger.note(
            {
                "id": row.id,
                "file": file,
                "num_samples": row.codes.num_samples,
                "sample_rate": row.codes.sample_rate,
                "split": split,
                "text": row.text,
                "language": row.language,
                "speaker": row.speaker,
                "shard": row.shard,
                "number": row.number,
                "digest": digest,
                "bytes": size,
            }
        )

    def _damaged(self, rows: int, error: ShardError) -> None:
        self._failures.append((self._read, "", str(error)))
        self.result.lost += rows


class Words(PlainDisplay):
    """Messages between the lines that `counted` keeps in place."""

    def __init__(self, quiet: bool) -> None:
        super().__init__(sys.stderr)
        self._quiet = quiet

    def message(self, text: str) -> None:
        if self._quiet:
            return
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
        super().message(text)


def digest_of(codes: Codes) -> str:
    """Changes when what is decoded does."""
    digest = hashlib.blake2b(digest_size=16)
    for array in (codes.codes, codes.chunk_frames, codes.scales):
        digest.update(b"" if array is None else array.tobytes())
    digest.update(f"{codes.num_samples} {codes.codes.shape}".encode())
    return digest.hexdigest()
