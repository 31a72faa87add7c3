"""Which shards lie in a folder that has no manifest, and of which codec they are: by their names
and their own footers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, TypeVar

from pipelines.output.blobs import Blob, LocalBlob, RemoteBlob
from pipelines.output.cache import ByteCache
from pipelines.output.formats import format_names, shard_format
from pipelines.output.formats.reading import count_rows
from pipelines.output.manifest.names import CONFIG, DATA
from pipelines.output.storage import RemoteStorage, Storage
from tokenizer.codecs.base import CodecSpec
from tokenizer.errors import UsageError

THREADS = 16
"""footers that are read at a time: each costs a round trip on an object store"""
_SHARD = re.compile(r"(.+?)-(\d{5,})(?:-of-(\d{5,}))?(?:-[0-9a-f]{8,})?")
"""as `tokenize` calls a shard, or `datasets` does: split, number, how many"""
_SPLIT = "train"
"""of files that are called otherwise"""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class BareShard:
    """A file that is a shard by its name."""

    place: str
    """in the folder"""
    split: str
    total: int | None
    """how many there are of its kind, as its name says"""
    format: str
    size: int
    """bytes"""

    @property
    def file(self) -> str:
        """Its name without the folder."""
        return self.place.rsplit("/", 1)[-1]


def bare_shards(storage: Storage) -> list[BareShard]:
    """Shards in `data/`, or else in the folder itself, by name; none where there are none.

    Raises:
        UsageError: of several formats.
    """
    suffixes = _suffixes()
    for folder in (DATA, ""):
        names = [
            name
            for name in storage.list(folder)
            if PurePosixPath(name).suffix in suffixes and not name.startswith(".")
        ]
        if names:
            break
    else:
        return []
    kinds = sorted({PurePosixPath(name).suffix for name in names})
    if len(kinds) > 1:
        raise UsageError(f"{storage.root} holds several formats ({', '.join(kinds)})")
    places = [f"{folder}/{name}".lstrip("/") for name in names]
    return [
        _shard(place, suffixes[kinds[0]], size)
        for place, size in zip(places, _sizes(storage, folder, places), strict=True)
    ]


def _shard(place: str, form: str, size: int) -> BareShard:
    found = _SHARD.fullmatch(PurePosixPath(place).stem)
    if found is None:
        return BareShard(place, _SPLIT, None, form, size)
    total = None if found.group(3) is None else int(found.group(3))
    return BareShard(place, found.group(1), total, form, size)


def _sizes(storage: Storage, folder: str, places: Sequence[str]) -> list[int]:
    """One listing of a store says them all."""
    if isinstance(storage, RemoteStorage):
        known = storage.find(folder) if folder else {}
        if all(place.removeprefix(f"{folder}/") in known for place in places):
            return [known[place.removeprefix(f"{folder}/")] for place in places]
    return [storage.size(place) for place in places]


def without_manifest(storage: Storage) -> bool:
    """Whether a folder has shards and no configuration beside them."""
    return not storage.exists(CONFIG) and bool(bare_shards(storage))


def splits_of(shards: Sequence[BareShard]) -> dict[str, list[BareShard]]:
    """Shards by split."""
    found: dict[str, list[BareShard]] = {}
    for shard in shards:
        found.setdefault(shard.split, []).append(shard)
    return found


def planned(shards: Sequence[BareShard]) -> int:
    """How many there are to be, as their names say: generations that came later say more."""
    return sum(
        max(len(some), *(shard.total or 0 for shard in some)) for some in splits_of(shards).values()
    )


def counted_rows(storage: Storage, shards: Sequence[BareShard]) -> list[tuple[int, CodecSpec]]:
    """Rows and codec of each, by its footer, or by its rows where another program wrote it. Of
    Parquet on a store no more is fetched than that.

    Raises:
        ShardError: damage; it names the shard.
    """
    return in_threads(lambda shard: count_rows(shard.format, _blob(storage, shard)), shards)


def in_threads(function: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(function, items))


def _blob(storage: Storage, shard: BareShard) -> Blob:
    name = f"{storage.root}/{shard.place}"
    if isinstance(storage, RemoteStorage):
        return _FooterBlob(storage, shard, name)
    return LocalBlob(name, None, None)


class _FooterBlob(RemoteBlob):
    """An object that is not fetched as a whole to be looked at."""

    def __init__(self, storage: RemoteStorage, shard: BareShard, name: str) -> None:
        fs, path = storage.locate(shard.place)
        super().__init__(fs, path, name, None, None, ByteCache(1, len))
        self._storage, self._shard = storage, shard

    def size(self) -> int:
        return self._shard.size

    def open(self) -> IO[bytes]:
        return self._storage.open(self._shard.place)


def _suffixes() -> dict[str, str]:
    """Format by suffix; those that ship win, and packages that cannot be loaded are passed over."""
    found: dict[str, str] = {}
    for name in format_names():
        with suppress(UsageError):
            found.setdefault(shard_format(name).suffix, name)
    return found
