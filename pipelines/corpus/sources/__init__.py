"""Corpora by name. A new kind of source is one file and one row in `SOURCES`, or an entry point of
another package in `codecshards.sources`.

The first row whose `fits` says yes opens the source; a prefix (`file:`, `folder:`, `manifest:`,
`tar:`, `parquet:`, `hf:`, or the name of an entry point) says it outright. A folder is looked
into: a data set saved to disk, Parquet files with audio, tars, and audio files otherwise. Sources
of other packages are asked last, so that no package changes what a SOURCE has meant before.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import cast

from pipelines.corpus.sources.base import AUDIO_EXTENSIONS, Source, extension, is_remote
from pipelines.corpus.sources.forms.moved import Move, MovedSource, now
from pipelines.corpus.sources.forms.several import SeveralSources
from pipelines.corpus.sources.identity import look_anew
from pipelines.corpus.sources.listing import is_output
from pipelines.corpus.tables.hints import PLAIN, Hints
from pipelines.system.places import local_path
from tokenizer import plugins
from tokenizer.errors import SourceError, UsageError

__all__ = ["SOURCES", "Source", "open_source", "source_kind", "source_names"]

SOURCES: dict[str, str] = {
    "file": "pipelines.corpus.sources.forms.single:FileSource",
    "hf": "pipelines.corpus.sources.hub:HubSource",
    "parquet": "pipelines.corpus.sources.parquet:ParquetSource",
    "list": "pipelines.corpus.sources.list_file:ListSource",
    "manifest": "pipelines.corpus.sources.table_file:ManifestSource",
    "tar": "pipelines.corpus.sources.tar:TarSource",
    "folder": "pipelines.corpus.sources.folder:FolderSource",
}
"""prefix → `module:class`, asked in this order"""
_ARCHIVES = ("zip", "7z", "rar")
_WORKBOOKS = ("xlsx", "xls", "xlsm", "xlsb", "ods", "numbers")


def source_names() -> list[str]:
    """Prefixes: those that ship, then those of other packages."""
    return [*SOURCES, *plugins.plugin_names(plugins.SOURCES, SOURCES)]


def open_source(
    spec: str | Sequence[str],
    *,
    follow_links: bool = False,
    check_versions: bool = True,
    hints: Hints | None = None,
    moved: Sequence[str] = (),
) -> Source:
    """The source that a spec names.

    Args:
        spec: a folder, file, pattern or URL; `file://` and `~` are local paths. Of several, all
            are one corpus: `SeveralSources`.
        follow_links: `Source.follow_links`.
        check_versions: `Source.check_versions`.
        hints: `Source.hints`.
        moved: `OLD=NEW` each, of a corpus that was read where names begin with OLD and lies now
            where they begin with NEW; the spec may be either.

    Raises:
        SourceError: there is no such thing, in one line.
        UsageError: a hint that means nothing to it, or none at all, or one twice; a move that is
            none.
    """
    specs = [spec] if isinstance(spec, str) else spec
    if "" in specs:
        raise UsageError("SOURCE is empty: give a folder, a file, or what else names a corpus")
    moves = [Move.of(one, specs) for one in moved]
    sources = [_open(now(each, moves, source_names()) if moves else each) for each in specs]
    if hints is not None:
        sources = _told(sources, hints)
    for source in sources:
        source.follow_links, source.check_versions = follow_links, check_versions
    if moves:
        sources = [MovedSource(source, moves) for source in sources]
    if len(sources) == 1:
        return sources[0]
    if not sources:
        raise UsageError("no SOURCE is given")
    return SeveralSources(sources)


def _told(sources: Sequence[Source], hints: Hints) -> list[Source]:
    """The sources with what the user says about them; of several, each with what means something to
    it.

    Raises:
        UsageError: a hint that means nothing to any.
    """
    alone = len(sources) == 1
    told = [_as_told(source, hints, alone) for source in sources]
    for flag in hints.as_given:
        if not any(flag in source.follows for source in told):
            names = ", ".join(source.spec for source in told[:3]) + (" …" if told[3:] else "")
            raise UsageError(f"{flag}: means nothing to {names}")
    for source in told:
        source.hints = hints.only(source.follows)
    return told


def _as_told(source: Source, hints: Hints, alone: bool) -> Source:
    """A list of a layout is a table like others where columns are named, and a table is a list
    where a layout is; among several sources only where it looks like that too."""
    wants_list = hints.layout not in (None, PLAIN)
    wants_table = not wants_list and bool(hints.columns or hints.delimiter)
    for wanted, other, is_wanted in (
        ("list", "manifest", wants_list),
        ("manifest", "list", wants_table),
    ):
        if is_wanted and type(source) is source_kind(other):
            kind = source_kind(wanted)
            if alone or kind.fits(source.spec):
                source = kind(source.spec)
                source.prefix = wanted
    return source


def _open(spec: str) -> Source:
    prefix, _, rest = spec.partition(":")
    if rest and not rest.startswith((":", "//")) and prefix in source_names():
        return _open_as(prefix, rest)
    spec = local_path(spec)
    if is_remote(spec):
        look_anew(spec)
    try:
        found, passed_over = _recognised(spec)
    except (OSError, ValueError, ImportError) as error:
        raise SourceError(f"source {spec} cannot be opened: {error}") from error
    if found in ("parquet", "tar") and is_output(spec):
        raise SourceError(
            f"source {spec}: an output folder of codecshards, not a corpus (`codecshards ls` and "
            "`inspect` tell what is in it)"
        )
    if found is not None:
        return source_kind(found)(spec)
    said = "".join(f"; {error}" for error in passed_over)
    if not is_remote(spec) and Path(spec).exists():
        raise SourceError(f"source {spec}: {_advice(spec)}{said}")
    raise SourceError(
        f"source {spec}: no such folder, manifest or archive (hf:NAME:split names a Hugging Face "
        f"data set){said}"
    )


def _open_as(name: str, rest: str) -> Source:
    """A source that was asked for by its prefix, which it keeps where it is not recognised as such
    without."""
    if name == "hf":
        return source_kind(name)(rest)
    if is_remote(rest):
        look_anew(rest)
    source = source_kind(name)(local_path(rest))
    try:
        if _recognised(source.spec)[0] != name:
            source.prefix = name
    except (OSError, ValueError, ImportError):
        source.prefix = name
    return source


def _recognised(spec: str) -> tuple[str | None, list[UsageError]]:
    """The first kind that fits, and why packages that cannot be loaded were passed over."""
    passed_over = []
    for name in source_names():
        try:
            kind = source_kind(name)
        except UsageError as error:
            passed_over.append(error)
            continue
        if kind.fits(spec):
            return name, passed_over
    return None, passed_over


def source_kind(name: str) -> type[Source]:
    """The class of a row, or of another package's.

    Raises:
        UsageError: it comes from a package that cannot be loaded.
    """
    if name in SOURCES:
        module, kind = SOURCES[name].split(":")
        return cast(type[Source], getattr(import_module(module), kind))
    loaded = plugins.load_plugin(plugins.SOURCES, name)
    if not (isinstance(loaded, type) and issubclass(loaded, Source)):
        raise plugins.not_a(plugins.SOURCES, name, "a subclass of Source")
    return loaded


def _advice(spec: str) -> str:
    """What to do about a file that is no source."""
    name = spec.rsplit("/", 1)[-1]
    if extension(name) in ("gz", "bz2", "xz", "zst"):
        return "a compressed file: unpack it first (.jsonl.gz, .csv.gz and .tsv.gz are read)"
    if extension(name) in _ARCHIVES:
        return "an archive that is not read as it is: unpack it, and give the folder"
    if extension(name) in _WORKBOOKS:
        return "a workbook of Excel or the like: save its sheet as CSV (UTF-8) and give that"
    if extension(name) in AUDIO_EXTENSIONS:
        return "not a regular file"
    return (
        "neither a folder nor a manifest (.jsonl, .csv, .tsv, .parquet) nor a tar nor, by its "
        "ending, audio (file:NAME takes it for audio)"
    )
