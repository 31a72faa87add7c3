"""Shards at random, by the reader of their format."""

from __future__ import annotations

from pipelines.output.blobs import Blob
from pipelines.output.cache import ByteCache
from pipelines.output.formats import shard_format
from pipelines.output.formats.reading.base import Part, ShardIndex, ShardReader
from tokenizer.codecs.base import CodecSpec

__all__ = ["Part", "ShardIndex", "ShardReader", "count_rows", "open_reader"]


def open_reader(form: str, blob: Blob, spec: CodecSpec, cache: ByteCache[Part]) -> ShardReader:
    """Open a shard: its content is verified and its index read."""
    return shard_format(form).reader(blob, spec, cache)


def count_rows(form: str, blob: Blob) -> tuple[int, CodecSpec]:
    """Rows of a shard and its codec, as its footer has them.

    Raises:
        ShardError: damage; it names the shard.
    """
    return shard_format(form).reader.count(blob)
