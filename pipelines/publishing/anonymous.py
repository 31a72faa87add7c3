"""What is published tells where a recording lies in its corpus, and not where that lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pipelines.output.formats.schema import Row

_FILE = "file://"


class Anonymous:
    """Rows and footers without paths of this machine."""

    def __init__(self, sources: Sequence[str]) -> None:
        """`sources`: of the output, as its configuration has them."""
        roots = set()
        for source in sources:
            place = source.removeprefix(_FILE).rstrip("/")
            roots.add(place)
            if _is_file(place):  # its rows' paths are relative to where it lies
                roots.add(place.rpartition("/")[0])
        self._roots = sorted(roots - {""}, key=len, reverse=True)
        self._homes = (*self._roots, str(Path.home()))

    @property
    def homes(self) -> tuple[str, ...]:
        """What decides how rows are changed."""
        return self._homes

    def row(self, row: Row) -> Row:
        """The same codes; `source_uri`, and paths in `meta`, relative to the corpus."""
        return replace(row, source_uri=self.uri(row.source_uri), meta=self._meta(row.meta))

    def footer(self, footer: Mapping[str, Any]) -> dict[str, Any]:
        """What a shard says of its codec; of a checkpoint in a folder the folder's name alone."""
        codec = dict(footer["codec"])
        return {**footer, "codec": codec | {"codec": self.codec(codec["codec"])}}

    def codec(self, name: str) -> str:
        """A codec's name; the last part of a path."""
        return PurePosixPath(name).name if name.startswith(("/", ".", "~")) else name

    def uri(self, uri: str) -> str:
        """Relative to the corpus; of what lies elsewhere the name, or the URL without who asked."""
        place = uri.removeprefix(_FILE)
        for root in self._roots:
            if place == root:
                return root.rpartition("/")[2]
            if place.startswith(f"{root}/"):
                return place[len(root) + 1 :]
        if "://" not in place:
            return PurePosixPath(place).name if place.startswith(("/", "~")) else place
        scheme, host, path, _, _ = urlsplit(place)
        return urlunsplit((scheme, host.rpartition("@")[2], path, "", ""))

    def _meta(self, meta: Any) -> Any:
        if isinstance(meta, Mapping):
            return {key: self._meta(value) for key, value in meta.items()}
        if isinstance(meta, list | tuple):
            return [self._meta(value) for value in meta]
        if isinstance(meta, str) and any(home in meta for home in self._homes):
            return self.uri(meta)
        return meta


def _is_file(place: str) -> bool:
    """Whether a source is a list, a table or an archive, and no folder."""
    if "://" not in place and Path(place).exists():
        return Path(place).is_file()
    return "." in place.rpartition("/")[2]
