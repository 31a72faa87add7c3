"""Rows that lack some of their codes, as `expand --allow-damaged` leaves them: how they say so, and
where that is in time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tokenizer.chunking import Layout
from tokenizer.types import Codes

CODES_LOST = "codes_lost"
"""flag of such a row"""
LOST_CODES = "lost_codes"
"""key of `meta`: a list of objects, whose `frames` are the first of the row and the one behind the
last of those that are lacking"""

Span = tuple[int, int]
"""the first and the one behind the last"""


def lost_frames(meta: str | None) -> tuple[Span, ...]:
    """Frames that a row's `meta` says are lacking. A source may have a field of that name with
    other things in it."""
    if meta is None or f'"{LOST_CODES}"' not in meta:
        return ()
    try:
        found = json.loads(meta)
    except ValueError:  # another program's
        return ()
    said = found.get(LOST_CODES) if isinstance(found, dict) else None
    said = said if isinstance(said, list) else []
    marks = (one.get("frames") for one in said if isinstance(one, dict))
    return tuple(span for one in marks for span in _spans(one))


def samples_of(frames: Span, codes: Codes, layout: Layout) -> Span:
    """Where in time frames of a row lie, by the beginning of their chunks; nothing of what is
    behind the row's end."""
    ends: list[int] = np.cumsum(codes.chunk_frames, dtype=np.int64).tolist()
    starts = [0, *ends[:-1]]

    def sample(frame: int) -> int:
        if layout.chunk_stride is None:
            return frame * layout.frame_length
        chunk = int(np.searchsorted(ends, frame, side="right"))
        return chunk * layout.chunk_stride + (frame - starts[chunk]) * layout.frame_length

    first, behind = frames
    end = min(sample(behind - 1) + layout.frame_length, codes.num_samples)
    return min(sample(first), end), end


def silenced(
    blocks: Iterator[NDArray[np.float32]], codes: Codes, frames: Sequence[Span], layout: Layout
) -> Iterator[NDArray[np.float32]]:
    """Decoded blocks `[channels, n]` with silence where codes are lacking: other codes stand there,
    and what they sound like is nothing that was recorded. Where chunks have scales theirs is that
    of silence."""
    wanted = [] if codes.scales is not None else [one for one in frames if one[1] <= codes.frames]
    spans = [samples_of(one, codes, layout) for one in wanted]
    at = 0
    for block in blocks:
        end = at + block.shape[1]
        for first, behind in spans:
            if first < end and at < behind:
                block = block.copy()
                block[:, max(first - at, 0) : behind - at] = 0
        yield block
        at = end


def _spans(found: object) -> Iterator[Span]:
    """That, where it is one."""
    match found:
        case [int(first), int(behind)] if 0 <= first < behind:
            yield first, behind
