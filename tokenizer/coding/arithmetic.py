"""Codes to the fewest bits that a `Predictor` allows, and back.

A range coder (G. Martin, 1979) with a state of 56 bits and a carry that goes back into the bytes
already written: with widths of 20 bits, what is lost to rounding is below 2**-28 of a code. A
stream ends with the fewest bytes that tell its last interval, one on average; its length is kept
outside of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tokenizer.coding.base import TOTAL, Predictor
from tokenizer.errors import ShapeError

_BYTES_A_CODE = 3
"""at most: 20 bits, and what rounding takes"""
_STATE_BYTES = 7
"""of what the kernels have coded and not yet given away"""


def encode(predictor: Predictor, segments: Sequence[NDArray[np.uint16]]) -> list[bytes]:
    """Code segments, each alone.

    Args:
        predictor: what both sides have.
        segments: each uint16 `[n_q, frames]`, `1 <= frames <= predictor.segment_frames`.

    Raises:
        ShapeError: a segment of another shape, or a code outside of its codebook.
    """
    for segment in segments:
        _require(segment, predictor)
    if not segments:
        return []
    return [to_bytes(one) for one in predictor.intervals(segments)]


def to_bytes(intervals: NDArray[np.uint32]) -> bytes:
    """The stream of one segment, from what `Predictor.intervals` has of it.

    Raises:
        ShapeError: an interval that is empty or not within a distribution.
    """
    # The kernels need numba, which takes a third of a second to load, and most who open a folder
    # of codes neither code nor decode.
    from tokenizer.coding.kernels import write

    lows, widths = intervals
    ends = lows.astype(np.uint64) + widths
    if widths.size and (int(widths.min()) < 1 or int(ends.max()) > TOTAL):
        raise ShapeError("a predictor gave an interval that is empty, or beyond its distribution")
    out = np.zeros(_BYTES_A_CODE * widths.size + 16, np.uint8)
    count = write(lows, widths, out)
    return out[:count].tobytes()


def decode(
    predictor: Predictor, streams: Sequence[bytes | memoryview], frames: Sequence[int]
) -> list[NDArray[np.uint16] | None]:
    """The inverse of `encode`, of many segments side by side.

    Args:
        predictor: the one that they were coded with.
        streams: each what `encode` gave.
        frames: of each segment.

    Returns:
        For each uint16 `[n_q, frames]`; None for a stream that cannot be of this many frames: it
        harms no other. A damaged one may give other codes: that takes a checksum of the codes.
    """
    if len(streams) != len(frames):
        raise ShapeError(f"{len(streams)} streams, lengths of {len(frames)}")
    if any(not 1 <= count <= predictor.segment_frames for count in frames):
        raise ShapeError(f"a segment must have 1 to {predictor.segment_frames} frames")
    if not streams:
        return []
    return _Streams(streams, frames).decoded(predictor)


class _Streams:
    """Where each of some streams is."""

    def __init__(self, streams: Sequence[bytes | memoryview], frames: Sequence[int]) -> None:
        from tokenizer.coding import kernels  # as in `to_bytes`

        self._kernels = kernels
        lengths = np.array([len(one) for one in streams], np.int64)
        self._data = np.frombuffer(b"".join(streams) or b"\0", np.uint8)
        self._ends = np.cumsum(lengths)
        self._places = self._ends - lengths
        self._codes = np.zeros(len(streams), np.uint64)
        self._spans = np.full(len(streams), 1 << 56, np.uint64)
        self._broken = np.zeros(len(streams), bool)
        self._frames = np.array(frames, np.int64)
        kernels.start(self._data, self._places, self._ends, self._codes)

    def decoded(self, predictor: Predictor) -> list[NDArray[np.uint16] | None]:
        """All of them."""
        levels = len(predictor.sizes)
        out = np.zeros((len(self._frames), levels, int(self._frames.max())), np.uint16)
        if predictor.fixed is None:
            self._step_by_step(predictor, out)
        else:
            self._in_one_go(predictor.fixed, out)
        # An encoder reads nothing twice: the decoder is ahead of its end by at most its state.
        ahead = self._places - self._ends
        wrong = self._broken | (ahead < 0) | (ahead > _STATE_BYTES)
        return [
            None if bad else np.ascontiguousarray(one[:, :count])
            for one, count, bad in zip(out, self._frames, wrong, strict=True)
        ]

    def _in_one_go(self, fixed: Sequence[NDArray[np.uint32]], out: NDArray[np.uint16]) -> None:
        sums = [np.concatenate([[0], np.cumsum(widths, dtype=np.uint64)]) for widths in fixed]
        self._kernels.read_fixed(
            np.concatenate(sums).astype(np.uint32),
            np.cumsum([0, *map(len, sums)]),
            self._frames,
            self._data,
            self._places,
            self._ends,
            self._codes,
            self._spans,
            self._broken,
            out,
        )

    def _step_by_step(self, predictor: Predictor, out: NDArray[np.uint16]) -> None:
        decoding, levels = predictor.begin(self._frames.tolist()), out.shape[1]
        for frame in range(out.shape[2]):
            running = np.flatnonzero(self._frames > frame)
            for level in range(levels):
                codes = np.empty(len(running), np.uint16)
                self._read(decoding.widths(level), running, codes)
                decoding.push(level, codes)
                out[running, level, frame] = codes

    def _read(
        self, widths: NDArray[np.uint32], running: NDArray[np.int64], codes: NDArray[np.uint16]
    ) -> None:
        self._kernels.read(
            widths,
            running,
            self._data,
            self._places,
            self._ends,
            self._codes,
            self._spans,
            self._broken,
            codes,
        )


def _require(segment: NDArray[np.uint16], predictor: Predictor) -> None:
    """
    Raises:
        ShapeError: no segment of this predictor's codes.
    """
    sizes = predictor.sizes
    if segment.dtype != np.uint16 or segment.ndim != 2 or len(segment) != len(sizes):
        raise ShapeError(
            f"a segment must be uint16 [{len(sizes)}, frames], not "
            f"{segment.dtype}{list(segment.shape)}"
        )
    if not 1 <= segment.shape[1] <= predictor.segment_frames:
        raise ShapeError(
            f"a segment has {segment.shape[1]} frames: 1 to {predictor.segment_frames} can be coded"
        )
    for level, (codes, size) in enumerate(zip(segment, sizes, strict=True)):
        if int(codes.max()) >= size:
            raise ShapeError(
                f"code {int(codes.max())} of level {level} is outside its codebook of {size:,}"
            )
