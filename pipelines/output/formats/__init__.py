"""Shard formats by name."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from pipelines.output.formats.base import ShardFormat
from tokenizer.errors import UsageError

__all__ = ["SHARD_FORMATS", "ShardFormat", "shard_format"]

SHARD_FORMATS: dict[str, str] = {
    "parquet": "pipelines.output.formats.parquet.writer:ParquetFormat",
    "webdataset": "pipelines.output.formats.webdataset.writer:WebDatasetFormat",
}
"""name → `module:class`, imported when it is used"""


def shard_format(name: str) -> ShardFormat:
    """The format of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in SHARD_FORMATS:
        raise UsageError(f"no shard format {name}: choose one of {', '.join(SHARD_FORMATS)}")
    module, kind = SHARD_FORMATS[name].split(":")
    return cast(ShardFormat, getattr(import_module(module), kind)())
