"""Integer arithmetic over samples, chunks and frames; overlap-add. No torch, no floats where
integers do.

    samples   0        47,520    48,000     95,040   95,520
    chunk 0   [────────────────────)
    chunk 1             [──────────────────────────────)
    chunk 2                                  [────────── …

A recording of `n` samples has a chunk at every multiple of the stride below `n`; a chunk is full,
or it ends with the recording. With a tail of up to 480 samples after a stride, two chunks end with
the recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokenizer.errors import ShapeError

MAX_RUN = 65_535
"""frames that an entry of `Codes.chunk_frames` (uint16) can hold"""


def frames_of(samples: int, frame_length: int) -> int:
    """Frames that a chunk of `samples` has: the last one may be incomplete."""
    return -(-samples // frame_length)


def chunk_spans(
    num_samples: int, chunk_length: int | None, chunk_stride: int | None
) -> list[tuple[int, int]]:
    """Half-open `(start, stop)` of every chunk of a recording; one span for codecs without windows
    (None, None)."""
    if num_samples < 1:
        raise ShapeError(f"a recording has at least one sample, not {num_samples}")
    if chunk_length is None or chunk_stride is None:
        return [(0, num_samples)]
    return [
        (start, min(start + chunk_length, num_samples))
        for start in range(0, num_samples, chunk_stride)
    ]


def runs_of(frames: int) -> list[int]:
    """How the frames of one signal without chunks are stored: in runs as long as can be, and a last
    one."""
    full, rest = divmod(frames, MAX_RUN)
    return [MAX_RUN] * full + [rest] * (rest > 0)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the frames of a codec lie in time: all that it takes to cut and to join codes."""

    frame_length: int
    """samples per frame"""
    chunk_length: int | None = None
    """samples per chunk; None without chunks"""
    chunk_stride: int | None = None
    """samples from one chunk's start to the next one's"""

    @property
    def stride(self) -> int:
        """Samples from one unit to the next: of chunks, or else of frames."""
        return self.chunk_stride or self.frame_length

    @property
    def chunked(self) -> bool:
        return self.chunk_stride is not None

    @property
    def full(self) -> int:
        """Frames of a whole chunk."""
        return frames_of(self.chunk_length or self.frame_length, self.frame_length)

    def chunk_frames(self, num_samples: int) -> list[int]:
        """Frames of each chunk of a recording; without chunks, of the runs that it is stored in."""
        spans = chunk_spans(num_samples, self.chunk_length, self.chunk_stride)
        frames = [frames_of(stop - start, self.frame_length) for start, stop in spans]
        return frames if self.chunked else runs_of(frames[0])

    def fits(self, chunk_frames: list[int], num_samples: int) -> bool:
        """Whether a recording of so many samples has these chunks, or a cut out of one, which ends
        with a whole chunk where the next one would begin."""
        frames = self.chunk_frames(num_samples)
        if chunk_frames == frames:
            return True
        cut = self.chunked and num_samples % self.stride == 0
        return cut and chunk_frames == [*frames[:-1], self.full]


class ChunkCutter:
    """Cuts a stream of blocks into chunks, holding no more than a chunk and a block.

    Without windows (`chunk_length` None) everything is held and comes back from `finish`.
    """

    def __init__(self, channels: int, chunk_length: int | None, chunk_stride: int | None) -> None:
        self._channels = channels
        self._length = chunk_length
        self._stride = chunk_stride
        self._blocks: list[NDArray[np.float32]] = []
        self._held = 0
        self.num_samples = 0
        """samples pushed so far"""

    def push(self, block: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Take in a block, float32 `[channels, n]`; returns the full chunks it completes, each
        contiguous."""
        require_block(block, self._channels)
        self._blocks.append(block)
        self._held += block.shape[1]
        self.num_samples += block.shape[1]
        if self._length is None or self._stride is None or self._held < self._length:
            return []
        held = np.concatenate(self._blocks, axis=1)
        count = (held.shape[1] - self._length) // self._stride + 1
        chunks = [
            np.ascontiguousarray(held[:, i * self._stride : i * self._stride + self._length])
            for i in range(count)
        ]
        rest = held[:, count * self._stride :].copy()
        self._blocks, self._held = [rest], rest.shape[1]
        return chunks

    def finish(self) -> list[NDArray[np.float32]]:
        """The chunks that end with the recording: none, one or two. The cutter is empty
        afterwards."""
        if not self._held:
            return []
        held = np.concatenate(self._blocks, axis=1)
        self._blocks, self._held = [], 0
        return [
            np.ascontiguousarray(held[:, start:stop])
            for start, stop in chunk_spans(held.shape[1], self._length, self._stride)
        ]


class PieceCutter:
    """Cuts a stream of blocks into pieces of one length that follow each other without overlap,
    holding no more than a piece and a block. The last one is never empty: it is kept back until it
    is known to be the last."""

    def __init__(self, channels: int, piece_length: int) -> None:
        self._channels, self._length = channels, piece_length
        self._blocks: list[NDArray[np.float32]] = []
        self._held = 0
        self.num_samples = 0
        """samples pushed so far"""

    def push(self, block: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Take in a block, float32 `[channels, n]`; returns the pieces that are whole and not the
        last, each contiguous."""
        require_block(block, self._channels)
        if not block.shape[1]:
            return []
        self._blocks.append(block)
        self._held += block.shape[1]
        self.num_samples += block.shape[1]
        if self._held <= self._length:
            return []
        held = np.concatenate(self._blocks, axis=1)
        count = (self._held - 1) // self._length
        pieces = [held[:, i * self._length : (i + 1) * self._length].copy() for i in range(count)]
        rest = held[:, count * self._length :].copy()
        self._blocks, self._held = [rest], rest.shape[1]
        return pieces

    def finish(self) -> list[NDArray[np.float32]]:
        """The last piece; none, if nothing was pushed. The cutter is empty afterwards."""
        if not self._held:
            return []
        last = np.concatenate(self._blocks, axis=1)
        self._blocks, self._held = [], 0
        return [last]


def require_block(block: NDArray[np.float32], channels: int) -> None:
    """
    Raises:
        ShapeError: not float32 `[channels, n]`.
    """
    if block.ndim != 2 or block.shape[0] != channels or block.dtype != np.float32:
        raise ShapeError(
            f"a block must be float32 [{channels}, n], not {block.dtype}{list(block.shape)}"
        )


class OverlapAdd:
    """Joins decoded chunks with EnCodec's triangle window, handing samples out as soon as they are
    final.

    The window and its normalisation are those of EnCodec's `_linear_overlap_add` (Défossez et al.
    2022): each chunk is weighted by a triangle and the sum is divided by the sum of the weights.
    The triangle is as long as the first chunk is decoded to: that is shorter than a chunk where the
    first one ends with the recording, and longer where a frame's length does not divide the
    chunk's.
    """

    def __init__(
        self, channels: int, num_samples: int, chunk_stride: int, window: int | None = None
    ) -> None:
        """`window` is the triangle's length; None: the first chunk that is pushed is the
        recording's first, and has it."""
        self._num_samples = num_samples
        self._stride = chunk_stride
        self._weight = np.zeros(0, np.float32) if window is None else triangle(window)
        self._sum = np.zeros((channels, 0), np.float32)
        self._weights = np.zeros(0, np.float32)
        self._start = 0
        """sample at which the buffers begin"""
        self._next = 0
        """sample at which the next chunk begins"""

    def push(self, chunk: NDArray[np.float32]) -> NDArray[np.float32]:
        """Add the next decoded chunk, float32 `[channels, n]`; returns the samples that no later
        chunk can touch.

        No chunk may be longer than the first.
        """
        if not self._weight.size:
            self._weight = triangle(chunk.shape[1])
        end = min(self._next + chunk.shape[1], self._num_samples)
        used = end - self._next
        self._grow(end)
        at = slice(self._next - self._start, self._next - self._start + used)
        self._sum[:, at] += self._weight[:used] * chunk[:, :used]
        self._weights[at] += self._weight[:used]
        self._next += self._stride
        return self._release(min(self._next, self._num_samples))

    def finish(self) -> NDArray[np.float32]:
        """The remaining samples, up to the recording's length."""
        return self._release(self._num_samples)

    def _grow(self, end: int) -> None:
        missing = end - self._start - self._weights.shape[0]
        if missing > 0:
            self._sum = np.pad(self._sum, ((0, 0), (0, missing)))
            self._weights = np.pad(self._weights, (0, missing))

    def _release(self, until: int) -> NDArray[np.float32]:
        count = max(0, min(until - self._start, self._weights.shape[0]))
        ready: NDArray[np.float32] = self._sum[:, :count] / self._weights[:count]
        self._sum, self._weights = self._sum[:, count:], self._weights[count:]
        self._start += count
        return ready


def triangle(length: int) -> NDArray[np.float32]:
    """Weights of a window's samples: rising from next to nothing to a half in its middle, and
    falling."""
    ramp = np.linspace(0, 1, length + 2, dtype=np.float32)[1:-1]
    weights: NDArray[np.float32] = np.float32(0.5) - np.abs(ramp - np.float32(0.5))
    return weights


def in_groups(count: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover `range(count)`."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def in_even_groups(count: int, size: int) -> Iterator[slice]:
    """Likewise, all of about one size: what is done side by side ends together."""
    groups = -(-count // size)
    for i in range(groups):
        yield slice(count * i // groups, count * (i + 1) // groups)
