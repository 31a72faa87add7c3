"""What there is to choose from: codecs, sources, formats and quality measures, and the package of
each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points, version

from pipelines.corpus.sources import SOURCES, source_kind
from pipelines.output.formats import SHARD_FORMATS, shard_format
from tokenizer import plugins
from tokenizer.audio.quality import MEASURES, measure
from tokenizer.codecs import CODECS
from tokenizer.codecs.lookup import BUNDLED
from tokenizer.codecs.registry import FAMILIES, find_builtin
from tokenizer.errors import CodecshardsError

_SHIPPED: Mapping[str, tuple[str, ...]] = {
    plugins.CODECS: (*CODECS, *BUNDLED),
    plugins.SOURCES: tuple(SOURCES),
    plugins.FORMATS: tuple(SHARD_FORMATS),
    plugins.QUALITY: tuple(MEASURES),
}
_KINDS = {
    plugins.CODECS: "codec",
    plugins.SOURCES: "source",
    plugins.FORMATS: "format",
    plugins.QUALITY: "quality",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A name that can be chosen, or why it cannot."""

    kind: str
    """codec, source, format or quality"""
    name: str
    package: str
    """what it comes from, with its version"""
    trouble: str | None = None
    used_as: str = ""
    """how it is asked for"""


def entries() -> Iterator[Entry]:
    """Everything by kind: what ships, then what other packages add."""
    own = f"codecshards {version('codecshards')}"
    for family in FAMILIES:
        said = f"--codec HUB_ID or FOLDER, any checkpoint whose model_type is {family}"
        yield Entry("codec", family, own, None, said)
    for group, shipped in _SHIPPED.items():
        for name in shipped:
            yield Entry(_KINDS[group], name, own, None, _used_as(group, name))
        for point in sorted(entry_points(group=group), key=lambda point: point.name):
            package = plugins.package_of(point)
            if point.name in shipped:
                trouble: str | None = "not used: a name that ships with codecshards"
            else:
                trouble = _trouble(group, point.name)
            used_as = "" if trouble else _used_as(group, point.name)
            yield Entry(_KINDS[group], point.name, package, trouble, used_as)


def render() -> None:
    """Print it, a line each."""
    for entry in entries():
        said = entry.trouble or entry.used_as
        print(f"{entry.kind:<8} {entry.name:<16} {entry.package:<28} {said}".rstrip())


def _used_as(group: str, name: str) -> str:
    if group == plugins.SOURCES:
        return f"{name}:SPEC, or what it recognises"
    if group == plugins.FORMATS:
        return f"--format {name}, files *{shard_format(name).suffix}"
    if group == plugins.QUALITY:
        kind = measure(name)
        return f"--quality {name}: {f'{kind.unit}, ' if kind.unit else ''}{kind.what}"
    return f"--codec {name}"


def _trouble(group: str, name: str) -> str | None:
    """Why a name of another package cannot be used."""
    use: dict[str, Callable[[str], object]] = {
        plugins.CODECS: find_builtin,
        plugins.SOURCES: source_kind,
        plugins.FORMATS: shard_format,
        plugins.QUALITY: measure,
    }
    try:
        use[group](name)
    except CodecshardsError as error:
        return str(error)
    return None
