"""Archives: shards whose codes went through an arithmetic coder. For storage and transfer; all
commands read them as they read any shard, only slower."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.output.formats.base import Lost, Partial, ShardFormat
from pipelines.output.formats.coded.file import OFFSET, PLACE, CodedFile
from pipelines.output.formats.coded.jobs import (
    AT_ONCE,
    Job,
    Stream,
    fits,
    most_frames,
    stretches,
)
from pipelines.output.formats.coded.pool import Pool
from pipelines.output.formats.coded.reading import Decoded, of_block
from pipelines.output.formats.coded.sections import (
    CODER,
    DATA,
    HEAD,
    INDEX,
    ROWS,
    SEGMENTS,
    TAIL,
    VERSION,
    Damage,
    SectionWriter,
    damage,
    packed,
)
from pipelines.output.formats.coded.tables import Segments, columns_of, pack_rows
from pipelines.output.formats.reading.base import ShardReader
from pipelines.output.formats.schema import Row
from tokenizer.coding.base import Predictor
from tokenizer.coding.static import StaticPredictor
from tokenizer.errors import ShardError

BLOCK_SEGMENTS = 2048
"""after which a block ends: what lies together in memory, and what a damaged table costs"""
BLOCK_CODES = 1 << 22
BLOCK_TEXT = 1 << 24
"""characters"""
IN_FLIGHT = 2
"""blocks that are worked at, and the one that is gathered"""


class CodedFormat(ShardFormat):
    """Blocks of rows, their codes as streams of an arithmetic coder."""

    suffix = ".csa"
    has_settings = True
    for_the_hub = False

    def __init__(
        self,
        predictor: Predictor | None = None,
        name: str | None = None,
        pool: Pool | None = None,
        partial: bool = False,
    ) -> None:
        """
        Args:
            predictor: that codes are written with; None is how often each code occurs among the
                first rows of a shard.
            name: of a predictor that ships with codecshards, and so need not be in every file.
            pool: where it is done; None is here.
            partial: have `salvage` keep rows that lack some of their codes, and go around damage to
                what can be done without.
        """
        self.predictor, self.name, self.pool = predictor, name, pool or Pool()
        self.partial = partial

    @property
    def reader(self) -> type[ShardReader]:
        from pipelines.output.formats.coded.reader import CodedReader

        return CodedReader

    def usage(self, split: str) -> str:
        return (
            "# An archive: `datasets.load_dataset` cannot read it. In a copy of this folder:\n"
            f"{super().usage(split)}\n\n"
            "# As Parquet: `codecshards expand . NEW`, where there is no manifest/ after "
            "`codecshards adopt .`"
        )

    def like(self, file: IO[bytes], name: str) -> CodedFormat:
        with damage(name):
            found = CodedFile(file)
            return CodedFormat(found.predictor, found.coder_name, self.pool)

    def write(self, path: str, rows: Iterable[Row], footer: Mapping[str, Any]) -> None:
        with Path(path).open("wb") as file:
            _Writing(self, file, footer).all(rows)

    def read(self, file: IO[bytes], name: str) -> Iterator[Row]:
        for found in self._rows(file, name, partial=False):
            if not isinstance(found, Row):
                raise ShardError(f"{name}: damaged: {found.message}")
            yield found

    def salvage(self, file: IO[bytes], name: str) -> Iterator[Row | Lost | Partial]:
        return self._rows(file, name, self.partial)

    def _rows(self, file: IO[bytes], name: str, partial: bool) -> Iterator[Row | Lost | Partial]:
        said = name.rsplit("/", 1)[-1] if partial else None
        with damage(name):
            found = CodedFile(file, repair=partial)
            ahead = deque[Decoded]()
            if found.blocks:
                found.require_coder()
            for block in found.blocks:
                ahead.append(Decoded(found, block, self.pool, partial=said))
                if len(ahead) > (1 if self.pool.workers else 0):
                    yield from ahead.popleft()
            for one in ahead:
                yield from one

    def read_one(self, file: IO[bytes], name: str, id: str) -> Row | None:
        with damage(name):
            found = CodedFile(file)
            for block in found.blocks:
                ids = found.table(block)["id"].to_pylist()
                if id in ids:
                    row = next(iter(Decoded(found, block, self.pool, ids.index(id))))
                    if not isinstance(row, Row):
                        raise ShardError(f"{name}: damaged: {row.message}")
                    return row
        return None

    def columns(self, file: IO[bytes], name: str) -> pa.Schema:
        with damage(name):
            found = CodedFile(file, repair=self.partial)
            return columns_of(list(found.footer.get("quality", ())))

    def read_columns(
        self, file: IO[bytes], name: str, columns: Sequence[str]
    ) -> Iterator[Mapping[str, Any]]:
        with damage(name):
            found = CodedFile(file)
            for block in found.blocks:
                yield from found.table(block).select(list(columns)).to_pylist()

    def salvage_columns(
        self, file: IO[bytes], name: str, columns: Sequence[str]
    ) -> Iterator[Mapping[str, Any] | Lost]:
        with damage(name):
            found = CodedFile(file, repair=self.partial)
            for block in found.blocks:
                try:
                    rows = found.table(block).select(list(columns)).to_pylist()
                except Damage as error:
                    rows = [Lost(None, of_block(block, error))] * block.rows
                yield from rows

    def flaws(self, file: IO[bytes], name: str) -> list[str]:
        with damage(name):
            found = CodedFile(file, repair=True)
            for block in found.blocks:
                with suppress(Damage):
                    found.segments(block)
            return found.flaws

    def footer(self, file: IO[bytes], name: str) -> dict[str, Any]:
        with damage(name):
            return CodedFile(file).footer


@dataclass(slots=True)
class _Pending:
    """A block whose streams are being made."""

    rows: list[Row]
    plain: list[bool]
    streams: list[Future[list[Stream]]]


class _Writing:
    """One file."""

    def __init__(self, form: CodedFormat, file: IO[bytes], footer: Mapping[str, Any]) -> None:
        self._form, self._footer = form, footer
        self._measures = list(footer.get("quality", ()))
        self._out = SectionWriter(file)
        self._places: list[bytes] = []
        self._waiting: deque[_Pending] = deque()
        self._predictor: Predictor | None = None

    def all(self, rows: Iterable[Row]) -> None:
        """Write every row, and the end."""
        for block in _blocks(rows, self._most):
            if self._predictor is None:
                self._begin(block)
            self._waiting.append(self._submit(block))
            while len(self._waiting) > IN_FLIGHT:
                self._put(self._waiting.popleft())
        if self._predictor is None:
            self._begin([])
        while self._waiting:
            self._put(self._waiting.popleft())
        index = self._out.add(INDEX, self._places)
        self._out.add(TAIL, [OFFSET.pack(index)])

    @property
    def _most(self) -> int:
        """Frames of a segment."""
        known = self._predictor or self._form.predictor
        return most_frames(known or StaticPredictor.uniform([1]))

    def _begin(self, rows: Sequence[Row]) -> None:
        """The header, and the coder where it does not ship with codecshards."""
        predictor = self._form.predictor or learned(rows, self._footer)
        wanted = self._footer.get("codec", {}).get("n_q")
        if isinstance(wanted, int) and wanted < len(predictor.sizes):  # the first levels alone
            predictor = predictor.at(wanted)
        self._predictor = predictor
        inside = self._form.name is None
        head = {
            "version": VERSION,
            "footer": dict(self._footer),
            "coder": {
                "kind": predictor.kind,
                "name": self._form.name,
                "sha256": predictor.fingerprint,
                "levels": len(predictor.sizes),
                "inside": inside,
            },
            "segment_frames": self._most,
        }
        self._out.add(HEAD, [json.dumps(head, sort_keys=True).encode()])
        if inside:
            self._out.add(CODER, [packed(predictor.dumps())])

    def _submit(self, rows: list[Row]) -> _Pending:
        predictor = self._predictor or StaticPredictor.uniform([1])
        plain = [not fits(row.codes.codes, predictor) for row in rows]
        futures: list[Future[list[Stream]]] = []
        batch: list[NDArray[np.uint16]] = []
        kind: int | None = None

        def send() -> None:
            if batch:
                futures.append(self._form.pool.submit(predictor, Job(kind, segments=list(batch))))
                batch.clear()

        for row, is_plain in zip(rows, plain, strict=True):
            codes = row.codes
            wanted = codes.n_q if is_plain else None
            for segment in stretches(codes.codes, codes.chunk_frames, self._most):
                if wanted != kind or len(batch) == AT_ONCE:
                    send()
                kind = wanted
                batch.append(segment)
        send()
        return _Pending(rows, plain, futures)

    def _put(self, block: _Pending) -> None:
        streams = [one for future in block.streams for one in future.result()]
        rows = block.rows
        scales = [row.codes.scales for row in rows if row.codes.scales is not None]
        segments = Segments(
            self._most,
            np.array([row.codes.n_q for row in rows], np.int64),
            np.array(block.plain, bool),
            np.array([row.codes.scales is not None for row in rows], bool),
            np.array([len(row.codes.chunk_frames) for row in rows], np.int64),
            np.concatenate([row.codes.chunk_frames for row in rows]).astype(np.int64),
            np.concatenate(scales) if scales else np.zeros(0, np.float32),
            np.array([len(stream) for stream, _ in streams], np.int64),
            np.array([crc for _, crc in streams], np.uint32),
        )
        at = self._out.add(ROWS, [pack_rows(rows, self._measures)])
        segments_at = self._out.add(SEGMENTS, [segments.pack()])
        data_at = self._out.add(DATA, [stream for stream, _ in streams])
        self._places.append(PLACE.pack(at, segments_at, data_at, len(rows)))


def learned(rows: Sequence[Row], footer: Mapping[str, Any]) -> StaticPredictor:
    """How often each code occurs among some rows of the codec that a footer tells of."""
    codec = footer.get("codec", {})
    n_q = int(codec.get("n_q") or (rows[0].codes.n_q if rows else 1))
    sizes = list(codec.get("codebook_sizes") or [int(codec.get("codebook_size") or 65_536)] * n_q)
    counts = np.zeros((n_q, max(sizes)), np.int64)
    uniform = StaticPredictor.uniform(sizes)
    for row in rows:
        if fits(row.codes.codes, uniform):
            for level, codes in enumerate(row.codes.codes):
                counts[level] += np.bincount(codes, minlength=counts.shape[1])
    return StaticPredictor.of_counts(counts, sizes)


def _blocks(rows: Iterable[Row], most: int) -> Iterator[list[Row]]:
    """Rows that lie together; a single one may be larger."""
    block: list[Row] = []
    segments = codes = text = 0
    for row in rows:
        more = int((-(-row.codes.chunk_frames.astype(np.int64) // most)).sum())
        full = segments + more > BLOCK_SEGMENTS or codes + row.codes.codes.size > BLOCK_CODES
        if block and (full or text > BLOCK_TEXT):
            yield block
            block, segments, codes, text = [], 0, 0, 0
        block.append(row)
        segments, codes = segments + more, codes + row.codes.codes.size
        text += len(row.text or "") + len(repr(row.meta)) if row.meta else len(row.text or "")
    if block:
        yield block
