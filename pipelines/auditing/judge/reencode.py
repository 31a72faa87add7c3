"""The source encoded again, chunk by chunk as it passes, and compared with what is stored.

Only the codec's own chunks are compared, each with the stored chunk at its place, with its
neighbours, and with itself a few frames later or earlier; memory is a batch of chunks and a few
numbers a chunk. Of a codec that takes pieces, as many frames as a piece has stand for a chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipelines.auditing.measure.pairs import Block
from tokenizer.chunking import ChunkCutter, PieceCutter
from tokenizer.codecs.base import ChunkCodes, Codec
from tokenizer.codecs.pieces import Piece, State
from tokenizer.errors import RecordingError
from tokenizer.types import Codes

EQUAL = 0.9
"""share of codes from which two chunks are taken for the same"""
PROBES = 6
"""chunks kept as samples, to try what would explain a difference"""
LAGS = tuple(lag for lag in range(-15, 16) if lag)
"""frames that a chunk's codes may be shifted by and still be recognised"""


@dataclass(frozen=True, slots=True)
class ChunkMatch:
    """One chunk: stored against encoded again."""

    equal: float
    """share of equal codes, all levels"""
    scale_stored: float | None
    scale_fresh: float | None
    differing: int
    """codes that differ"""
    single_bit: int
    """of those, the ones that differ in one bit"""
    last_level: int
    """of those, the ones at the last level, below which nothing could tell rounding from damage"""
    orphans: int
    """of those, the ones whose next level agrees all the same"""
    stuck: bool
    """the stored codes never change, the fresh ones do"""
    neighbour: int
    """-1 or 1 when the stored chunk before or after this place is what was found here; else 0"""
    lag: int
    """frames that the stored codes come too late; 0 when no shift explains them"""

    @property
    def same(self) -> bool:
        """Whether these are the same codes, apart from a few: one of a tail's two or three may be a
        large share."""
        return self.equal >= EQUAL or self.differing == 1


@dataclass(slots=True)
class Comparison:
    """All chunks of a recording."""

    n_q: int
    """levels that both have"""
    chunks: dict[int, ChunkMatch] = field(default_factory=dict)
    """by index; chunks of different lengths are left out"""
    cross: NDArray[np.int64] = field(init=False)
    """int64 `[n_q, n_q]`: how often stored level a equals fresh level b"""
    frames: int = 0
    """compared"""
    swapped: float | None = None
    """share of equal codes in the probes when their channels are swapped; None when nothing was to
    be explained"""

    def __post_init__(self) -> None:
        self.cross = np.zeros((self.n_q, self.n_q), np.int64)

    @property
    def by_level(self) -> tuple[float, ...]:
        """Share of equal codes per level."""
        return tuple(float(count) / max(1, self.frames) for count in self.cross.diagonal())

    @property
    def equal(self) -> bool:
        """Every compared code is equal."""
        return all(match.differing == 0 for match in self.chunks.values())


class Reencoder:
    """Encodes a source as its blocks pass by."""

    def __init__(self, codec: Codec, stored: Codes) -> None:
        spec = codec.spec
        self._codec, self._stored = codec, stored
        self._piecewise = (
            _Piecewise(codec) if codec.piece_length and spec.chunk_length is None else None
        )
        self._cutter: ChunkCutter | PieceCutter = (
            ChunkCutter(spec.channels, spec.chunk_length, spec.chunk_stride)
            if self._piecewise is None
            else self._piecewise.cutter
        )
        self._lengths = stored.chunk_frames.astype(np.int64)
        if spec.chunk_length is None:
            size = stored.frames if self._piecewise is None else self._piecewise.frames
            at = np.arange(0, stored.frames, size)
            self._lengths = np.minimum(size, stored.frames - at)
        self._ends = np.cumsum(self._lengths)
        self._waiting: list[Block] = []
        self._probes: list[tuple[int, Block]] = []
        self._encoded = 0
        """chunks"""
        self.comparison = Comparison(min(stored.n_q, spec.n_q))
        self.error: RecordingError | None = None
        """why the codec refused the source; the comparison then ends before it"""

    def watch(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """Hand the blocks on; the comparison is complete when all have gone by, unless the
        codec refuses one: see `error`."""
        for block in blocks:
            self._push(self._cutter.push(block))
            yield block
        self._push(self._cutter.finish(), last=True)

    def _push(self, chunks: list[Block], last: bool = False) -> None:
        if self.error is not None:
            return
        self._waiting += chunks
        try:
            if self._piecewise is not None:
                for codes in self._piecewise.encoded(self._taken(), last):
                    self._compare(self._encoded, None, ChunkCodes(codes, None))
                    self._encoded += 1
            elif last or len(self._waiting) >= self._codec.batch_chunks:
                self._flush()
            if last:
                self._probe()
        except RecordingError as error:
            self.error, self._waiting = error, []

    def _taken(self) -> list[Block]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def _flush(self) -> None:
        chunks = self._taken()
        for samples, fresh in zip(
            chunks, self._codec.encode_chunks(chunks) if chunks else [], strict=True
        ):
            self._compare(self._encoded, samples, fresh)
            self._encoded += 1

    def _compare(self, index: int, samples: Block | None, fresh: ChunkCodes) -> None:
        n_q = self.comparison.n_q
        stored, found = self._chunk(index), fresh.codes[:n_q]
        if stored is None or stored.shape != found.shape:
            return
        for level in range(n_q):
            self.comparison.cross[level] += (stored[level] == found).sum(axis=1)
        self.comparison.frames += found.shape[1]
        match = self._match(index, stored, found, fresh.scale)
        self.comparison.chunks[index] = match
        if not match.same and samples is not None and len(self._probes) < PROBES:
            self._probes.append((index, samples))

    def _match(
        self, index: int, stored: NDArray[np.uint16], found: NDArray[np.uint16], scale: float | None
    ) -> ChunkMatch:
        equal = float((stored == found).mean())
        bits = np.bitwise_xor(stored, found)
        same = equal >= EQUAL
        return ChunkMatch(
            equal=equal,
            scale_stored=self._scale(index),
            scale_fresh=scale,
            differing=int(np.count_nonzero(bits)),
            orphans=int(np.count_nonzero((bits[:-1] > 0) & (bits[1:] == 0))),
            last_level=int(np.count_nonzero(bits[-1])),
            single_bit=int(np.count_nonzero((bits > 0) & (bits & (bits - 1) == 0))),
            stuck=not same
            and bool((stored == stored[:, :1]).all())
            and not bool((found == found[:, :1]).all()),
            neighbour=0 if same else self._neighbour(index, found),
            lag=0 if same else _lag(stored, found),
        )

    def _scale(self, index: int) -> float | None:
        return None if self._stored.scales is None else float(self._stored.scales[index])

    def _neighbour(self, index: int, found: NDArray[np.uint16]) -> int:
        for step in (1, -1):
            other = self._chunk(index + step)
            if (
                other is not None
                and other.shape == found.shape
                and (other == found).mean() >= EQUAL
            ):
                return step
        return 0

    def _chunk(self, index: int) -> NDArray[np.uint16] | None:
        if not 0 <= index < len(self._ends):
            return None
        end = int(self._ends[index])
        return self._stored.codes[: self.comparison.n_q, end - int(self._lengths[index]) : end]

    def _probe(self) -> None:
        """Would swapped channels explain what differs?"""
        if not self._probes or self._codec.channels != 2:
            return
        swapped = self._codec.encode_chunks(
            [np.ascontiguousarray(samples[::-1]) for _, samples in self._probes]
        )
        shares = []
        for (index, _), fresh in zip(self._probes, swapped, strict=True):
            stored = self._chunk(index)
            shares.append(
                0.0
                if stored is None
                else float((stored == fresh.codes[: self.comparison.n_q]).mean())
            )
        self.comparison.swapped = float(np.mean(shares))


class _Piecewise:
    """One recording, encoded piece after piece."""

    def __init__(self, codec: Codec) -> None:
        length = codec.piece_length or 1
        self._codec = codec
        self.cutter = PieceCutter(codec.channels, length)
        self.frames = max(1, length // codec.spec.frame_length)
        """that are handed on at once"""
        self._state: State = None
        self._fresh = np.zeros((codec.spec.n_q, 0), np.uint16)

    def encoded(self, pieces: list[Block], last: bool) -> Iterator[NDArray[np.uint16]]:
        """The codes of the next pieces, `frames` of them at a time; `last`: the recording ends with
        them."""
        for number, samples in enumerate(pieces, 1):
            piece = Piece(samples, self._state, last and number == len(pieces))
            (found,) = self._codec.encode_pieces([piece])
            self._state = found.state
            self._fresh = np.concatenate([self._fresh, found.codes], axis=1)
            while self._fresh.shape[1] >= self.frames:
                yield self._fresh[:, : self.frames]
                self._fresh = self._fresh[:, self.frames :]
        if last and self._fresh.shape[1]:
            yield self._fresh


def _lag(stored: NDArray[np.uint16], found: NDArray[np.uint16]) -> int:
    """Frames by which the stored codes come later than the found ones; 0 when they are not the same
    codes shifted."""
    frames = stored.shape[1]
    for lag in LAGS:
        if abs(lag) * 4 > frames:
            continue
        late, early = (stored, found) if lag > 0 else (found, stored)
        if (late[:, abs(lag) :] == early[:, : frames - abs(lag)]).mean() >= EQUAL:
            return lag
    return 0
