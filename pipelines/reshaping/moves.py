"""Which rows of the parents become rows of the new folder, and in which order: a table on disk, so
that memory does not go with the corpus."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.output.plans.rows import GROUP, RowWriter, to_recordings
from tokenizer.errors import UsageError
from tokenizer.types import Recording

MEMORY = "300MB"
"""that sorting may take; beyond it DuckDB goes on on disk"""
_SCHEMA = pa.schema(
    [
        ("seq", pa.int64()),
        ("rank", pa.int16()),
        ("key", pa.uint64()),
        ("parent", pa.int32()),
        ("number", pa.int32()),
        ("row", pa.int32()),
        ("size", pa.float64()),
        ("failure", pa.string()),
    ]
)


class NothingLeftError(UsageError):
    """No row would be in the new folder."""


def order_key(seed: int, group: str) -> int:
    """Where a group comes in an order by chance: the same for the same seed, on every machine."""
    digest = hashlib.sha256(f"{seed}\0{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big")


@dataclass(frozen=True, slots=True)
class Move:
    """One recording on its way into the new folder."""

    rank: int
    """of its split: splits come in order"""
    key: int
    """64 bits: order within a split; of equal keys the parents' order counts"""
    parent: int
    number: int
    """of the parent's shard"""
    row: int | None
    """in that shard's file; None of a failure"""
    size: float
    """what it adds to a shard, in seconds or bytes"""
    failure: Mapping[str, str] | None
    recording: Recording
    """as the new plan has it"""


class Moves(AbstractContextManager["Moves"]):
    """Takes moves in the parents' order, and gives them in the new one."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="codecshards-moves-")
        self._plan, self._table = (str(Path(self._folder.name, n)) for n in ("plan", "table"))
        self._recordings = RowWriter(self._plan)
        self._writer = pq.ParquetWriter(self._table, _SCHEMA, compression="zstd")
        self._held: list[dict[str, Any]] = []
        self._count = 0
        self.rows = 0
        """moves that are no failures"""

    def add(self, move: Move) -> None:
        """Take one."""
        failure = None if move.failure is None else json.dumps(dict(move.failure))
        self._recordings.add(0, move.recording)
        self._held.append(
            {
                "seq": self._count,
                "rank": move.rank,
                "key": move.key,
                "parent": move.parent,
                "number": move.number,
                "row": move.row,
                "size": move.size,
                "failure": failure,
            }
        )
        self._count += 1
        self.rows += move.row is not None
        if len(self._held) == GROUP:
            self._write()

    def end(self) -> None:
        """All are there."""
        self._write()
        self._writer.close()
        self._recordings.close({})

    def twice(self, most: int) -> list[str]:
        """Some ids that several moves have."""
        found = self._ask(
            f"select id from {_parquet(self._plan)} group by id having count(*) > 1 order by id "
            f"limit {most}"
        )
        return [id for (id,) in found.fetchall()]

    def ordered(self) -> Iterator[Move]:
        """Every one, in the new order."""
        joined = (
            f"select m.*, p.* exclude (file_row_number) from {_parquet(self._table)} m join "
            f"read_parquet('{_quoted(self._plan)}', file_row_number=true) p "
            "on m.seq = p.file_row_number order by m.rank, m.key, m.seq"
        )
        there = str(Path(self._folder.name, "ordered"))
        self._ask(f"copy ({joined}) to '{_quoted(there)}' (format parquet)")
        for batch in pq.ParquetFile(there).iter_batches(GROUP, use_threads=False):
            table = pa.Table.from_batches([batch])
            recordings = to_recordings(table.drop_columns(_SCHEMA.names))
            rows = table.select(_SCHEMA.names[1:]).to_pylist()
            for facts, recording in zip(rows, recordings, strict=True):
                said = facts.pop("failure")
                failure = None if said is None else json.loads(said)
                yield Move(**facts, failure=failure, recording=recording)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()
        self._folder.cleanup()

    def _write(self) -> None:
        if self._held:
            self._writer.write_table(pa.Table.from_pylist(self._held, _SCHEMA))
            self._held = []

    def _ask(self, question: str) -> Any:
        database = duckdb.connect(
            config={"threads": 1, "memory_limit": MEMORY, "temp_directory": self._folder.name}
        )
        return database.execute(question)


def _parquet(path: str) -> str:
    return f"read_parquet('{_quoted(path)}')"


def _quoted(path: str) -> str:
    return path.replace("'", "''")


class Origins:
    """Where each recording of a new plan comes from, by its place there."""

    def __init__(self, folder: str) -> None:
        self._path = str(Path(folder, "origins"))
        # It outlives this method, and is closed as all are there.
        self._writer: Any = pa.ipc.new_file(self._path, _ORIGINS)
        self._held: list[dict[str, Any]] = []
        self._table: Any = None

    def add(self, move: Move) -> None:
        """The next one of the plan."""
        failure = None if move.failure is None else json.dumps(dict(move.failure))
        found = {"parent": move.parent, "number": move.number, "row": move.row}
        self._held.append(found | {"failure": failure})
        if len(self._held) == GROUP:
            self._write()

    def end(self) -> None:
        """All are there."""
        self._write()
        self._writer.close()
        # Mapped: it is read from the file as it is asked for.
        self._table = pa.ipc.open_file(pa.memory_map(self._path)).read_all()

    def of(self, places: range) -> NDArray[np.int64]:
        """Of a stretch of the plan: int64 `[recordings, 3]`: parent, number of the parent's shard,
        row in that; the row of a failure is -1."""
        part = self._table.slice(places.start, len(places))
        columns = [part[name].fill_null(-1).to_numpy() for name in ("parent", "number", "row")]
        return np.stack(columns, axis=1).astype(np.int64)

    def failures(self, places: range) -> list[dict[str, str]]:
        """The failures of a stretch of the plan, in order."""
        found = self._table["failure"].slice(places.start, len(places)).drop_null()
        return [json.loads(one) for one in found.to_pylist()]

    def _write(self) -> None:
        if self._held:
            self._writer.write_batch(pa.RecordBatch.from_pylist(self._held, _ORIGINS))
            self._held = []


_ORIGINS = pa.schema(
    [
        ("parent", pa.int32()),
        ("number", pa.int32()),
        ("row", pa.int32()),
        ("failure", pa.string()),
    ]
)
