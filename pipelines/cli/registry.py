"""What there is to choose from: codecs, sources and formats, and the package that each comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points, version

from pipelines.corpus.sources import SOURCES
from pipelines.output.formats import SHARD_FORMATS
from tokenizer import plugins
from tokenizer.codecs import CODECS
from tokenizer.codecs.lookup import BUNDLED
from tokenizer.errors import CodecshardsError

_SHIPPED: Mapping[str, tuple[str, ...]] = {
    plugins.CODECS: (*CODECS, *BUNDLED),
    plugins.SOURCES: tuple(SOURCES),
    plugins.FORMATS: tuple(SHARD_FORMATS),
}
_KINDS = {plugins.CODECS: "codec", plugins.SOURCES: "source", plugins.FORMATS: "format"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A name that can be chosen, or why it cannot."""

    kind: str
    """codec, source or format"""
    name: str
    package: str
    """what it comes from, with its version"""
    trouble: str | None = None


def entries() -> Iterator[Entry]:
    """Everything by kind: what ships, then what other packages add."""
    own = f"codecshards {version('codecshards')}"
    for group, shipped in _SHIPPED.items():
        yield from (Entry(_KINDS[group], name, own) for name in shipped)
        for point in sorted(entry_points(group=group), key=lambda point: point.name):
            package = plugins.origin(group, point.name)
            if point.name in shipped:
                trouble: str | None = "not used: a name that ships with codecshards"
            else:
                trouble = _trouble(group, point.name)
            yield Entry(_KINDS[group], point.name, package, trouble)


def render() -> None:
    """Print it, a line each."""
    for entry in entries():
        said = f"  {entry.trouble}" if entry.trouble else ""
        print(f"{entry.kind:<8} {entry.name:<20} {entry.package}{said}")


def _trouble(group: str, name: str) -> str | None:
    try:
        plugins.load_plugin(group, name)
    except CodecshardsError as error:
        return str(error)
    return None
