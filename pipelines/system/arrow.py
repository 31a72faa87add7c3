"""Parquet from bytes and open files, read in the calling thread alone.

Arrow fetches ahead on threads of its own unless it is told not to. One of them that still holds a
Python file as the interpreter ends aborts the process (SIGABRT, "terminate called without an active
exception") after all its work is done, in 3% of processes. So whatever is a Python object is opened
here, and read with `use_threads=False`.

And what Arrow says of the columns of a row group it says without a guard: a footer that contradicts
itself there ends the process, too ("terminate called after throwing an instance of
'parquet::ParquetException'"). Reading such a column is an error like others. So while a corpus is
listed the footer is looked at here: it is Thrift's compact protocol (its specification is
thrift-compact-protocol.md), as page headers are.
"""

from __future__ import annotations

import struct
import sys
from importlib.abc import MetaPathFinder
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

Value = bool | int | float | bytes | list["Value"] | dict[int, "Value"]

_STRUCT, _LIST, _SET, _MAP, _BINARY, _DOUBLE, _BYTE, _TRUE, _FALSE = 12, 9, 10, 11, 8, 7, 3, 1, 2
_DEEPEST = 16
GroupSizes = tuple[int, list[tuple[str, int]]]
"""rows of a row group; path of each of its columns, and its bytes when they are unpacked"""
_GROUPS, _ROWS, _COLUMNS, _META, _PATH, _UNPACKED = 4, 3, 1, 3, 3, 6
"""fields of Parquet's `FileMetaData`, `RowGroup`, `ColumnChunk` and `ColumnMetaData`"""
_MAGIC = 4


def do_without_pandas() -> None:
    """Keep Arrow from loading pandas, in a process that is this project's own.

    It looks for it the first time that it makes an array of anything, to know a Series when it sees
    one: that takes a third of a second and 40 MB, as much as all else that most commands load. It
    looks once, and is shown none here; whoever wants pandas itself imports it as ever.
    """
    if "pandas" not in sys.modules:
        sys.meta_path.insert(0, _NO_PANDAS)
        try:
            pa.array([0])
        finally:
            sys.meta_path.remove(_NO_PANDAS)


class _NoPandas(MetaPathFinder):
    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("not looked for", name=fullname)


_NO_PANDAS = _NoPandas()


def open_parquet(source: bytes | IO[bytes], *, checksums: bool = False) -> pq.ParquetFile:
    """Open a Parquet file; read it with `use_threads=False`.

    Args:
        source: its content, or a seekable binary file, which stays the caller's to close.
        checksums: verify those of pages, where there are any.

    Raises:
        pyarrow.ArrowException, OSError: not Parquet, or damaged.
    """
    file = pa.BufferReader(source) if isinstance(source, bytes) else source
    return pq.ParquetFile(file, pre_buffer=False, page_checksum_verification=checksums)


def sizes_of_groups(file: pq.ParquetFile) -> list[GroupSizes]:
    """Of all row groups, whatever the footer holds.

    Raises:
        ValueError: it does not say.
    """
    sink = pa.BufferOutputStream()
    file.metadata.write_metadata_file(sink)
    try:
        footer: Any = read_struct(Cursor(sink.getvalue().to_pybytes(), _MAGIC))
        return [_sizes(group) for group in footer[_GROUPS]]
    except (LookupError, TypeError) as error:
        raise ValueError("its footer does not say what its row groups hold") from error


def sizes_of_group(file: pq.ParquetFile, number: int) -> GroupSizes:
    """Of one row group; only where the process may end of it."""
    meta = file.metadata.row_group(number)
    columns = [meta.column(at) for at in range(meta.num_columns)]
    return meta.num_rows, [(one.path_in_schema, one.total_uncompressed_size) for one in columns]


def _sizes(group: Any) -> GroupSizes:
    chunks = [chunk[_META] for chunk in group[_COLUMNS]]
    return group[_ROWS], [(b".".join(one[_PATH]).decode(), one[_UNPACKED]) for one in chunks]


class Cursor:
    """Reads forward over bytes; `IndexError` where they end too soon, `ValueError` where they make
    no sense."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    def byte(self) -> int:
        value = self.data[self.at]
        self.at += 1
        return value

    def varint(self) -> int:
        """Unsigned, least significant seven bits first."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits in Parquet's metadata")

    def zigzag(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def take(self, length: int) -> bytes:
        if self.at + length > len(self.data):
            raise IndexError("Parquet's metadata ends too soon")
        self.at += length
        return self.data[self.at - length : self.at]


def read_struct(cursor: Cursor, depth: int = 0) -> dict[int, Value]:
    """One struct, fields by number."""
    if depth > _DEEPEST:
        raise ValueError("Parquet's metadata of structs without end")
    fields: dict[int, Value] = {}
    number = 0
    while head := cursor.byte():
        delta, kind = head >> 4, head & 0x0F
        number = number + delta if delta else cursor.zigzag()
        fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else _value(cursor, kind, depth)
    return fields


def _value(cursor: Cursor, kind: int, depth: int) -> Value:
    if kind in (4, 5, 6):
        return cursor.zigzag()
    if kind in (_BYTE, _TRUE, _FALSE):  # in a list, a boolean takes a byte
        return cursor.byte()
    if kind == _BINARY:
        return cursor.take(cursor.varint())
    if kind == _DOUBLE:
        return float(struct.unpack("<d", cursor.take(8))[0])
    if kind in (_LIST, _SET):
        head = cursor.byte()
        count = head >> 4 if head >> 4 < 15 else cursor.varint()
        return [_value(cursor, head & 0x0F, depth) for _ in range(count)]
    if kind == _STRUCT:
        return read_struct(cursor, depth + 1)
    raise ValueError(f"Parquet's metadata with a value of type {kind}")
