"""Corpora by name. A new kind of source is one file and one row in `SOURCES`.

The first row whose `fits` says yes opens the source; a prefix (`folder:`, `manifest:`, `tar:`, `parquet:`, `hf:`) says it
outright. A folder is looked into: a data set saved to disk, Parquet files with audio, tars, and audio files otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

from pipelines.remote import filesystem
from pipelines.sources.base import AUDIO_EXTENSIONS, Source, extension, is_remote
from tokenizer.errors import SourceError

__all__ = ["SOURCES", "Source", "open_source"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A row of the registry."""

    prefix: str
    fits: Callable[[str], bool]
    """whether a spec without a prefix is of this kind; asked in order"""
    home: str
    """`module:class`, imported when it is used"""

    def open(self, spec: str) -> Source:
        module, name = self.home.split(":")
        return cast(Source, getattr(import_module(module), name)(spec))


def _is_manifest(spec: str) -> bool:
    return extension(spec) in ("jsonl", "ndjson", "csv", "tsv", "parquet") and not _is_folder(spec)


def _is_tar(spec: str) -> bool:
    if spec.endswith((".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz")):
        return True
    return _is_folder(spec) and _only(spec, {"tar"})


def _is_parquet_folder(spec: str) -> bool:
    return _is_folder(spec) and _only(spec, {"parquet"})


def _is_saved_data_set(spec: str) -> bool:
    folder = Path(spec)
    return (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file()


def _is_folder(spec: str) -> bool:
    if not is_remote(spec):
        return Path(spec).is_dir()
    fs, root = filesystem(spec)
    return bool(fs.isdir(root))


def _only(spec: str, endings: set[str]) -> bool:
    """Whether a folder has files with these endings and no loose audio."""
    fs, root = filesystem(spec)
    found = {extension(path) for path in fs.find(root)}
    return bool(found & endings) and not found & AUDIO_EXTENSIONS


SOURCES: dict[str, Kind] = {
    "hf": Kind("hf", _is_saved_data_set, "pipelines.sources.hub:HubSource"),
    "manifest": Kind("manifest", _is_manifest, "pipelines.sources.manifest:ManifestSource"),
    "tar": Kind("tar", _is_tar, "pipelines.sources.tar:TarSource"),
    "parquet": Kind("parquet", _is_parquet_folder, "pipelines.sources.parquet:ParquetSource"),
    "folder": Kind("folder", _is_folder, "pipelines.sources.folder:FolderSource"),
}


def open_source(spec: str) -> Source:
    """The source that a spec names.

    Raises:
        SourceError: there is no such thing, in one line.
    """
    prefix, _, rest = spec.partition(":")
    if prefix in SOURCES and rest and not rest.startswith("//"):
        return SOURCES[prefix].open(rest)
    try:
        for kind in SOURCES.values():
            if kind.fits(spec):
                return kind.open(spec)
    except (OSError, ValueError, ImportError) as error:
        raise SourceError(f"source {spec} cannot be opened: {error}") from error
    if not is_remote(spec) and Path(spec).exists():
        raise SourceError(f"source {spec}: neither a folder nor a manifest (.jsonl, .csv, .tsv, .parquet) nor a tar")
    raise SourceError(f"source {spec}: no such folder, manifest or archive (hf:NAME:split names a Hugging Face data set)")
