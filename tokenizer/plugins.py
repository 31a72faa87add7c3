"""What other installed packages add to a registry, through entry points.

    [project.entry-points."codecshards.codecs"]
    snac = "codecshards_snac:SNAC"           a `tokenizer.codecs.registry.Builtin`

    [project.entry-points."codecshards.sources"]
    lst = "my_corpora:ListOfPaths"           a subclass of `pipelines.corpus.sources.Source`

    [project.entry-points."codecshards.formats"]
    arrow = "my_formats:ArrowFormat"         a subclass of `pipelines.output.formats.ShardFormat`

An entry point is loaded when its name is used, so that a package that fails to import harms nobody
who does not ask for it. A name that ships with codecshards cannot be taken over.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from tokenizer.errors import UsageError

CODECS, SOURCES, FORMATS = "codecshards.codecs", "codecshards.sources", "codecshards.formats"
GROUPS = (CODECS, SOURCES, FORMATS)


def plugin_names(group: str, taken: Iterable[str]) -> list[str]:
    """Names that other packages add to a group, sorted, without those that are taken."""
    return sorted({point.name for point in entry_points(group=group)} - set(taken))


def load_plugin(group: str, name: str) -> object:
    """What the entry point of that name stands for.

    Raises:
        UsageError: its package fails to import, or lacks what the entry point names.
    """
    point = _point(group, name)
    try:
        loaded: object = point.load()
    except Exception as error:  # whatever importing somebody else's module raises
        raise UsageError(
            f"{name} comes from {origin(group, name)}, which fails to load: "
            f"{type(error).__name__}: {error}"
        ) from error
    return loaded


def not_a(group: str, name: str, what: str) -> UsageError:
    """The error for an entry point that stands for something else than it should."""
    return UsageError(f"{name} comes from {origin(group, name)}, and is not {what}")


def origin(group: str, name: str) -> str:
    """The package that adds a name, with its version."""
    package = _point(group, name).dist
    return "an installed package" if package is None else f"{package.name} {package.version}"


def _point(group: str, name: str) -> EntryPoint:
    return next(iter(entry_points(group=group, name=name)))
