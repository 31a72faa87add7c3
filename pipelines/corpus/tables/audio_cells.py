"""Lengths of recordings that are cells of a data set: by their headers where the bytes are mapped
or few, by their sizes where they would have to be fetched or unpacked for that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.corpus.sources.base import estimate_seconds, seconds_of_bytes
from pipelines.corpus.tables.columns import SECONDS_COLUMNS, pick
from pipelines.system.arrow import GroupSizes
from pipelines.system.places import is_remote

_MOST_BYTES = 2 << 30
"""of Parquet files whose audio is read for its lengths: seconds of work"""
_MOST_OF_GROUP = 256 << 20
"""of a row group, which is in memory at a time"""


def are_small(uris: Sequence[str]) -> bool:
    """Whether the audio in Parquet files may be read for its lengths."""
    try:
        return (
            not any(map(is_remote, uris))
            and sum(Path(uri).stat().st_size for uri in uris) <= _MOST_BYTES
        )
    except OSError:
        return False


def lengths_of_group(
    file: pq.ParquetFile, group: int, column: str, small: bool, sizes: GroupSizes
) -> Iterator[float | None]:
    """Of each row of a row group. Where the audio is not `small`, all are as long as their bytes
    are on average. Nothing is read where another column tells lengths."""
    if pick(file.schema_arrow.names, SECONDS_COLUMNS) is not None:
        return
    rows, columns = sizes
    size = sum(unpacked for path, unpacked in columns if path in (column, f"{column}.bytes"))
    if not small or size > _MOST_OF_GROUP:
        mean = estimate_seconds("", round(size / max(1, rows)))
        yield from (mean for _ in range(rows))
        return
    try:
        table = file.read_row_group(group, columns=[column], use_threads=False)
    except (pa.ArrowException, OSError):
        return  # whoever reads the rows says what is wrong
    for chunk in table[column].chunks:
        yield from lengths_of_cells(chunk)


def lengths_of_cells(cells: Any) -> Iterator[float | None]:
    """Of the bytes in each cell of an array, where they lie; None where there are none, or do not
    say."""
    if pa.types.is_struct(cells.type):
        if "bytes" not in {child.name for child in cells.type}:
            yield from (None for _ in range(len(cells)))
            return
        cells = pc.struct_field(cells, "bytes")
    if not (pa.types.is_binary(cells.type) or pa.types.is_large_binary(cells.type)):
        yield from (None for _ in range(len(cells)))
        return
    for cell in cells:
        yield seconds_of_bytes(cell.as_buffer()) if cell.is_valid else None


def holds_bytes(kind: pa.DataType) -> bool:
    """Whether a column has bytes in it anywhere, which are no metadata: pictures, other
    recordings."""
    if pa.types.is_struct(kind):
        return any(holds_bytes(child.type) for child in kind)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return holds_bytes(kind.value_type)
    return is_bytes(kind) or bool(pa.types.is_fixed_size_binary(kind))


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a column's cells are bytes."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    )
