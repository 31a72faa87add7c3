"""Shards at random: one reader a format, chosen by the format's name."""

from __future__ import annotations

from pipelines.output.blobs import Blob
from pipelines.output.cache import ByteCache
from pipelines.output.formats.parquet.reader import ParquetReader
from pipelines.output.formats.reading.base import Part, ShardIndex, ShardReader
from pipelines.output.formats.webdataset.reader import WebDatasetReader
from tokenizer.codecs.base import CodecSpec

__all__ = ["Part", "ShardIndex", "ShardReader", "count_rows", "open_reader"]

_READERS: dict[str, type[ShardReader]] = {"parquet": ParquetReader, "webdataset": WebDatasetReader}


def open_reader(form: str, blob: Blob, spec: CodecSpec, cache: ByteCache[Part]) -> ShardReader:
    """Open a shard: its content is verified and its index read."""
    return _READERS[form](blob, spec, cache)


def count_rows(form: str, blob: Blob) -> tuple[int, CodecSpec]:
    """Rows of a shard and its codec, as its footer has them.

    Raises:
        ShardError: damage; it names the shard.
    """
    return _READERS[form].count(blob)
