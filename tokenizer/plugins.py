"""What other installed packages add to a registry, through entry points.

    [project.entry-points."codecshards.codecs"]
    snac = "codecshards_snac:SNAC"           a `tokenizer.codecs.registry.Builtin`

    [project.entry-points."codecshards.sources"]
    lst = "my_corpora:ListOfPaths"           a subclass of `pipelines.corpus.sources.Source`

    [project.entry-points."codecshards.formats"]
    arrow = "my_formats:ArrowFormat"         a subclass of `pipelines.output.formats.ShardFormat`

    [project.entry-points."codecshards.quality"]
    crest = "my_measures:Crest"              a subclass of `tokenizer.audio.quality.Measure`

An entry point is loaded when its name is used, so that a package that fails to import harms nobody
who does not ask for it. A name that ships with codecshards cannot be taken over.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from tokenizer.errors import UsageError

CODECS, SOURCES, FORMATS = "codecshards.codecs", "codecshards.sources", "codecshards.formats"
QUALITY = "codecshards.quality"


def plugin_names(group: str, taken: Iterable[str]) -> list[str]:
    """Names that other packages add to a group, sorted, without those that are taken."""
    return sorted({point.name for point in entry_points(group=group)} - set(taken))


def load_plugin(group: str, name: str) -> object:
    """What the entry point of that name stands for.

    Raises:
        UsageError: its package fails to import, or lacks what the entry point names; or several
            packages add this name, of which nobody knows which one is meant.
    """
    points = list(entry_points(group=group, name=name))
    if len(points) > 1:
        packages = " and ".join(sorted(package_of(point) for point in points))
        raise UsageError(f"{name} comes from {packages}: uninstall all but one")
    try:
        loaded: object = points[0].load()
    except (Exception, SystemExit) as error:  # whatever importing somebody else's module raises
        raise UsageError(
            f"{name} comes from {package_of(points[0])}, which fails to load: "
            f"{type(error).__name__}: {error}"
        ) from error
    return loaded


def not_a(group: str, name: str, what: str) -> UsageError:
    """The error for an entry point that stands for something else than it should."""
    package = package_of(next(iter(entry_points(group=group, name=name))))
    return UsageError(f"{name} comes from {package}, and is not {what}")


def package_of(point: EntryPoint) -> str:
    """The package of an entry point, with its version."""
    package = point.dist
    return "an installed package" if package is None else f"{package.name} {package.version}"
