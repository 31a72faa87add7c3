"""Corpora by name. A new kind of source is one file and one row in `SOURCES`.

The first row whose `fits` says yes opens the source; a prefix (`folder:`, `manifest:`, `tar:`,
`parquet:`, `hf:`) says it outright. A folder is looked into: a data set saved to disk, Parquet
files with audio, tars, and audio files otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

from pipelines.corpus.sources.base import AUDIO_EXTENSIONS, Source, extension, is_remote
from pipelines.corpus.sources.listing import list_folder
from pipelines.system.places import local_path
from pipelines.system.remote import filesystem, open_remote
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
    return _is_folder(spec) and _only(spec, "tar")


def _is_parquet(spec: str) -> bool:
    """A folder of Parquet files, or one of them, with audio in it and not only paths."""
    if _is_folder(spec):
        return _only(spec, "parquet")
    return extension(spec) == "parquet" and _holds_audio(spec)


def _holds_audio(spec: str) -> bool:
    import pyarrow as pa

    from pipelines.corpus.sources.parquet import audio_column
    from pipelines.system.arrow import open_parquet

    try:
        with open_remote(spec) if is_remote(spec) else Path(spec).open("rb") as file:
            return audio_column(open_parquet(file).schema_arrow) is not None
    except (OSError, pa.ArrowException):
        return False  # the reader of manifests says what is wrong


def _is_saved_data_set(spec: str) -> bool:
    folder = Path(spec)
    return (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file()


def _is_folder(spec: str) -> bool:
    if not is_remote(spec):
        return Path(spec).is_dir()
    fs, root = filesystem(spec)
    return bool(fs.isdir(root))


def _only(spec: str, ending: str) -> bool:
    """Whether a folder has files with this ending and no loose audio."""
    found = {extension(name) for name in list_folder(spec).files}
    return ending in found and not found & AUDIO_EXTENSIONS


def _advice(spec: str) -> str:
    """What to do about a file that is no source."""
    name = spec.rsplit("/", 1)[-1]
    if name == "wav.scp":
        return (
            "Kaldi's data folders are not read: write a manifest with path, id, start, end, text, "
            "speaker (.tsv or .jsonl)"
        )
    if extension(name) in ("gz", "bz2", "xz", "zst"):
        return (
            "a compressed file: unpack it first (and export a Lhotse cut set as a manifest with "
            "path, start, end, text)"
        )
    if extension(name) in AUDIO_EXTENSIONS:
        return "a single audio file: give its folder, or a manifest that names it"
    return "neither a folder nor a manifest (.jsonl, .csv, .tsv, .parquet) nor a tar"


SOURCES: dict[str, Kind] = {
    "hf": Kind("hf", _is_saved_data_set, "pipelines.corpus.sources.hub:HubSource"),
    "parquet": Kind("parquet", _is_parquet, "pipelines.corpus.sources.parquet:ParquetSource"),
    "manifest": Kind(
        "manifest", _is_manifest, "pipelines.corpus.sources.table_file:ManifestSource"
    ),
    "tar": Kind("tar", _is_tar, "pipelines.corpus.sources.tar:TarSource"),
    "folder": Kind("folder", _is_folder, "pipelines.corpus.sources.folder:FolderSource"),
}


def open_source(spec: str, *, follow_links: bool = False, check_versions: bool = True) -> Source:
    """The source that a spec names.

    Args:
        spec: a folder, file, pattern or URL; `file://` and `~` are local paths.
        follow_links: `Source.follow_links`.
        check_versions: `Source.check_versions`.

    Raises:
        SourceError: there is no such thing, in one line.
    """
    source = _open(spec)
    source.follow_links, source.check_versions = follow_links, check_versions
    return source


def _open(spec: str) -> Source:
    prefix, _, rest = spec.partition(":")
    if prefix in SOURCES and rest and not rest.startswith((":", "//")):
        return SOURCES[prefix].open(rest if prefix == "hf" else local_path(rest))
    spec = local_path(spec)
    try:
        for kind in SOURCES.values():
            if kind.fits(spec):
                return kind.open(spec)
    except (OSError, ValueError, ImportError) as error:
        raise SourceError(f"source {spec} cannot be opened: {error}") from error
    if not is_remote(spec) and Path(spec).exists():
        raise SourceError(f"source {spec}: {_advice(spec)}")
    raise SourceError(
        f"source {spec}: no such folder, manifest or archive (hf:NAME:split names a Hugging Face "
        "data set)"
    )
