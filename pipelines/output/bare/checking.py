"""Shards without a manifest as far as they can be checked: checksums of their pages or members,
rows that the codec can have, ids that are all different, and numbers that are all there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipelines.output.bare.shards import BareShard, bare_shards, counted_rows, planned
from pipelines.output.formats import shard_format
from pipelines.output.formats.parquet.unverified import one_spec
from pipelines.output.formats.schema import Row
from pipelines.output.plans.distinct import DistinctIds
from pipelines.output.storage import Storage
from tokenizer.codecs.base import CodecSpec, split
from tokenizer.errors import ShapeError, ShardError, UsageError
from tokenizer.types import Codes


def problems_of_bare(storage: Storage) -> Iterator[tuple[str, str]]:
    """What is wrong: the shard, and a line."""
    shards = bare_shards(storage)
    total = planned(shards)
    if len(shards) < total:
        yield "data", f"{len(shards)} of {total} shards are there, as their names say"
    readable, specs = [], []
    for shard in shards:
        try:
            ((_, spec),) = counted_rows(storage, [shard])
        except ShardError as error:
            yield shard.file, str(error)
            continue
        readable.append(shard)
        specs.append(spec)
    if not readable:
        return
    try:
        spec = one_spec(specs, [shard.file for shard in readable])
    except ShardError as error:
        yield "data", str(error)
        return
    yield from _rows(storage, readable, spec)


def _rows(
    storage: Storage, shards: Sequence[BareShard], spec: CodecSpec
) -> Iterator[tuple[str, str]]:
    with DistinctIds() as ids:
        for shard in shards:
            name, said = f"{storage.root}/{shard.place}", ""
            try:
                with storage.open(shard.place) as file:
                    for row in shard_format(shard.format).salvage(file, name):
                        if not isinstance(row, Row):
                            if row.message != said:  # a block is lost for one reason
                                yield shard.file, f"{name}: damaged: {row.message}"
                            said = row.message
                            continue
                        ids.add(row.id, shard.file)
                        yield from (
                            (shard.file, f"{row.id}: {why}") for why in _wrong(row.codes, spec)
                        )
            except ShardError as error:
                yield shard.file, str(error)
        try:
            ids.check()
        except UsageError as error:
            yield "data", str(error)


def _wrong(codes: Codes, spec: CodecSpec) -> Iterator[str]:
    if codes.n_q != spec.n_q:
        yield f"{codes.n_q} codebooks, the codec has {spec.n_q}"
    try:
        split(codes, spec)
    except ShapeError as error:
        yield str(error)
