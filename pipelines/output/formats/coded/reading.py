"""Rows of a block, decoded; a damaged one in its place."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.output.config import spec_from_dict
from pipelines.output.formats.base import Lost, Partial
from pipelines.output.formats.coded.file import Block, CodedFile, jobs_of
from pipelines.output.formats.coded.filling import filled, marked, runs, said
from pipelines.output.formats.coded.jobs import AT_ONCE
from pipelines.output.formats.coded.pool import Pool
from pipelines.output.formats.coded.sections import Damage
from pipelines.output.formats.coded.tables import Segments
from pipelines.output.formats.schema import Row, row_of
from pipelines.system.words import many
from tokenizer.chunking import Layout

HINT = "; `codecshards expand --allow-damaged` keeps the rest"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a block's streams are."""

    streams: int
    """the byte at which they begin"""
    file: str
    layout: Layout | None
    """of the codec, to say where in time a lack is; None where rows that have one are lost"""


class Decoded:
    """Rows of a block: begun when it is made, there when they are asked for."""

    def __init__(
        self,
        file: CodedFile,
        block: Block,
        pool: Pool,
        only: int | None = None,
        partial: str | None = None,
    ) -> None:
        """
        Args:
            file: that it is of.
            block: which one.
            pool: where streams are decoded.
            only: one row of it; None is all.
            partial: keep rows that lack some of their codes, and write this name of the file into
                their `meta`; None is not to.
        """
        self._file, self._block, self._partial = file, block, partial
        self._error: Damage | None = None
        self._rows = range(block.rows) if only is None else range(only, only + 1)
        self._futures: list[Future[Any]] = []
        try:
            self._facts = file.table(block).to_pylist()
            self._segments, self._section = file.segments(block)
            self._begin(file, pool)
        except Damage as error:
            self._error = error

    def __iter__(self) -> Iterator[Row | Lost | Partial]:
        if self._error is not None:
            yield from _all_lost(self._file, self._block, self._error)
            return
        starts = self._segments.row_starts()
        place = Place(self._section.start, self._partial or "", self._layout())
        decoded: list[NDArray[np.uint16] | None] = []
        waiting = iter(self._futures)
        for row in self._rows:
            count = int(starts[row + 1] - starts[row])
            while len(decoded) < count:
                decoded += next(waiting).result()
            found, decoded = decoded[:count], decoded[count:]
            yield _row(self._facts[row], self._segments, row, found, place)

    def _layout(self) -> Layout | None:
        if self._partial is None:
            return None
        return spec_from_dict(self._file.footer["codec"]).layout

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
    place: Place,
) -> Row | Lost | Partial:
    id = str(facts["id"])
    bad = [at for at, codes in enumerate(found) if codes is None]
    lost = runs(segments, row, place.streams, bad)
    message = f"recording {id}: {said(lost, segments, row)}" if lost else ""
    if lost and (len(bad) == len(found) or place.layout is None):
        return Lost(id, message + HINT * (len(bad) < len(found)))
    codes, scales = filled(found, segments, row, lost)
    try:
        whole = row_of(facts, codes, scales, segments.row_frames(row))
        if not lost or place.layout is None:
            return whole
        return Partial(marked(whole, lost, place.layout, place.file), message)
    except (KeyError, ValueError, TypeError) as error:
        return Lost(id, f"recording {id}: {error}")


def _all_lost(file: CodedFile, block: Block, error: Damage) -> Iterator[Lost]:
    """Every row of a block one of whose tables is damaged; with their ids, where these are not."""
    ids: list[str | None] = [None] * block.rows
    with suppress(Damage):
        ids = file.table(block)["id"].to_pylist()
    for id in ids:
        yield Lost(id, of_block(block, error))


def of_block(block: Block, error: Damage) -> str:
    """What is wrong with every row of a block."""
    return f"block {block.number}, with {many(block.rows, 'recording')}: {error}"
