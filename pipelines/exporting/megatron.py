"""Megatron-LM's indexed data set: `SPLIT.bin` with all ids, `SPLIT.idx` with where documents are.

Layout as of `megatron/core/datasets/indexed_dataset.py`, little-endian:

    9 bytes    MMIDIDX\\0\\0
    uint64     version, 1
    uint8      type of the ids: 4 int32, 8 uint16
    uint64     number of sequences
    uint64     number of document boundaries
    int32      [sequences]   tokens of each
    int64      [sequences]   byte of `.bin` at which each begins
    int64      [boundaries]  sequence at which each document begins, and the number of all

A recording is one document of one sequence. `SPLIT.documents.parquet` has a row for each.
"""

from __future__ import annotations

import struct
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.exporting.writers import SIDE, SplitWriter, side_values
from pipelines.loader.in_order import CodedRow

_HEADER = b"MMIDIDX\x00\x00"
_TYPES = {"int32": 4, "uint16": 8}
_SMALL = 65_500
"""vocabularies below this are uint16, as Megatron's `DType.optimal_dtype` has it"""
_AT_ONCE = 1 << 20
_ROWS_AT_ONCE = 4_096


class MegatronWriter(SplitWriter):
    """`.bin`, `.idx` and the table of one split."""

    def __init__(self, folder: Path, split: str, vocabulary: int) -> None:
        super().__init__(folder, split, vocabulary)
        self._bin = (folder / f"{split}.bin").open("wb")
        self._lengths = array("i")
        schema = pa.schema([("document", pa.int64()), *SIDE, ("tokens", pa.int64())])
        self._table = pq.ParquetWriter(folder / f"{split}.documents.parquet", schema)
        self._rows: list[dict[str, Any]] = []

    @staticmethod
    def dtype(vocabulary: int) -> str:
        return "uint16" if vocabulary < _SMALL else "int32"

    def add(self, row: CodedRow, ids: NDArray[np.int64]) -> None:
        self._rows.append(
            {"document": self.written.documents, **side_values(row), "tokens": len(ids)}
        )
        self.written.count(row, ids)
        self._bin.write(ids.astype(np.dtype(self.written.dtype).newbyteorder("<")).tobytes())
        self._lengths.append(len(ids))
        if len(self._rows) == _ROWS_AT_ONCE:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._table.close()
        self._bin.close()
        count = len(self._lengths)
        lengths = np.frombuffer(self._lengths, np.int32) if count else np.zeros(0, np.int32)
        with (self.folder / f"{self.split}.idx").open("wb") as index:
            index.write(_HEADER)
            index.write(struct.pack("<QBQQ", 1, _TYPES[self.written.dtype], count, count + 1))
            index.write(lengths.astype("<i4").tobytes())
            at, width = 0, np.dtype(self.written.dtype).itemsize
            for first in range(0, count, _AT_ONCE):
                ends = at + np.cumsum(lengths[first : first + _AT_ONCE], dtype=np.int64)
                begins = np.concatenate([[at], ends[:-1]])
                index.write((begins * width).astype("<i8").tobytes())
                at = int(ends[-1])
            for first in range(0, count + 1, _AT_ONCE):
                index.write(
                    np.arange(first, min(count + 1, first + _AT_ONCE), dtype="<i8").tobytes()
                )

    def _flush(self) -> None:
        if self._rows:
            self._table.write_table(pa.Table.from_pylist(self._rows, self._table.schema))
            self._rows = []
