"""Parquet shards at random: small columns whole, codes page by page."""

from __future__ import annotations

import json
from bisect import bisect_right
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.output.blobs import Blob
from pipelines.output.config import spec_from_dict
from pipelines.output.formats.parquet.pages import ColumnPlace, PagedColumn, Unsupported
from pipelines.output.formats.parquet.unverified import guess_spec
from pipelines.output.formats.reading.base import Part, ShardIndex, ShardReader, damage, make_index
from pipelines.output.formats.schema import FOOTER_KEY, measures_in
from pipelines.system.arrow import open_parquet
from tokenizer.audio.quality.base import as_float32
from tokenizer.codecs.base import CodecSpec

_CODES = "codes."


class _WholeGroup(Part):
    """All codes of a row group, for files whose pages pyarrow has to read: uint16 `[codes]`."""

    def __init__(self, values: NDArray[np.uint16]) -> None:
        self.values, self.nbytes = values, values.nbytes


class ParquetReader(ShardReader):
    """Row groups and pages of one file."""

    def _read_index(self) -> ShardIndex:
        self._lock = Lock()
        self._columns: dict[str, Any] = {}
        self._opened: dict[int, PagedColumn | None] = {}
        self._places: list[ColumnPlace | None] = []
        with self.blob.open() as file:
            shard = _open(file)
            self.measures = measures_in(
                column.name for column in shard.schema_arrow if pa.types.is_floating(column.type)
            )
            self._names = frozenset(shard.schema_arrow.names)
            table = shard.read(columns=["id", "num_samples", "chunk_frames"], use_threads=False)
            lists = _one(table["chunk_frames"])
            _refuse_nulls(lists, lists.flatten(), _one(table["id"]), _one(table["num_samples"]))
            index = make_index(
                _one(table["id"]),
                _one(table["num_samples"]).to_numpy().astype(np.int64),
                np.diff(lists.offsets.to_numpy()),
                lists.flatten().to_numpy(),
            )
            self._place_groups(shard, index)
        return index

    def _place_groups(self, shard: pq.ParquetFile, index: ShardIndex) -> None:
        sizes = [
            shard.metadata.row_group(number).num_rows for number in range(shard.num_row_groups)
        ]
        self._first_rows = [0, *np.cumsum(sizes).tolist()]
        if self._first_rows[-1] != index.rows:
            raise ValueError(f"row groups of {self._first_rows[-1]} rows, columns of {index.rows}")
        for number, (first, stop) in enumerate(
            zip(self._first_rows, self._first_rows[1:], strict=False)
        ):
            frames = int(
                index.frame_starts[index.chunk_starts[stop]]
                - index.frame_starts[index.chunk_starts[first]]
            )
            self._places.append(self._place(shard, number, frames * self.spec.n_q))

    def _place(self, shard: pq.ParquetFile, number: int, expected: int) -> ColumnPlace | None:
        group = shard.metadata.row_group(number)
        names = [shard.schema.column(i).path for i in range(len(shard.schema))]
        column = next(i for i, name in enumerate(names) if name.startswith(_CODES))
        chunk, leaf = group.column(column), shard.schema.column(column)
        if chunk.num_values != expected:
            raise ValueError(
                f"row group {number} has {chunk.num_values} codes, its chunks and {self.spec.n_q} "
                f"codebooks {expected}"
            )
        if chunk.physical_type != "INT32" or leaf.max_repetition_level != 2:
            return None
        start = (
            chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
        )
        levels = (leaf.max_repetition_level, leaf.max_definition_level)
        size, values = chunk.total_compressed_size, chunk.num_values
        return ColumnPlace(start, size, values, chunk.compression, levels, self.spec.codebook_size)

    def codes(self, row: int, start: int, stop: int, n_q: int) -> NDArray[np.uint16]:
        number = bisect_right(self._first_rows, row) - 1
        index = self.index
        first = index.frames_between(self._first_rows[number], row) * self.spec.n_q + start
        frames = index.frames_of(row)
        starts = range(first, first + n_q * frames, frames)
        with damage(self.blob.name):
            codes = self._codes_from(number, starts, stop - start)
            if self.spec.codebook_sizes is not None:  # the largest is looked at page by page
                self.require_codes(codes)
            return codes

    def _codes_from(self, number: int, starts: range, length: int) -> NDArray[np.uint16]:
        column = self._column_of(number)
        if column is not None:
            return column.read(starts, length)
        whole = self.cache.get((self.blob.name, number), lambda: self._read_group(number))
        if not isinstance(whole, _WholeGroup):
            raise TypeError("not a row group")
        return np.stack([whole.values[begin : begin + length] for begin in starts])

    def _column_of(self, number: int) -> PagedColumn | None:
        """The pages of a row group; None when pyarrow has to read it."""
        if number not in self._opened:
            place = self._places[number]
            try:
                paged = (
                    None
                    if place is None
                    else PagedColumn(self.blob, place, self.cache, (self.blob.name, number))
                )
            except Unsupported:
                paged = None
            self._opened[number] = paged
        return self._opened[number]

    def _read_group(self, number: int) -> _WholeGroup:
        with self.blob.open() as file:
            levels = _one(
                _open(file).read_row_group(number, columns=["codes"], use_threads=False)["codes"]
            )
        flat = levels.flatten()
        values = flat.flatten()
        _refuse_nulls(levels, flat, values)
        index = self.index
        rows = range(self._first_rows[number], self._first_rows[number + 1])
        if np.diff(flat.offsets.to_numpy()).tolist() != [
            index.frames_of(row) for row in rows for _ in range(self.spec.n_q)
        ]:
            raise ValueError(f"row group {number}: codes are not those of its chunks")
        codes = values.to_numpy(zero_copy_only=False)
        if codes.size and (codes.min() < 0 or codes.max() >= self.spec.codebook_size):
            raise ValueError(f"codes outside the codebook of {self.spec.codebook_size}")
        return _WholeGroup(codes.astype(np.uint16))

    def scales(self, row: int) -> NDArray[np.float32] | None:
        if not self.spec.has_scales:
            return None
        with damage(self.blob.name):
            value = self._column("scales")[row].values
            if value is None:
                return None
            scales: NDArray[np.float32] = value.to_numpy(zero_copy_only=False).astype(np.float32)
            if len(scales) != self.index.chunks_of(row):
                raise ValueError(
                    f"row {row} has {len(scales)} scales for {self.index.chunks_of(row)} chunks"
                )
            return scales

    def field(self, row: int, name: str) -> str | None:
        if name not in self._names:  # left out by another program
            return None
        with damage(self.blob.name):
            value: str | None = self._column(name)[row].as_py()
            return value

    def quality(self, row: int) -> dict[str, float | None]:
        with damage(self.blob.name):
            return {name: as_float32(self._column(name)[row].as_py()) for name in self.measures}

    def _column(self, name: str) -> Any:
        """A small column of the whole shard, read when it is first asked for."""
        with self._lock:
            if name not in self._columns:
                with self.blob.open() as file:
                    self._columns[name] = _one(
                        _open(file).read(columns=[name], use_threads=False)[name]
                    )
            return self._columns[name]

    @classmethod
    def count(cls, blob: Blob) -> tuple[int, CodecSpec]:
        with damage(blob.name), blob.open() as file:
            shard = _open(file)
            said = (shard.schema_arrow.metadata or {}).get(FOOTER_KEY.encode())
            if said is None:  # another program has written it anew
                return shard.metadata.num_rows, guess_spec(shard)
            return shard.metadata.num_rows, spec_from_dict(json.loads(said)["codec"])


def _open(file: Any) -> pq.ParquetFile:
    return open_parquet(file, checksums=True)


def _one(column: pa.ChunkedArray) -> Any:
    """A column as one array that begins at its own beginning."""
    array = column.combine_chunks()
    return pa.concat_arrays([array]) if array.offset else array


def _refuse_nulls(*arrays: Any) -> None:
    if any(array.null_count for array in arrays):
        raise ValueError("nulls among codes, chunks or lengths")
