"""What a block says of its rows and of their segments, as bytes and back."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.output.formats.coded.sections import Damage, packed, unpacked
from pipelines.output.formats.schema import ARROW_SCHEMA, Row, quality_fields

_ARRAYS = ("codes", "scales", "chunk_frames")
MOST_LEVELS = 256
"""codebooks of a row"""
_COUNTS = struct.Struct("<IIII")
_SIZE = struct.Struct("<I")


def columns_of(measures: Sequence[str]) -> pa.Schema:
    """The columns with one value a row."""
    own = [one for one in ARROW_SCHEMA if one.name not in _ARRAYS]
    return pa.schema([*own, *quality_fields(measures)])


def pack_rows(rows: Sequence[Row], measures: Sequence[str]) -> bytes:
    """All columns but the arrays: an Arrow IPC stream in one piece of zstd."""
    schema = columns_of(measures)
    table = pa.Table.from_pylist([row.facts() for row in rows], schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(table.combine_chunks())
    return packed(sink.getvalue().to_pybytes())


def unpack_rows(content: bytes) -> pa.Table:
    """The inverse of `pack_rows`.

    Raises:
        Damage: not what it gives.
    """
    try:
        with pa.ipc.open_stream(pa.py_buffer(unpacked(content))) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise Damage(f"columns that cannot be read: {error}") from error
    missing = [name for name in columns_of(()).names if name not in table.column_names]
    if missing:
        raise Damage(f"there is no column {missing[0]}")
    return table


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """The chunks of a block's rows, and the streams that hold their codes: in the order of rows, of
    a row's chunks, of a chunk's stretches of at most `most` frames."""

    most: int
    n_q: NDArray[np.int64]
    """`[rows]`"""
    plain: NDArray[np.bool_]
    """`[rows]`: codes that the file's coder does not have: 16 bits each"""
    scaled: NDArray[np.bool_]
    """`[rows]`: whether there are scales"""
    chunks: NDArray[np.int64]
    """`[rows]`: how many"""
    chunk_frames: NDArray[np.int64]
    """`[chunks of all rows]`"""
    scales: NDArray[np.float32]
    """`[chunks of the rows that have scales]`"""
    sizes: NDArray[np.int64]
    """`[segments]`: bytes of each stream"""
    crcs: NDArray[np.uint32]
    """`[segments]`: CRC-32 of the stream, gone on with over the codes, uint16 `[n_q, frames]`"""

    def pack(self) -> bytes:
        """As bytes: numbers by significance, since their upper bytes are nearly always the same."""
        self._check()
        counts = _COUNTS.pack(
            len(self.n_q), len(self.chunk_frames), len(self.scales), len(self.sizes)
        )
        parts = [
            _planes(self.n_q, "<u2"),
            self.plain.astype(np.uint8).tobytes(),
            self.scaled.astype(np.uint8).tobytes(),
            _planes(self.chunks, "<u4"),
            _planes(self.chunk_frames, "<u2"),
            _planes(self.scales, "<f4"),
            _planes(self.sizes, "<u4"),
        ]
        small = packed(counts + b"".join(parts))
        return _SIZE.pack(len(small)) + small + self.crcs.astype("<u4").tobytes()

    @classmethod
    def unpack(cls, content: bytes, most: int) -> Segments:
        """The inverse of `pack`.

        Raises:
            Damage: not what it gives, or parts that contradict each other.
        """
        if len(content) < _SIZE.size:
            raise Damage("segments that are cut off")
        (size,) = _SIZE.unpack_from(content)
        small = unpacked(memoryview(content)[_SIZE.size : _SIZE.size + size])
        if len(small) < _COUNTS.size:
            raise Damage("segments that are cut off")
        rows, chunks, scales, segments = _COUNTS.unpack_from(small)
        wanted = _COUNTS.size + 8 * rows + 2 * chunks + 4 * scales + 4 * segments
        crcs = content[_SIZE.size + size :]
        if len(small) != wanted or len(crcs) != 4 * segments:
            raise Damage("segments of another size than they say")
        cursor = _Cursor(small, _COUNTS.size)
        found = cls(
            most,
            cursor.take(rows, "<u2").astype(np.int64),
            cursor.take(rows, "<u1").astype(bool),
            cursor.take(rows, "<u1").astype(bool),
            cursor.take(rows, "<u4").astype(np.int64),
            cursor.take(chunks, "<u2").astype(np.int64),
            cursor.take(scales, "<f4").astype(np.float32),
            cursor.take(segments, "<u4").astype(np.int64),
            np.frombuffer(crcs, "<u4").astype(np.uint32),
        )
        found._check()
        return found

    def _check(self) -> None:
        """
        Raises:
            Damage: parts that contradict each other.
        """
        if len(self.n_q) and not 1 <= self.n_q.min() <= self.n_q.max() <= MOST_LEVELS:
            raise Damage(f"rows of {int(self.n_q.min())} to {int(self.n_q.max())} codebooks")
        if int(self.chunks.sum()) != len(self.chunk_frames):
            raise Damage("chunks that do not add up")
        if int(self.chunks[self.scaled].sum()) != len(self.scales):
            raise Damage("scales that are not one a chunk")
        if int(self.stretches.sum()) != len(self.sizes):
            raise Damage("streams that are not those of the chunks")

    @property
    def stretches(self) -> NDArray[np.int64]:
        """`[chunks]`: segments of each."""
        return -(-self.chunk_frames // self.most)

    def frames(self) -> NDArray[np.int64]:
        """`[segments]`: of each."""
        counts = self.stretches
        found = np.full(int(counts.sum()), self.most, np.int64)
        ends = np.cumsum(counts)[counts > 0]
        rest = self.chunk_frames[counts > 0] - (counts[counts > 0] - 1) * self.most
        found[ends - 1] = rest
        return found

    def row_starts(self) -> NDArray[np.int64]:
        """`[rows + 1]`: the first segment of each row."""
        chunks = np.concatenate([[0], np.cumsum(self.chunks)])
        segments = np.concatenate([[0], np.cumsum(self.stretches)])
        found: NDArray[np.int64] = segments[chunks].astype(np.int64)
        return found

    def chunk_of(self, row: int, segment: int) -> int:
        """The chunk of a row that one of its segments (both from 0) is in."""
        first = int(self.chunks[:row].sum())
        ends = np.cumsum(self.stretches[first : first + int(self.chunks[row])])
        return int(np.searchsorted(ends, segment, side="right"))

    def row_frames(self, row: int) -> NDArray[np.uint16]:
        """`Codes.chunk_frames` of a row."""
        first = int(self.chunks[:row].sum())
        return self.chunk_frames[first : first + int(self.chunks[row])].astype(np.uint16)

    def row_scales(self, row: int) -> NDArray[np.float32] | None:
        """`Codes.scales` of a row."""
        if not self.scaled[row]:
            return None
        first = int(self.chunks[:row][self.scaled[:row]].sum())
        return self.scales[first : first + int(self.chunks[row])].copy()


class _Cursor:
    """Takes arrays from bytes, one after the other."""

    def __init__(self, content: bytes, at: int) -> None:
        self._content, self._at = content, at

    def take(self, count: int, kind: str) -> NDArray[Any]:
        """The next `count` numbers."""
        width = np.dtype(kind).itemsize
        planes = np.frombuffer(self._content, np.uint8, count * width, self._at)
        self._at += count * width
        return np.ascontiguousarray(planes.reshape(width, count).T).view(kind).reshape(count)


def _planes(values: NDArray[Any], kind: str) -> bytes:
    """The least significant bytes of all, then the next ones."""
    width = np.dtype(kind).itemsize
    return np.ascontiguousarray(values, kind).view(np.uint8).reshape(-1, width).T.tobytes()
