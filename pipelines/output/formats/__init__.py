"""Shard formats by name. A new one is one folder here, with a writer and a reader, and one row in
`SHARD_FORMATS`, or an entry point of another package in `codecshards.formats`."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from pipelines.output.formats.base import ShardFormat
from tokenizer import plugins
from tokenizer.errors import UsageError

__all__ = ["SHARD_FORMATS", "ShardFormat", "format_names", "shard_format"]

SHARD_FORMATS: dict[str, str] = {
    "parquet": "pipelines.output.formats.parquet.writer:ParquetFormat",
    "webdataset": "pipelines.output.formats.webdataset.writer:WebDatasetFormat",
    "coded": "pipelines.output.formats.coded.writer:CodedFormat",
}
"""name → `module:class`, imported when it is used"""


def format_names() -> list[str]:
    """Those that ship, then those of other packages."""
    return [*SHARD_FORMATS, *plugins.plugin_names(plugins.FORMATS, SHARD_FORMATS)]


def shard_format(name: str) -> ShardFormat:
    """The format of that name.

    Raises:
        UsageError: there is none, or the package that it comes from cannot be loaded.
    """
    if name in SHARD_FORMATS:
        module, kind = SHARD_FORMATS[name].split(":")
        return cast(ShardFormat, getattr(import_module(module), kind)())
    if name not in format_names():
        raise UsageError(f"no shard format {name}: choose one of {', '.join(format_names())}")
    loaded = plugins.load_plugin(plugins.FORMATS, name)
    if not (isinstance(loaded, type) and issubclass(loaded, ShardFormat)):
        raise plugins.not_a(plugins.FORMATS, name, "a subclass of ShardFormat")
    return loaded()
