"""Chunks and pieces of one recording to its `Codes`, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tokenizer.codecs.codebooks.levels import cut_in_two
from tokenizer.codecs.codebooks.ranges import outside
from tokenizer.errors import ShapeError
from tokenizer.types import Codes

if TYPE_CHECKING:
    from tokenizer.codecs.base import CodecSpec


@dataclass(frozen=True, slots=True, eq=False)
class ChunkCodes:
    """One chunk, encoded."""

    codes: NDArray[np.uint16]
    """uint16 `[n_q, frames]`"""
    scale: float | None
    """the RMS the chunk was divided by (a float32 value); None for codecs that do not normalise"""


def assemble(chunks: Sequence[ChunkCodes], num_samples: int, spec: CodecSpec) -> Codes:
    """Join the chunks of one recording, in order, to its `Codes`; without chunks, what its pieces
    gave.

    Raises:
        ShapeError: frames that are not those of `num_samples`.
    """
    frames = spec.layout.chunk_frames(num_samples)
    found = [int(chunk.codes.shape[1]) for chunk in chunks]
    if spec.chunk_length is None:
        if sum(found) != sum(frames):
            raise ShapeError(f"{num_samples} samples have {sum(frames)} frames, got {sum(found)}")
    elif found != frames:
        raise ShapeError(
            f"{num_samples} samples have chunks of {frames[:3]}… frames, got {found[:3]}…"
        )
    scales = np.array([chunk.scale for chunk in chunks], np.float32) if spec.has_scales else None
    if scales is not None and spec.chunk_length is None:
        scales = np.repeat(scales[:1], len(frames))
    codes = np.concatenate([chunk.codes for chunk in chunks], axis=1)
    lengths = np.array(frames, np.uint16)
    return Codes(
        codes, scales, lengths, num_samples, spec.sample_rate, spec.layout, spec.weights_sha256
    )


def split(codes: Codes, spec: CodecSpec) -> list[ChunkCodes]:
    """The inverse of `assemble`; of a codec without chunks, all frames as one. Fewer codebooks than
    the codec has are fine: they nest.

    Raises:
        ShapeError: codes that this codec cannot have written.
    """
    require_codes(codes, spec)
    frames = codes.chunk_frames.tolist()
    if frames != spec.layout.chunk_frames(codes.num_samples):
        raise _other_chunks(codes, spec)
    return parted(codes, spec)


def require_codes(codes: Codes, spec: CodecSpec) -> None:
    """
    Raises:
        ShapeError: neither codes of a recording that this codec can have written, nor a stretch of
            one.
    """
    if not isinstance(codes, Codes):
        raise ShapeError(
            f"decode takes Codes, not {type(codes).__name__}: decode_codes takes arrays and tensors"
        )
    if None not in (codes.weights, spec.weights_sha256) and codes.weights != spec.weights_sha256:
        raise ShapeError(
            f"codes were made by other weights than those of codec {spec.codec}: load the codec "
            "that made them, or say that it is meant by dataclasses.replace(codes, weights=None)"
        )
    if codes.n_q > spec.n_q:
        raise ShapeError(
            f"codes have {codes.n_q} codebooks, the codec was loaded with {spec.n_q}: load it with "
            "more kbps"
        )
    if wrong := cut_in_two(spec.codec, spec.level_repeats, codes.n_q):
        raise ShapeError(f"codes have {codes.n_q} codebooks: {wrong}")
    if codes.sample_rate != spec.sample_rate:
        raise ShapeError(
            f"codes are of a codec at {codes.sample_rate} Hz, this one is at {spec.sample_rate}"
        )
    if not spec.layout.fits(codes.chunk_frames.tolist(), codes.num_samples):
        raise _other_chunks(codes, spec)
    if wrong := outside(codes.codes, spec.sizes):
        raise ShapeError(wrong)
    if spec.has_scales and codes.scales is None:
        raise ShapeError("the codec divides by scales, and the codes have none")


def _other_chunks(codes: Codes, spec: CodecSpec) -> ShapeError:
    frames = spec.layout.chunk_frames(codes.num_samples)
    return ShapeError(
        f"{codes.num_samples} samples have {len(frames)} chunks with {sum(frames)} frames with "
        "this codec; the codes have others"
    )


def parted(codes: Codes, spec: CodecSpec) -> list[ChunkCodes]:
    """The chunks of codes that fit; of a codec without chunks, all frames as one."""
    if spec.chunk_length is None:
        return [ChunkCodes(codes.codes, None if codes.scales is None else float(codes.scales[0]))]
    frames = codes.chunk_frames.tolist()
    return [
        ChunkCodes(
            codes.codes[:, end - n : end],
            float(codes.scales[i]) if codes.scales is not None else None,
        )
        for i, (end, n) in enumerate(zip(np.cumsum(frames), frames, strict=True))
    ]
