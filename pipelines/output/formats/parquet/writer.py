"""Parquet shards: small row groups for random access, checksums on every page, and little more
bits a code than its codebook needs.

Dictionary encoding is exact 10-bit packing for codes of 1,024 values (10.05 bits a code with its
overhead; without it 13.9). A column chunk that outgrows the dictionary limit would fall back, so
the limit is far above 1,024 values. The dictionary of 65,536 would cost more than the codes, whose
bytes sorted by significance are 16.05 bits: the upper two of each are zeros.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.output.formats.base import ShardFormat
from pipelines.output.formats.parquet.unverified import REQUIRED
from pipelines.output.formats.reading.base import ShardReader
from pipelines.output.formats.schema import (
    ARROW_SCHEMA,
    FOOTER_KEY,
    Row,
    arrow_schema,
    row_of,
    scalars,
)
from pipelines.system.arrow import open_parquet
from tokenizer.allocator import give_freed_memory_back
from tokenizer.errors import ShapeError, ShardError

ROW_GROUP = 64
_CODES = "codes.list.element.list.element"
_ARRAYS = ("codes", "scales", "chunk_frames")
_GROUP_CODES = 64 << 20
"""codes after which a row group ends early: long recordings must not add up in memory"""
_MANY = 4 << 20
"""codes from which on it matters what they take while they are written: Arrow takes 21 bytes for
each, and a row cannot be divided"""
_WORTH_A_DICTIONARY = 1 << 19
"""codes that a row group goes on for: each has a dictionary, which costs many short rows more than
it does a few long ones"""
_MOST_ROWS = 1024
_BY_DICTIONARY = 8192
"""entries of the largest codebook whose codes are packed by a dictionary"""
_PAGE = 1 << 17
"""bytes: a reader of 10 s decompresses the pages they lie in, and pages of 128 KB make that 2.5
times faster for 0.04% of bytes"""
_ZSTD_BLOCK = 1 << 17


class ParquetFormat(ShardFormat):
    """One row a recording, the columns of `pipelines.output.formats.schema`."""

    suffix = ".parquet"

    @property
    def reader(self) -> type[ShardReader]:
        from pipelines.output.formats.parquet.reader import ParquetReader

        return ParquetReader

    def usage(self, split: str) -> str:
        files = f'"data/{split}-*.parquet"'
        return (
            "from datasets import load_dataset\n\n"
            f'codes = load_dataset("parquet", data_files={files}, split="train")'
            '.with_format("numpy")'
        )

    def write(self, path: str, rows: Iterable[Row], footer: Mapping[str, Any]) -> None:
        measures = list(footer.get("quality", ()))
        schema = arrow_schema(measures).with_metadata(
            {FOOTER_KEY: json.dumps(dict(footer), sort_keys=True)}
        )
        with pq.ParquetWriter(
            path,
            schema,
            version="2.6",
            compression="zstd",
            # Where lists of a row end is 0.6% of a page and compresses well, but by less than the
            # 1.6% of a block that zstd asks for below this level. It costs 0.1 s a MB.
            compression_level=dict.fromkeys(_leaves(schema), 3) | {_CODES: 19},
            **_encodings(footer),
            write_statistics=["id", "num_samples", "source_uri", *measures],
            write_page_index=True,
            write_page_checksum=True,
        ) as writer:
            for group in _groups(iter(rows)):
                if sum(row.codes.codes.size for row in group) > _MANY:
                    give_freed_memory_back()
                writer.write_table(_to_table(group, schema), row_group_size=len(group))

    def read(self, file: IO[bytes], name: str) -> Iterator[Row]:
        with _damage(name):
            shard = _open(file)
            for number in range(shard.num_row_groups):
                yield from _from_table(_row_group(shard, number))

    def read_one(self, file: IO[bytes], name: str, id: str) -> Row | None:
        with _damage(name):
            shard = _open(file)
            for number in range(shard.num_row_groups):
                ids = shard.read_row_group(number, columns=["id"], use_threads=False)[
                    "id"
                ].to_pylist()
                if id in ids:
                    at = ids.index(id)
                    return next(_from_table(_row_group(shard, number).slice(at, 1)))
        return None

    def columns(self, file: IO[bytes], name: str) -> pa.Schema:
        with _damage(name):
            return scalars(_open(file).schema_arrow)

    def read_columns(
        self, file: IO[bytes], name: str, columns: Sequence[str]
    ) -> Iterator[Mapping[str, Any]]:
        with _damage(name):
            shard = _open(file)
            for number in range(shard.num_row_groups):
                wanted = list(columns)
                yield from shard.read_row_group(
                    number, columns=wanted, use_threads=False
                ).to_pylist()

    def footer(self, file: IO[bytes], name: str) -> dict[str, Any]:
        with _damage(name):
            said = (_open(file).schema_arrow.metadata or {}).get(FOOTER_KEY.encode())
            # Another program has written the file anew: its commit record has no footer either.
            values: dict[str, Any] = {} if said is None else json.loads(said)
            return values


def _open(file: IO[bytes]) -> pq.ParquetFile:
    return open_parquet(file, checksums=True)


def _row_group(shard: pq.ParquetFile, number: int) -> pa.Table:
    """Its rows. Another program may have left out columns that they can do without, or, as pandas
    does, have forgotten of what kind is one that holds nothing."""
    table = shard.read_row_group(number, use_threads=False)
    if FOOTER_KEY.encode() in (shard.schema_arrow.metadata or {}):
        return table
    for field in ARROW_SCHEMA:
        at, nothing = table.schema.get_field_index(field.name), pa.nulls(len(table), field.type)
        if field.name in REQUIRED:
            continue
        if at < 0:
            table = table.append_column(field, nothing)
        elif pa.types.is_null(table.schema.types[at]):
            table = table.set_column(at, field, nothing)
    return table


def _leaves(schema: pa.Schema) -> list[str]:
    """The columns as Parquet names them."""
    names = []
    for one in schema:
        name, kind = one.name, one.type
        while pa.types.is_list(kind):
            name, kind = f"{name}.list.element", kind.value_type
        names.append(name)
    return names


def _encodings(footer: Mapping[str, Any]) -> dict[str, Any]:
    """What `ParquetWriter` is told of columns and pages, by the largest codebook."""
    size = int(footer.get("codec", {}).get("codebook_size", 0))
    dictionary = ["source_uri", "source_sha256", "text", "language", "speaker", "meta"]
    # Scales hardly repeat: their bytes sorted by significance compress better than a dictionary of
    # them.
    sorted_bytes = {"scales.list.element": "BYTE_STREAM_SPLIT"}
    page = _PAGE
    if size <= _BY_DICTIONARY:
        dictionary.insert(0, _CODES)
    else:
        sorted_bytes[_CODES] = "BYTE_STREAM_SPLIT"
        # Where the upper byte has fewer than 8 bits, it has to fill blocks of its own.
        page = _PAGE if size > 1 << 15 else 4 * 2 * _ZSTD_BLOCK
    return {
        "use_dictionary": dictionary,
        "column_encoding": sorted_bytes,
        "dictionary_pagesize_limit": 1 << 20,
        "data_page_size": page,
    }


@contextmanager
def _damage(name: str) -> Iterator[None]:
    """Whatever reading raises becomes an error that names the shard."""
    try:
        yield
    except (pa.ArrowException, OSError, KeyError, ValueError, ShapeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ShardError(f"{name}: damaged: {reason}") from error


def _groups(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Row groups of `ROW_GROUP` rows, of more where these are short, of fewer where they are very
    long."""
    group: list[Row] = []
    held = 0
    for row in rows:
        most = ROW_GROUP if held >= _WORTH_A_DICTIONARY else _MOST_ROWS
        if group and (len(group) >= most or held + row.codes.codes.size > _GROUP_CODES):
            yield group
            group, held = [], 0
        group.append(row)
        held += row.codes.codes.size
    if group:
        yield group


def _to_table(rows: list[Row], schema: pa.Schema) -> pa.Table:
    facts = [row.facts() for row in rows]
    columns: dict[str, Any] = {
        name: pa.array([fact.get(name) for fact in facts], schema.field(name).type)
        for name in schema.names
        if name not in _ARRAYS
    }
    columns["codes"] = _codes_column([row.codes.codes for row in rows])
    columns["chunk_frames"] = _list_column([row.codes.chunk_frames for row in rows], pa.uint16())
    columns["scales"] = _list_column([row.codes.scales for row in rows], pa.float32())
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _codes_column(matrices: list[NDArray[np.uint16]]) -> pa.Array:
    """list<list<uint16>> straight from the arrays, without Python lists of numbers."""
    levels = np.concatenate([np.full(codes.shape[0], codes.shape[1]) for codes in matrices])
    flat = [codes.reshape(-1) for codes in matrices]
    values = pa.array(flat[0] if len(flat) == 1 else np.concatenate(flat))  # a long row: no copy
    inner = pa.ListArray.from_arrays(_offsets(levels), values)
    return pa.ListArray.from_arrays(_offsets([codes.shape[0] for codes in matrices]), inner)


def _list_column(arrays: list[NDArray[Any] | None], kind: pa.DataType) -> pa.Array:
    present = [array for array in arrays if array is not None]
    values = pa.array(np.concatenate(present) if present else np.zeros(0), kind)
    offsets = _offsets([0 if array is None else len(array) for array in arrays])
    missing = pa.array([array is None for array in arrays])
    return pa.ListArray.from_arrays(
        offsets, values, mask=missing if len(present) < len(arrays) else None
    )


def _offsets(lengths: Any) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())


def _from_table(table: pa.Table) -> Iterator[Row]:
    names = [
        one.name
        for one in table.schema
        if one.name not in _ARRAYS
        and (one.name in ARROW_SCHEMA.names or pa.types.is_floating(one.type))
    ]
    facts = table.select(names).to_pylist()
    codes, scales, chunks = (
        table[name].combine_chunks() for name in ("codes", "scales", "chunk_frames")
    )
    for i, fact in enumerate(facts):
        levels = codes[i].values
        n_q = len(levels)
        matrix = (
            levels.flatten().to_numpy(zero_copy_only=False).reshape(n_q, -1)
            if n_q
            else np.zeros((0, 0), np.uint16)
        )
        scale = scales[i].values
        yield row_of(
            fact,
            np.ascontiguousarray(matrix, np.uint16),
            None if scale is None else scale.to_numpy(zero_copy_only=False),
            chunks[i].values.to_numpy(zero_copy_only=False),
        )
