"""Parquet from bytes and open files, read in the calling thread alone.

Arrow fetches ahead on threads of its own unless it is told not to. One of them that still holds a
Python file as the interpreter ends aborts the process (SIGABRT, "terminate called without an active
exception") after all its work is done, in 3% of processes. So whatever is a Python object is opened
here, and read with `use_threads=False`.
"""

from __future__ import annotations

from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq


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
