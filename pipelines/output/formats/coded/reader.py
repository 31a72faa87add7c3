"""Archives at random: small columns whole, codes a few chunks at a time."""

from __future__ import annotations

from bisect import bisect_right
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.output.blobs import Blob
from pipelines.output.config import spec_from_dict
from pipelines.output.formats.coded.file import CodedFile, jobs_of
from pipelines.output.formats.coded.sections import Damage, damage
from pipelines.output.formats.reading.base import Part, ShardIndex, ShardReader, make_index
from pipelines.output.formats.schema import measures_in
from tokenizer.audio.quality.base import as_float32
from tokenizer.codecs.base import CodecSpec
from tokenizer.errors import ShardError

TOGETHER = 32
"""segments of a row that are decoded together: one alone takes nearly as long"""
_REMEDY = (
    "`codecshards verify` names recordings and chunks, `codecshards expand --allow-damaged` keeps "
    "what can be read"
)


class _Codes(Part):
    """Some segments of a row: uint16 `[n_q, frames]`."""

    def __init__(self, codes: NDArray[np.uint16]) -> None:
        self.codes, self.nbytes = codes, codes.nbytes


class CodedReader(ShardReader):
    """Streams of one file."""

    def _read_index(self) -> ShardIndex:
        with self._open() as file:
            found = CodedFile(file)
            tables = [found.table(block) for block in found.blocks]
            self._blocks = [found.segments(block) for block in found.blocks]
            self._predictor = found.predictor
        schema = tables[0].schema if tables else pa.schema([])
        self.measures = measures_in(one.name for one in schema if pa.types.is_floating(one.type))
        wanted = ("id", "num_samples", *self.fields, *self.measures)
        self._columns = {
            name: _joined([table[name] for table in tables]) for name in wanted if tables
        }
        self._first_rows = [0, *np.cumsum([len(table) for table in tables]).tolist()]
        self._segments = [one for one, _ in self._blocks]
        for one in self._segments:
            if (one.n_q != self.spec.n_q).any():
                raise Damage(f"rows with other codebooks than the codec's {self.spec.n_q}")
        nothing = np.zeros(0, np.int64)
        return make_index(
            self._columns.get("id", pa.array([], pa.string())),
            np.asarray(self._columns.get("num_samples", nothing), np.int64),
            np.concatenate([nothing, *(one.chunks for one in self._segments)]),
            np.concatenate([nothing, *(one.chunk_frames for one in self._segments)]),
        )

    def _open(self) -> IO[bytes]:
        """Its hash says that something is damaged; what, takes as long as decoding all of it."""
        try:
            return self.blob.open()
        except ShardError as error:
            raise ShardError(f"{error}; {_REMEDY}") from error

    def codes(self, row: int, start: int, stop: int, n_q: int) -> NDArray[np.uint16]:
        block = bisect_right(self._first_rows, row) - 1
        own = row - self._first_rows[block]
        segments = self._segments[block]
        first, last = segments.row_starts()[own : own + 2].tolist()
        ends = np.concatenate([[0], np.cumsum(segments.frames()[first:last])])
        with damage(self.blob.name):
            parts = []
            for group in range(0, last - first, TOGETHER):
                until = min(group + TOGETHER, last - first)
                begin, end = int(ends[group]), int(ends[until])
                if end <= start or begin >= stop:
                    continue
                found = self._group(block, own, first + group, first + until)
                parts.append(found[:n_q, max(start - begin, 0) : stop - begin])
            codes = np.concatenate(parts, axis=1) if parts else np.zeros((n_q, 0), np.uint16)
            self.require_codes(codes)
            return codes

    def _group(self, block: int, row: int, first: int, last: int) -> NDArray[np.uint16]:
        key = (self.blob.name, block, first)
        found = self.cache.get(key, lambda: self._decoded(block, row, first, last))
        if not isinstance(found, _Codes):
            raise TypeError("not the codes of segments")
        return found.codes

    def _decoded(self, block: int, row: int, first: int, last: int) -> _Codes:
        segments, section = self._blocks[block]
        ends = np.concatenate([[0], np.cumsum(segments.sizes)])
        begin, end = int(ends[first]), int(ends[last])
        content = self.blob.read(section.start + begin, end - begin)
        found: list[NDArray[np.uint16] | None] = []
        for job in jobs_of(segments, content, first, last, last - first):
            found += job.run(self._predictor)  # type: ignore[arg-type]
        whole = [codes for codes in found if codes is not None]
        if len(whole) < len(found):
            bad = next(at for at, codes in enumerate(found) if codes is None)
            chunk = segments.chunk_of(row, first + bad - int(segments.row_starts()[row]))
            id = self._columns["id"][self._first_rows[block] + row].as_py()
            at = section.start + int(ends[first + bad])
            raise Damage(f"recording {id}: chunk {chunk} (from 0) cannot be read, at byte {at}")
        return _Codes(np.concatenate(whole, axis=1))

    def scales(self, row: int) -> NDArray[np.float32] | None:
        if not self.spec.has_scales:
            return None
        block = bisect_right(self._first_rows, row) - 1
        return self._segments[block].row_scales(row - self._first_rows[block])

    def field(self, row: int, name: str) -> str | None:
        value: str | None = self._columns[name][row].as_py()
        return value

    def quality(self, row: int) -> dict[str, float | None]:
        return {name: as_float32(self._columns[name][row].as_py()) for name in self.measures}

    @classmethod
    def count(cls, blob: Blob) -> tuple[int, CodecSpec]:
        with damage(blob.name), blob.open() as file:
            found = CodedFile(file)
            return sum(block.rows for block in found.blocks), spec_from_dict(found.footer["codec"])


def _joined(columns: list[Any]) -> Any:
    """Columns of several blocks as one array."""
    return pa.concat_arrays([chunk for column in columns for chunk in column.chunks])
