"""Rows of a block, decoded; a damaged one in its place."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.output.formats.base import Lost
from pipelines.output.formats.coded.file import Block, CodedFile, jobs_of
from pipelines.output.formats.coded.jobs import AT_ONCE
from pipelines.output.formats.coded.pool import Pool
from pipelines.output.formats.coded.sections import Damage, Section
from pipelines.output.formats.coded.tables import Segments
from pipelines.output.formats.schema import Row, row_of


class Decoded:
    """Rows of a block: begun when it is made, there when they are asked for."""

    def __init__(self, file: CodedFile, block: Block, pool: Pool, only: int | None = None) -> None:
        """
        Args:
            file: that it is of.
            block: which one.
            pool: where streams are decoded.
            only: one row of it; None is all.
        """
        self._file, self._block = file, block
        self._error: Damage | None = None
        self._rows = range(block.rows) if only is None else range(only, only + 1)
        self._futures: list[Future[Any]] = []
        try:
            self._facts = file.table(block).to_pylist()
            self._segments, self._section = file.segments(block)
            self._begin(file, pool)
        except Damage as error:
            self._error = error

    def __iter__(self) -> Iterator[Row | Lost]:
        if self._error is not None:
            yield from _all_lost(self._file, self._block, self._error)
            return
        starts = self._segments.row_starts()
        decoded: list[NDArray[np.uint16] | None] = []
        waiting = iter(self._futures)
        for row in self._rows:
            count = int(starts[row + 1] - starts[row])
            while len(decoded) < count:
                decoded += next(waiting).result()
            found, decoded = decoded[:count], decoded[count:]
            yield _row(self._facts[row], self._segments, row, found, self._section)

    def _begin(self, file: CodedFile, pool: Pool) -> None:
        starts = self._segments.row_starts()
        first, last = int(starts[self._rows.start]), int(starts[self._rows.stop])
        ends = np.concatenate([[0], np.cumsum(self._segments.sizes)])
        content = file.content(self._section)[int(ends[first]) : int(ends[last])]
        predictor = file.predictor
        for job in jobs_of(self._segments, content, first, last, AT_ONCE):
            self._futures.append(pool.submit(predictor, job))


def _row(
    facts: dict[str, Any],
    segments: Segments,
    row: int,
    found: list[NDArray[np.uint16] | None],
    section: Section,
) -> Row | Lost:
    id = str(facts["id"])
    bad = [at for at, codes in enumerate(found) if codes is None]
    if bad:
        first = int(segments.row_starts()[row]) + bad[0]
        at = section.start + int(segments.sizes[:first].sum())
        chunks = sorted({segments.chunk_of(row, one) for one in bad})
        named = ", ".join(map(str, chunks[:5])) + (" …" if len(chunks) > 5 else "")
        return Lost(
            id,
            f"recording {id}: chunk{'s' * (len(chunks) > 1)} {named} of "
            f"{int(segments.chunks[row])} (from 0) cannot be read, at byte {at}",
        )
    codes = (
        np.concatenate([one for one in found if one is not None], axis=1)
        if found
        else np.zeros((int(segments.n_q[row]), 0), np.uint16)
    )
    try:
        return row_of(facts, codes, segments.row_scales(row), segments.row_frames(row))
    except (KeyError, ValueError, TypeError) as error:
        return Lost(id, f"recording {id}: {error}")


def _all_lost(file: CodedFile, block: Block, error: Damage) -> Iterator[Lost]:
    """Every row of a block one of whose tables is damaged; with their ids, where these are not."""
    ids: list[str | None] = [None] * block.rows
    with suppress(Damage):
        ids = file.table(block)["id"].to_pylist()
    for id in ids:
        yield Lost(id, f"block {block.number}, with {block.rows} recordings: {error}")
