"""Codes back to samples: a recording block by block, or several side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tokenizer.chunking import OverlapAdd, in_groups
from tokenizer.codecs.pieces import CodedPiece, State
from tokenizer.errors import FailureKind, RecordingError

if TYPE_CHECKING:
    from tokenizer.codecs.base import ChunkCodes, Codec

Samples = NDArray[np.float32]
"""float32 `[channels, n]`"""


def decoded_blocks(
    codec: Codec, chunks: Sequence[ChunkCodes], num_samples: int
) -> Iterator[Samples]:
    """One recording of `num_samples`, as its samples become final; `chunks` as
    `tokenizer.codecs.base.split` has them."""
    spec = codec.spec
    if spec.chunk_length is not None and spec.chunk_stride is not None:
        joined = OverlapAdd(spec.channels, num_samples, spec.chunk_stride)
        for group in in_groups(len(chunks), codec.batch_chunks):
            ready = [joined.push(chunk) for chunk in codec.decode_chunks(chunks[group])]
            yield np.concatenate(ready, axis=1)
        yield joined.finish()
    elif codec.piece_length is None:
        yield codec.decode_chunks(chunks)[0][:, :num_samples]
    else:
        yield from _trimmed(_pieces(codec, chunks[0].codes), num_samples)


def decoded_together(
    codec: Codec, recordings: Sequence[Sequence[ChunkCodes]], lengths: Sequence[int]
) -> list[Samples]:
    """Whole recordings, their chunks sharing batches, or their pieces in lock step."""
    if codec.piece_length is not None and codec.spec.chunk_length is None:
        codes = [chunks[0].codes for chunks in recordings]
        return [finite(samples) for samples in _in_lock_step(codec, codes, lengths)]
    flat = [chunk for chunks in recordings for chunk in chunks]
    decoded: list[Samples] = []
    for group in in_groups(len(flat), codec.batch_chunks):
        decoded += codec.decode_chunks(flat[group])
    results, at = [], 0
    for chunks, length in zip(recordings, lengths, strict=True):
        results.append(finite(_overlapped(codec, decoded[at : at + len(chunks)], length)))
        at += len(chunks)
    return results


def finite(samples: Samples) -> Samples:
    """The same.

    Raises:
        RecordingError: they are not finite (ENCODER).
    """
    if not np.isfinite(samples).all():
        raise RecordingError(FailureKind.ENCODER, "the decoded audio is not finite", "decode")
    return samples


def _overlapped(codec: Codec, decoded: Sequence[Samples], num_samples: int) -> Samples:
    if codec.spec.chunk_stride is None:
        return decoded[0][:, :num_samples]
    joined = OverlapAdd(codec.channels, num_samples, codec.spec.chunk_stride)
    blocks = [joined.push(chunk) for chunk in decoded]
    return np.concatenate([*blocks, joined.finish()], axis=1)


def _frames_a_piece(codec: Codec) -> int:
    return max(1, (codec.piece_length or 1) // codec.spec.frame_length)


class PieceDecoder:
    """One recording of a codec that takes pieces, decoded while its codes come."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._state: State = None
        self._next: NDArray[np.uint16] | None = None
        """kept back, since the last piece must be known as the last"""

    def push(self, codes: NDArray[np.uint16]) -> Samples:
        """Take in the next frames, uint16 `[codebooks, frames]` or none; returns the samples that
        are final, maybe none."""
        if not codes.shape[1]:
            return self._nothing()
        before, self._next = self._next, codes
        return self._nothing() if before is None else self._decoded(before, last=False)

    def finish(self) -> Samples:
        """The recording has ended: the samples that are left, up to the end of its last frame."""
        return self._nothing() if self._next is None else self._decoded(self._next, last=True)

    def _decoded(self, codes: NDArray[np.uint16], last: bool) -> Samples:
        piece = CodedPiece(np.ascontiguousarray(codes), self._state, last)
        (found,) = self._codec.decode_pieces([piece])
        self._state = found.state
        return found.samples

    def _nothing(self) -> Samples:
        return np.zeros((self._codec.channels, 0), np.float32)


def _pieces(codec: Codec, codes: NDArray[np.uint16]) -> Iterator[Samples]:
    decoder = PieceDecoder(codec)
    for group in in_groups(codes.shape[1], _frames_a_piece(codec)):
        yield decoder.push(codes[:, group])
    yield decoder.finish()


def _in_lock_step(
    codec: Codec, recordings: Sequence[NDArray[np.uint16]], lengths: Sequence[int]
) -> list[Samples]:
    """In every step the next piece of all that have not ended."""
    size = _frames_a_piece(codec)
    blocks: list[list[Samples]] = [[] for _ in recordings]
    states: list[State] = [None] * len(recordings)
    active, at = list(range(len(recordings))), 0
    while active:
        for group in in_groups(len(active), codec.batch_chunks):
            members = active[group]
            pieces = [
                CodedPiece(
                    np.ascontiguousarray(recordings[i][:, at : at + size]),
                    states[i],
                    at + size >= recordings[i].shape[1],
                )
                for i in members
            ]
            for i, found in zip(members, codec.decode_pieces(pieces), strict=True):
                blocks[i].append(found.samples)
                states[i] = found.state
        at += size
        active = [i for i in active if at < recordings[i].shape[1]]
    return [
        np.concatenate(list(_trimmed(found, length)), axis=1)
        for found, length in zip(blocks, lengths, strict=True)
    ]


def _trimmed(blocks: Iterator[Samples] | list[Samples], num_samples: int) -> Iterator[Samples]:
    """As many samples as the recording had: the last frame reaches further.

    Raises:
        RecordingError: the codec gives fewer (ENCODER).
    """
    left = num_samples
    for block in blocks:
        wanted = block[:, :left]
        left -= wanted.shape[1]
        if wanted.shape[1]:
            yield wanted
    if left:
        raise RecordingError(
            FailureKind.ENCODER,
            f"the codec decoded {num_samples - left} of {num_samples} samples",
            "decode",
        )
