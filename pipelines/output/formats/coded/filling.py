"""What stands in the place of codes that cannot be read, and what a row's `meta` says of it.

All that follows keeps its place in time. Code 0 of every codebook is what nobody takes for sound
(an audit finds it: no sound gives one code throughout), and where chunks have scales, the scale of
silence is what makes a decoder give silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.output.formats.coded.tables import Segments
from pipelines.output.formats.lost import CODES_LOST, LOST_CODES, samples_of
from pipelines.output.formats.schema import Row
from tokenizer.chunking import Layout
from tokenizer.types import Codes

FLAGS = ("damaged", CODES_LOST)
"""the first is that of recordings in which audio is missing, too (`tokenize --allow-damaged`)"""
GAPS = "gaps"
"""key in `meta`, with seconds, as of such a recording"""
SILENT_SCALE = 1e-8
"""what EnCodec's chunks of silence have"""
_MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class Run:
    """Segments of a row that cannot be read, one after the other. All numbers are from 0; each pair
    is the first and the one behind the last."""

    chunks: tuple[int, int]
    frames: tuple[int, int]
    """of the row"""
    bytes: tuple[int, int]
    """of the file"""


def runs(segments: Segments, row: int, start: int, bad: Sequence[int]) -> list[Run]:
    """Where codes are missing.

    Args:
        segments: of the block.
        row: of the block.
        start: where the block's streams begin in the file.
        bad: segments of the row, from 0, in order.
    """
    first, last = segments.row_starts()[row : row + 2].tolist()
    frames = np.concatenate([[0], np.cumsum(segments.frames()[first:last])])
    ends = start + np.concatenate([[0], np.cumsum(segments.sizes[:last])])[first:]
    found: list[Run] = []
    for begin, end in _ranges(bad):
        chunks = segments.chunk_of(row, begin), segments.chunk_of(row, end - 1) + 1
        spans = ((int(of[begin]), int(of[end])) for of in (frames, ends))
        found.append(Run(chunks, *spans))
    return found


def said(lost: Sequence[Run], segments: Segments, row: int) -> str:
    """The same in words, for people."""
    chunks = int(segments.chunks[row])
    starts = segments.row_starts()
    named = _listed("chunk", [one.chunks for one in lost]) + f" of {chunks} (from 0)"
    if int(starts[row + 1] - starts[row]) > chunks:
        named += f", {_listed('frame', [one.frames for one in lost])},"
    places = _listed("byte", [(one.bytes[0], one.bytes[0] + 1) for one in lost])
    return f"{named} cannot be read, at {places}"


def filled(
    found: Sequence[NDArray[np.uint16] | None], segments: Segments, row: int, lost: Sequence[Run]
) -> tuple[NDArray[np.uint16], NDArray[np.float32] | None]:
    """The codes of a row, uint16 `[n_q, frames]`, and its scales, with others where they are
    missing."""
    first = int(segments.row_starts()[row])
    frames = segments.frames()[first : first + len(found)].tolist()
    n_q = int(segments.n_q[row])
    parts = [
        np.zeros((n_q, count), np.uint16) if one is None else one
        for one, count in zip(found, frames, strict=True)
    ]
    scales = segments.row_scales(row)
    if scales is not None:
        ends = np.concatenate([[0], np.cumsum(segments.row_frames(row), dtype=np.int64)])
        for one in lost:
            whole = (ends[:-1] >= one.frames[0]) & (ends[1:] <= one.frames[1])
            scales[whole] = SILENT_SCALE
    return np.concatenate(parts, axis=1), scales


def marked(row: Row, lost: Sequence[Run], layout: Layout, file: str) -> Row:
    """A row with what is missing written into its `meta`.

    Args:
        row: with other codes in their place.
        lost: where.
        layout: of its codec.
        file: that they were in.
    """
    new: Mapping[str, Sequence[Any]] = {
        "flags": FLAGS,
        GAPS: [_seconds(row.codes, one, layout) for one in lost],
        LOST_CODES: [
            {
                "chunks": list(one.chunks),
                "frames": list(one.frames),
                "file": file,
                "bytes": list(one.bytes),
            }
            for one in lost
        ],
    }
    meta = dict(row.meta)
    for name, more in new.items():
        before = meta.get(name)
        kept = before if isinstance(before, list) else [] if before is None else [before]
        meta[name] = [*kept, *(one for one in more if one not in kept)]
    return replace(row, meta=meta)


def _seconds(codes: Codes, run: Run, layout: Layout) -> list[float]:
    """Where in time a run lies, from the beginning of the row."""
    return [round(at / codes.sample_rate, 4) for at in samples_of(run.frames, codes, layout)]


def _ranges(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Numbers in order as pairs of the first and the one behind the last of those that follow each
    other."""
    begin = None
    for at, number in enumerate(numbers):
        begin = number if begin is None else begin
        if at + 1 == len(numbers) or numbers[at + 1] != number + 1:
            yield begin, number + 1
            begin = None


def _listed(what: str, pairs: Sequence[tuple[int, int]]) -> str:
    """`chunks 2, 5 to 9`; of very many the first ones."""
    shown = [
        str(first) if behind == first + 1 else f"{first} to {behind - 1}"
        for first, behind in pairs[:_MOST_NAMED]
    ]
    more = f" and {len(pairs) - _MOST_NAMED} more" if len(pairs) > _MOST_NAMED else ""
    several = len(pairs) > 1 or pairs[0][1] > pairs[0][0] + 1
    return f"{what}{'s' * several} {', '.join(shown)}{more}"
