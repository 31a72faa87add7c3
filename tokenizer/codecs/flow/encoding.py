"""Recordings through a codec: several side by side, or one while it comes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokenizer.audio.check import check_samples
from tokenizer.chunking import (
    ChunkCutter,
    chunk_spans,
    frames_of,
    in_even_groups,
    in_groups,
    runs_of,
)
from tokenizer.codecs.flow.incoming import samples_of
from tokenizer.codecs.pieces import Piece, PieceCodes, State
from tokenizer.errors import FailureKind, RecordingError, ShapeError, UsageError
from tokenizer.types import Codes

if TYPE_CHECKING:
    from tokenizer.codecs.base import ChunkCodes, Codec

Samples = NDArray[np.float32]
"""float32 `[channels, n]`"""


def encoded_in_chunks(codec: Codec, recordings: Sequence[Samples]) -> list[list[ChunkCodes]]:
    """The chunks of each recording, sharing batches."""
    spec = codec.spec
    cut = [
        [
            np.ascontiguousarray(samples[:, start:stop])
            for start, stop in chunk_spans(samples.shape[1], spec.chunk_length, spec.chunk_stride)
        ]
        for samples in recordings
    ]
    chunks = [chunk for one in cut for chunk in one]
    encoded: list[ChunkCodes] = []
    for group in in_groups(len(chunks), codec.batch_chunks):
        encoded += codec.encode_chunks(chunks[group])
    ends = np.cumsum([len(one) for one in cut], dtype=np.int64)
    return [encoded[end - len(one) : end] for end, one in zip(ends, cut, strict=True)]


def encoded_in_lock_step(codec: Codec, recordings: Sequence[Samples]) -> list[list[PieceCodes]]:
    """The pieces of each recording: in every step the next one of all that have not ended."""
    length = codec.piece_length or 1
    found: list[list[PieceCodes]] = [[] for _ in recordings]
    active, at = list(range(len(recordings))), 0
    while active:
        for group in in_even_groups(len(active), codec.batch_chunks):
            members = active[group]
            pieces = [
                Piece(
                    np.ascontiguousarray(recordings[i][:, at : at + length]),
                    found[i][-1].state if found[i] else None,
                    at + length >= recordings[i].shape[1],
                )
                for i in members
            ]
            for i, codes in zip(members, codec.encode_pieces(pieces), strict=True):
                if found[i]:  # what one remembered is not needed any more, and may be large
                    found[i][-1] = PieceCodes(found[i][-1].codes, None)
                found[i].append(codes)
        at += length
        active = [i for i in active if at < recordings[i].shape[1]]
    return found


class EncodeStream:
    """One recording on its way through a codec, as its samples come.

    Use it in a `with` statement, or not: it holds nothing but memory.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec, self._spec = codec, codec.spec
        pieces = codec.piece_length is not None and self._spec.chunk_length is None
        self._way: _Chunks | _Pieces = _Pieces(codec) if pieces else _Chunks(codec)
        self._ended = False
        self.num_samples = 0
        """samples pushed so far"""
        self._covered = 0
        """of which parts were given"""

    def __enter__(self) -> EncodeStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended = True

    def push(self, samples: Any) -> Codes:
        """Take in the next samples, at the codec's rate: NumPy or tensor `[channels, n]`, or `[n]`
        for a mono codec, in any number.

        Returns:
            The codes that nothing that follows can change, maybe none (`frames` is 0). They cover
            whole frames, or the strides of whole chunks; `Codes.join` puts parts together.

        Raises:
            ShapeError: samples of another shape or dtype.
            RecordingError: samples that are not finite (NON_FINITE).
            UsageError: the stream has ended.
        """
        self._require_open()
        block = samples_of(samples)
        if block.shape[0] != self._spec.channels:
            raise ShapeError(
                f"the codec wants samples [{self._spec.channels}, n], not {list(block.shape)}"
            )
        check_samples(block)
        self.num_samples += block.shape[1]
        found = self._way.push(block)
        if self._spec.chunk_stride is None:
            covered = self._spec.frame_length * sum(one.codes.shape[1] for one in found)
        else:
            covered = self._spec.chunk_stride * len(found)
        return self._part(found, covered)

    def finish(self) -> Codes:
        """The recording has ended: the codes that are left.

        Raises:
            RecordingError: no samples were pushed (EMPTY).
            UsageError: the stream had ended before.
        """
        self._require_open()
        self._ended = True
        if not self.num_samples:
            raise RecordingError(FailureKind.EMPTY, "no samples were pushed", "check")
        return self._part(self._way.finish(), self.num_samples - self._covered)

    def _require_open(self) -> None:
        if self._ended:
            raise UsageError("this stream has ended: begin another with codec.stream()")

    def _part(self, found: Sequence[ChunkCodes | PieceCodes], covered: int) -> Codes:
        self._covered += covered
        spec, codes = self._spec, [one.codes for one in found]
        lengths = [one.shape[1] for one in codes]
        frames = runs_of(sum(lengths)) if spec.chunk_length is None else lengths
        scales = [getattr(one, "scale", None) for one in found] if spec.has_scales else None
        if scales is not None and spec.chunk_length is None:
            scales = scales[:1] * len(frames)
        return Codes(
            np.concatenate([np.zeros((spec.n_q, 0), np.uint16), *codes], axis=1),
            None if scales is None else np.array(scales, np.float32),
            np.array(frames, np.uint16),
            covered,
            spec.sample_rate,
            spec.layout,
            spec.weights_sha256,
        )


class _Chunks:
    """Of a codec with chunks, or one that takes recordings whole."""

    def __init__(self, codec: Codec) -> None:
        spec = codec.spec
        self._codec = codec
        self._cutter = ChunkCutter(spec.channels, spec.chunk_length, spec.chunk_stride)

    def push(self, block: Samples) -> list[ChunkCodes]:
        return self._encoded(self._cutter.push(block))

    def finish(self) -> list[ChunkCodes]:
        return self._encoded(self._cutter.finish())

    def _encoded(self, chunks: Sequence[Samples]) -> list[ChunkCodes]:
        found: list[ChunkCodes] = []
        for group in in_groups(len(chunks), self._codec.batch_chunks):
            found += self._codec.encode_chunks(chunks[group])
        return found


class _Pieces:
    """Of a codec that takes pieces: whole frames go on at once, all but the last sample, since what
    ends a recording is known by its end only."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._hop = codec.spec.frame_length
        self._held = np.zeros((codec.channels, 0), np.float32)
        self._state: State = None

    def push(self, block: Samples) -> list[PieceCodes]:
        held = np.concatenate([self._held, block], axis=1)
        count = max(0, frames_of(held.shape[1], self._hop) - 1) * self._hop
        self._held = held[:, count:].copy()
        return list(self._encoded(held[:, :count], last=False))

    def finish(self) -> list[PieceCodes]:
        return list(self._encoded(self._held, last=True))

    def _encoded(self, samples: Samples, last: bool) -> Iterator[PieceCodes]:
        length = samples.shape[1]
        for group in in_groups(length, self._codec.piece_length or length):
            piece = Piece(
                np.ascontiguousarray(samples[:, group]), self._state, last and group.stop == length
            )
            (found,) = self._codec.encode_pieces([piece])
            self._state = found.state
            yield PieceCodes(found.codes, None)
