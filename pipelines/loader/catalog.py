"""Which shards there are, with how many rows, before any of them is opened.

An output of `tokenize` says so in its commit records. A published data set without the `manifest/`
folder is listed, and its shards' own footers are read.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.output.bare.shards import bare_shards, counted_rows, in_threads, splits_of
from pipelines.output.blobs import Blob, LocalBlob, RemoteBlob
from pipelines.output.cache import ByteCache
from pipelines.output.formats import shard_format
from pipelines.output.formats.parquet.unverified import UNKNOWN, one_spec
from pipelines.output.manifest.commits import CommitRecord, Manifest
from pipelines.output.manifest.edits import next_number
from pipelines.output.manifest.names import DATA
from pipelines.output.manifest.spread import overall
from pipelines.output.plans.placing import split_name
from pipelines.output.storage import RemoteStorage, Storage, open_storage
from tokenizer.codecs.amounts import is_whole
from tokenizer.codecs.base import CodecSpec
from tokenizer.codecs.codebooks.levels import cut_in_two
from tokenizer.errors import ShardError, UsageError


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """One shard that has rows."""

    name: str
    """of the shard: `train-00000-of-00012`, or of its file where no record names it"""
    blob: Blob
    rows: int
    size: int
    """bytes"""
    identity: str
    """changes when the shard's content does: its hash, or its size where nothing better is known"""
    groups: tuple[int, ...] | None = None
    """`CommitRecord.groups`; None where no record says"""


@dataclass(frozen=True, slots=True)
class Catalog:
    """A data set as its records describe it."""

    root: str
    format: str
    remote: bool
    spec: CodecSpec
    shards: tuple[ShardEntry, ...]
    history: tuple[int, int] = (0, 0)
    """how often it was appended to, and edited"""
    median_scale: float | None = None
    """of all chunks, as the commit records say; None where one does not, and of a codec without"""

    @property
    def rows(self) -> int:
        return sum(shard.rows for shard in self.shards)


def read_catalog(
    root: str,
    verify: str,
    cache: ByteCache[bytes],
    split: str | None,
    partial: bool,
    empty: bool = False,
) -> Catalog:
    """List a data set; `empty` takes one without a row.

    Raises:
        UsageError: nothing there, an unfinished run (unless `partial`), no row at all.
        ShardError: a record or a footer that is damaged, a committed shard without its file.
    """
    storage = open_storage(root)
    manifest = Manifest(storage)
    stored = manifest.read_config()
    if stored is None:
        catalog = _from_files(storage, cache, split, partial)
    else:
        form, spec = stored.config.format, stored.codec
        records = _records(manifest, _of_split(manifest, split))
        _require_all([record.shard for record in records], root, partial)
        catalog = Catalog(
            root,
            form,
            _is_remote(storage),
            spec,
            _from_records(manifest, records, form, verify, cache),
            (len(manifest.generations()) - 1, next_number(storage) - 1),
            _median_scale(records),
        )
    if not catalog.rows and not empty:
        of = "" if split is None else f" of the split {split}"
        raise UsageError(f"{root} holds no recordings{of}")
    return catalog


def first_codebooks(root: str, spec: CodecSpec, n_q: int | None) -> int:
    """How many codebooks of a data set are read, from the first: `n_q`, or all for None.

    Raises:
        UsageError: it has fewer, or a level of several rows would be cut in two.
    """
    if n_q is None:
        return spec.n_q
    if not is_whole(n_q) or not 1 <= n_q <= spec.n_q:
        raise UsageError(f"{root} has {spec.n_q} codebooks: n_q={n_q!r} cannot be taken from it")
    if wrong := cut_in_two(spec.codec, spec.level_repeats, n_q):
        raise UsageError(f"{root}: n_q={n_q}: {wrong}")
    return n_q


def _of_split(manifest: Manifest, split: str | None) -> list[str]:
    """Names of the committed shards of a split; None is the one that there is.

    Raises:
        UsageError: no such split, or several and none was chosen.
    """
    names = manifest.committed_names()
    splits = list(dict.fromkeys(name.rsplit("-", 3)[0] for name in manifest.planned_names()))
    if split is None and len(splits) > 1:
        raise UsageError(
            f"{manifest.storage.root} holds several splits ({', '.join(splits)}): give split="
        )
    wanted = split if split in splits else split_name(split)
    if split is not None and wanted not in splits:
        raise UsageError(
            f"{manifest.storage.root} has no split {split!r}: it is {', '.join(map(repr, splits))}"
        )
    return names if split is None else [name for name in names if name.startswith(f"{wanted}-")]


def _records(manifest: Manifest, names: Sequence[str]) -> list[CommitRecord]:
    return in_threads(manifest.record, names)


def _median_scale(records: Sequence[CommitRecord]) -> float | None:
    known = [record.scales for record in records if record.rows]
    spread = overall(known) if all(known) else None
    return spread and spread[2]


def _from_records(
    manifest: Manifest,
    records: Sequence[CommitRecord],
    form: str,
    verify: str,
    cache: ByteCache[bytes],
) -> tuple[ShardEntry, ...]:
    storage, shards = manifest.storage, shard_format(form)
    there = set(storage.list(DATA))
    entries = []
    for record in records:
        if record.sha256 is None:
            continue
        name = manifest.place_of(record, shards)
        if name.startswith(f"{DATA}/") and name.removeprefix(f"{DATA}/") not in there:
            raise ShardError(
                f"{storage.root}/{name}: is committed and not there: run the same `tokenize` again"
            )
        blob = _blob(
            storage, name, record.bytes, record.sha256 if verify == "shards" else None, cache
        )
        if record.rows:
            entries.append(
                ShardEntry(
                    record.shard, blob, record.rows, record.bytes, record.sha256, record.groups
                )
            )
    return tuple(entries)


def _from_files(
    storage: Storage, cache: ByteCache[bytes], split: str | None, partial: bool
) -> Catalog:
    given = (split, split_name(split))
    shards = [shard for shard in bare_shards(storage) if split is None or shard.split in given]
    if not shards:
        raise UsageError(
            f"{storage.root} holds no shards: give an output of `codecshards tokenize`, or a copy "
            "of its data/"
        )
    splits = splits_of(shards)
    if len(splits) > 1:
        raise UsageError(
            f"{storage.root} holds several splits ({', '.join(sorted(splits))}): give split="
        )
    form = shards[0].format
    names = [shard.file.rsplit(".", 1)[0] for shard in shards]
    _require_all(names, storage.root, partial, _COPY_MORE)
    blobs = [_blob(storage, shard.place, None, None, cache) for shard in shards]
    found = counted_rows(storage, shards)
    spec = one_spec([other for _, other in found], [blob.name for blob in blobs])
    bare = sum(other.codec == UNKNOWN for _, other in found)
    if not bare:  # others number theirs as they like
        _refuse_gaps([name for name in names if "-of-" not in name], storage.root, partial)
    if bare:
        warnings.warn(
            f"{storage.root}: {bare} of {len(found)} files have no footer of codecshards: taken "
            f"for codes of {spec.n_q} codebooks at {spec.sample_rate} Hz by their rows, unverified "
            "(`codecshards adopt` writes a manifest)",
            stacklevel=4,
        )
    entries = tuple(
        ShardEntry(shard.file, blob, rows, shard.size, f"{shard.file}:{shard.size}")
        for shard, blob, (rows, _) in zip(shards, blobs, found, strict=True)
        if rows
    )
    return Catalog(storage.root, form, _is_remote(storage), spec, entries)


_COPY_MORE = (
    "copy the others too, and manifest/ beside data/, which says which shards have no file because "
    "all of their recordings failed"
)


def _split_in(file: str) -> str:
    """The split that a file's name begins with."""
    return file.rsplit("-", 3 if "-of-" in file else 1)[0]


def _require_all(shards: Sequence[str], root: str, partial: bool, how: str = "finish it") -> None:
    """Shards say how many there are: a copy or a run that lacks some would make short epochs."""
    totals = {int(found.group(1)) for shard in shards if (found := re.search(r"-of-(\d+)$", shard))}
    _refuse_fewer(len(shards), max(totals, default=0), root, partial, how)


def _refuse_gaps(shards: Sequence[str], root: str, partial: bool) -> None:
    """Tars have numbers alone: those before the last are there, or a copy lacks some."""
    numbers = {int(found.group(1)) for shard in shards if (found := re.search(r"-(\d+)$", shard))}
    _refuse_fewer(len(numbers), max(numbers, default=-1) + 1, root, partial, _COPY_MORE)


def _refuse_fewer(there: int, total: int, root: str, partial: bool, how: str) -> None:
    if there < total and not partial:
        raise UsageError(
            f"{root} has {there} of {total} shards: {how}, or give partial=True "
            "(to a command --partial) to go on with these"
        )


def _blob(
    storage: Storage, name: str, size: int | None, sha256: str | None, cache: ByteCache[bytes]
) -> Blob:
    if isinstance(storage, RemoteStorage):
        fs, path = storage.locate(name)
        return RemoteBlob(fs, path, f"{storage.root}/{name}", size, sha256, cache)
    return LocalBlob(f"{storage.root}/{name}", size, sha256)


def _is_remote(storage: Storage) -> bool:
    return isinstance(storage, RemoteStorage)
