"""All rows of a data set with their codes, a shard after the other, for those who take each once.

Nothing is kept of a shard that is done, so that memory is bounded by one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipelines.loader.catalog import Catalog, ShardEntry, first_codebooks, read_catalog
from pipelines.output.bare.shards import bare_shards
from pipelines.output.bare.shards import splits_of as by_split
from pipelines.output.cache import ByteCache
from pipelines.output.formats.lost import Span, lost_frames
from pipelines.output.formats.parquet.unverified import UNKNOWN
from pipelines.output.formats.reading import Part, ShardReader, open_reader
from pipelines.output.manifest.commits import Manifest
from pipelines.output.rows import Rows
from pipelines.output.storage import open_storage
from tokenizer.codecs.base import CodecSpec
from tokenizer.errors import ShardError, UsageError
from tokenizer.types import Codes

_CACHE = 64 << 20
"""bytes of unpacked pages, and as much again of shards that were fetched"""


@dataclass(frozen=True, slots=True, eq=False)
class CodedRow:
    """A recording's codes, and what is said of it."""

    id: str
    codes: Codes
    text: str | None
    language: str | None
    speaker: str | None
    shard: str
    number: int
    """of the row in its shard"""
    lost: tuple[Span, ...] = ()
    """frames that are lacking"""


class InOrder:
    """The rows of all splits of a data set, or those for which a condition holds."""

    def __init__(
        self,
        root: str,
        n_q: int | None = None,
        *,
        where: str | None = None,
        partial: bool = False,
        damaged: Callable[[int, ShardError], None] | None = None,
    ) -> None:
        """
        Args:
            root: an output of `tokenize`; without `where` a copy of its `data/` is enough.
            n_q: how many codebooks, from the first; None is all.
            where: condition on the rows, in SQL's words.
            partial: accept a data set that lacks some of its shards.
            damaged: is told of a shard whose rows cannot be read, and how many that are, and the
                others go on; None raises, and so does what is met while a condition is answered.

        Raises:
            UsageError: nothing there, an unfinished run, fewer codebooks than asked for, half a
                level, no condition, or one that is true of no row.
            ShardError: damage; it names the shard.
        """
        blobs: ByteCache[bytes] = ByteCache(_CACHE, len)
        self.root, self._where, self._damaged = root, where, damaged
        read = {
            split: read_catalog(root, "shards", blobs, split, partial, empty=True)
            for split in splits_of(root)
        }
        self._catalogs: dict[str, Catalog] = {
            split: catalog for split, catalog in read.items() if catalog.rows
        }
        if not self._catalogs:
            raise UsageError(f"{root} holds no recordings")
        self.n_q = first_codebooks(root, self.spec, n_q)
        if where is not None and next(Rows(root).rows(["id"], where), None) is None:
            raise UsageError(f"{root} has no recording for which --where {where!r} is true")

    @property
    def spec(self) -> CodecSpec:
        return next(iter(self._catalogs.values())).spec

    @property
    def splits(self) -> list[str]:
        return list(self._catalogs)

    @property
    def rows(self) -> int:
        """Of all splits, whatever the condition."""
        return sum(catalog.rows for catalog in self._catalogs.values())

    def __iter__(self) -> Iterator[tuple[str, CodedRow | None]]:
        """Every row with its split; None in the place of one that the condition is not true of.

        Raises:
            ShardError: damage; it names the shard.
            UsageError: the condition cannot be answered.
        """
        wanted = None if self._where is None else _Wanted(self.root, self._where)
        for split, catalog in self._catalogs.items():
            for entry in catalog.shards:
                yield from ((split, row) for row in self._rows(catalog, entry, wanted))
        if wanted is not None:
            wanted.require_end()

    def ids(self) -> Iterator[str]:
        """The ids of all rows, whatever the condition; damaged shards are passed over where the
        rows' are.

        Raises:
            ShardError: damage; it names the shard.
        """
        for catalog in self._catalogs.values():
            for entry in catalog.shards:
                try:
                    ids = _open(catalog, entry).index.ids
                except ShardError:
                    if self._damaged is None:
                        raise
                    continue
                yield from ids.to_pylist()

    def _rows(
        self, catalog: Catalog, entry: ShardEntry, wanted: _Wanted | None
    ) -> Iterator[CodedRow | None]:
        done = 0
        try:
            reader = _open(catalog, entry)
            for row in range(reader.index.rows):
                id = reader.index.ids[row].as_py()
                taken = wanted is None or wanted.take(id)
                yield _read(reader, row, id, self.n_q, entry.name) if taken else None
                done += 1
        except ShardError as error:
            if self._damaged is None or wanted is not None:
                raise
            self._damaged(entry.rows - done, error)


class _Wanted:
    """The ids for which a condition holds, in the order of the rows, looked at one by one."""

    def __init__(self, root: str, where: str) -> None:
        self._root = root
        self._ids = (str(row["id"]) for row in Rows(root).rows(["id"], where))
        self._next = next(self._ids, None)

    def take(self, id: str) -> bool:
        """Whether this row is the next one that is wanted."""
        if id != self._next:
            return False
        self._next = next(self._ids, None)
        return True

    def require_end(self) -> None:
        if self._next is not None:
            raise ShardError(
                f"{self._root}: {self._next!r} is not among its codes: it was changed meanwhile, "
                "or `codecshards verify` tells more"
            )


def splits_of(root: str) -> list[str]:
    """The splits of a data set, in order, from the names of its shards.

    Raises:
        UsageError: nothing there.
    """
    storage = open_storage(root)
    manifest = Manifest(storage)
    if manifest.read_config() is not None:
        found = list(dict.fromkeys(name.rsplit("-", 3)[0] for name in manifest.committed_names()))
    else:
        found = list(by_split(bare_shards(storage)))
    if not found:
        raise UsageError(
            f"{root} holds no shards: give an output of `codecshards tokenize`, or a copy of its "
            "data/"
        )
    return found


def _open(catalog: Catalog, entry: ShardEntry) -> ShardReader:
    parts: ByteCache[Part] = ByteCache(_CACHE, lambda part: part.nbytes)
    reader = open_reader(catalog.format, entry.blob, catalog.spec, parts)
    if reader.index.rows != entry.rows:
        raise ShardError(
            f"{entry.blob.name}: damaged: {reader.index.rows} rows, {entry.rows} were committed"
        )
    return reader


def _read(reader: ShardReader, row: int, id: str, n_q: int, shard: str) -> CodedRow:
    index = reader.index
    codes = reader.codes(row, 0, index.frames_of(row), n_q)
    return CodedRow(
        id,
        Codes(
            codes,
            reader.scales(row),
            index.chunk_frames(row, 0, index.chunks_of(row)),
            int(index.num_samples[row]),
            reader.spec.sample_rate,
            reader.spec.layout,
            None if reader.spec.weights_sha256 == UNKNOWN else reader.spec.weights_sha256,
        ),
        text=reader.field(row, "text"),
        language=reader.field(row, "language"),
        speaker=reader.field(row, "speaker"),
        shard=shard,
        number=row,
        lost=lost_frames(reader.field(row, "meta")),
    )
