"""`arrow`: shards as Arrow IPC files, which any Arrow library maps into memory without a copy."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.output.blobs import Blob
from pipelines.output.config import spec_from_dict
from pipelines.output.formats import ShardFormat
from pipelines.output.formats.reading.base import ShardIndex, ShardReader, damage, make_index
from pipelines.output.formats.schema import FOOTER_KEY, Row, arrow_schema, measures_in, row_of
from tokenizer.audio.quality.base import as_float32
from tokenizer.codecs.base import CodecSpec

_ROWS = 64
"""in a record batch"""


class ArrowFormat(ShardFormat):
    """One file, record batches of 64 rows, the footer in the schema's metadata."""

    suffix = ".arrow"

    @property
    def reader(self) -> type[ShardReader]:
        return ArrowReader

    def write(self, path: str, rows: Iterable[Row], footer: Mapping[str, Any]) -> None:
        columns = arrow_schema(footer.get("quality", ()))
        schema = columns.with_metadata({FOOTER_KEY: json.dumps(footer, sort_keys=True)})
        with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            batch: list[dict[str, Any]] = []
            for row in rows:
                batch.append(_columns(row))
                if len(batch) == _ROWS:
                    writer.write(pa.RecordBatch.from_pylist(batch, schema))
                    batch = []
            if batch:
                writer.write(pa.RecordBatch.from_pylist(batch, schema))

    def read(self, file: IO[bytes], name: str) -> Iterator[Row]:
        with damage(name):
            for row in _table(file).to_pylist():
                yield _row(row)

    def read_one(self, file: IO[bytes], name: str, id: str) -> Row | None:
        return next((row for row in self.read(file, name) if row.id == id), None)

    def footer(self, file: IO[bytes], name: str) -> dict[str, Any]:
        with damage(name):
            return _footer(_table(file))


class ArrowReader(ShardReader):
    """A whole file in memory, as it is mapped."""

    def _read_index(self) -> ShardIndex:
        with self.blob.open() as file:
            self._rows = _table(file)
        self.measures = measures_in(self._rows.schema.names)
        frames = self._rows["chunk_frames"].combine_chunks()
        lengths = self._rows["num_samples"].to_numpy().astype(np.int64)
        counts = frames.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
        ids = self._rows["id"].combine_chunks()
        return make_index(ids, lengths, counts, frames.flatten().to_numpy().astype(np.int64))

    def codes(self, row: int, start: int, stop: int, n_q: int) -> NDArray[np.uint16]:
        levels = self._rows["codes"][row].values
        found = [np.asarray(levels[level].values[start:stop], np.uint16) for level in range(n_q)]
        codes = np.stack(found)
        with damage(self.blob.name):
            self.require_codes(codes)
        return codes

    def scales(self, row: int) -> NDArray[np.float32] | None:
        values = self._rows["scales"][row].as_py()
        return None if values is None else np.array(values, np.float32)

    def field(self, row: int, name: str) -> str | None:
        value: str | None = self._rows[name][row].as_py()
        return value

    def quality(self, row: int) -> dict[str, float | None]:
        return {name: as_float32(self._rows[name][row].as_py()) for name in self.measures}

    @classmethod
    def count(cls, blob: Blob) -> tuple[int, CodecSpec]:
        with damage(blob.name), blob.open() as file:
            table = _table(file)
            return table.num_rows, spec_from_dict(_footer(table)["codec"])


def _table(file: IO[bytes]) -> pa.Table:
    return pa.ipc.open_file(pa.BufferReader(file.read())).read_all()


def _footer(table: pa.Table) -> dict[str, Any]:
    footer: dict[str, Any] = json.loads(table.schema.metadata[FOOTER_KEY.encode()])
    return footer


def _columns(row: Row) -> dict[str, Any]:
    codes = row.codes
    return {
        **row.facts(),
        "codes": list(codes.codes),
        "scales": None if codes.scales is None else codes.scales,
        "chunk_frames": codes.chunk_frames,
    }


def _row(row: Mapping[str, Any]) -> Row:
    scales = None if row["scales"] is None else np.array(row["scales"], np.float32)
    codes = np.array(row["codes"], np.uint16)
    return row_of(row, codes, scales, np.array(row["chunk_frames"], np.uint16))
