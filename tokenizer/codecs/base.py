"""What a codec is: a set of facts, and chunks of samples to codes and back.

A new codec is a subclass that fills in `encode_chunks` and `decode_chunks`; everything about
recordings, batches and overlaps is here or in `tokenizer.chunking`, once.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from tokenizer.audio.check import check_samples
from tokenizer.chunking import OverlapAdd, chunk_spans, frames_of, in_groups
from tokenizer.codecs.origin import Origin, load_again, moved
from tokenizer.codecs.pieces import CodedPiece, Piece, PieceCodes, PieceSamples
from tokenizer.codecs.precision import PrecisionReport
from tokenizer.codecs.ranges import outside
from tokenizer.errors import FailureKind, RecordingError, ShapeError
from tokenizer.types import Codes, Waveform

MAX_CHUNK_FRAMES = 65_535
"""what `Codes.chunk_frames` (uint16) can hold; only codecs without windows come near"""
MAX_CODEBOOK = 65_536
"""entries whose numbers `Codes.codes` (uint16) can hold"""


@dataclass(frozen=True, slots=True)
class CodecSpec:
    """Everything about a loaded codec that decides what its codes are. Written into every shard's
    footer."""

    codec: str
    """hub id, or the path or registry name it was loaded by"""
    revision: str | None
    """hub commit; None for local checkpoints"""
    weights_sha256: str
    """of the weights file(s) as they lie on disk"""
    bandwidth: float
    """kbps"""
    n_q: int
    """codebooks used at this bandwidth"""
    codebook_size: int
    sample_rate: int
    channels: int
    frame_length: int
    """samples per frame (the hop): 320"""
    chunk_length: int | None
    """samples per chunk; None for a codec without windows, which sees a recording as one chunk"""
    chunk_stride: int | None
    """samples from one chunk's start to the next one's"""
    has_scales: bool
    """whether chunks are normalised, and scales stored"""
    dtype: str = "float32"
    device: str = "cpu"
    """kind of device that computes: "cpu", "cuda", "none" (weight-free)"""
    precision: str = "exact"
    """one of `tokenizer.codecs.precision.PRECISIONS`: "fast" has some other codes"""
    codebook_sizes: tuple[int, ...] | None = None
    """entries of each of the `n_q` codebooks, where they differ; `codebook_size` is the largest"""
    level_repeats: tuple[int, ...] | None = None
    """rows of codes that each level has a frame, for a codec whose levels run at different rates:
    (1, 2, 4) is one code of the first level, two of the second and four of the third, one after the
    other in time, in rows of their own; a frame is then as long as a code of the slowest level, and
    `n_q` counts rows. None is one row a level"""
    window_length: int | None = None
    """samples that a codec whose every code depends on the whole signal encodes at once; a longer
    recording is encoded in windows. None where length does not matter"""
    window_context: int | None = None
    """samples at each inner end of a window whose codes are taken from its neighbour"""

    @property
    def frame_rate(self) -> float:
        """Frames per second within a chunk."""
        return self.sample_rate / self.frame_length

    @property
    def sizes(self) -> tuple[int, ...]:
        """Entries of each of the `n_q` codebooks, also where all have the same."""
        return self.codebook_sizes or (self.codebook_size,) * self.n_q

    def bandwidth_of(self, n_q: int) -> float:
        """kbps that its first `n_q` codebooks come to."""
        bits = [math.log2(size) for size in self.sizes]
        if len(set(bits)) == 1:
            return self.bandwidth * n_q / self.n_q
        return self.bandwidth * sum(bits[:n_q]) / sum(bits)

    def describe(self) -> str:
        """For people: `6 kbps: 4 codebooks of 1,024, 48,000 Hz stereo`."""
        channels = {1: "mono", 2: "stereo"}.get(self.channels, f"{self.channels} channels")
        return (
            f"{self.bandwidth:.4g} kbps: {describe_codebooks(self)}, {self.sample_rate:,} Hz "
            f"{channels}"
        )


def describe_codebooks(spec: CodecSpec) -> str:
    """For people: `4 codebooks of 1,024`; where their sizes differ, all of them."""
    different = sorted(set(spec.sizes))
    of = ", ".join(f"{size:,}" for size in (different[:1] if len(different) == 1 else spec.sizes))
    books = "codebook" if spec.n_q == 1 else "codebooks"
    rates = spec.level_repeats
    at = f" ({len(rates)} levels, {':'.join(map(str, rates))} codes a frame)" if rates else ""
    return f"{spec.n_q} {books} of {of}{at}"


@dataclass(frozen=True, slots=True, eq=False)
class ChunkCodes:
    """One chunk, encoded."""

    codes: NDArray[np.uint16]
    """uint16 `[n_q, frames]`"""
    scale: float | None
    """the RMS the chunk was divided by (a float32 value); None for codecs that do not normalise"""


class Codec(ABC):
    """A loaded codec: immutable, one bandwidth, one device."""

    spec: CodecSpec
    batch_chunks: int = 16
    """chunks that make an efficient batch on its device"""
    piece_length: int | None = None
    """samples of the pieces in which long recordings are handed to a codec without chunks; None for
    one that takes them whole, or has chunks"""
    origin: Origin | None = None
    """how `load_codec` loaded it; None for one that was made otherwise"""

    @property
    def sample_rate(self) -> int:
        return self.spec.sample_rate

    @property
    def channels(self) -> int:
        return self.spec.channels

    def __repr__(self) -> str:
        device = self.spec.device if self.origin is None else self.origin.device
        where = "" if self.spec.device == "none" else f", on {device}"
        return f"{type(self).__name__}({self.spec.codec}, {self.spec.describe()}{where})"

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        """Pickled as how it was loaded, without its weights."""
        if self.origin is None:
            return super().__reduce_ex__(protocol)
        return load_again, (self.origin,)

    def to(self, device: object) -> Codec:
        """The codec on another device, loaded again; the same object where it is there already, or
        where it needs none.

        Args:
            device: "cpu", "cuda", "cuda:N" or "auto", or a `torch.device`.

        Raises:
            CodecLoadError: there is no such device, or the codec did not come from `load_codec`.
        """
        return moved(self, str(device))

    @abstractmethod
    def encode_chunks(self, chunks: Sequence[NDArray[np.float32]]) -> list[ChunkCodes]:
        """Encode chunks of any recordings, in any mixture of lengths, as if each were alone.

        Args:
            chunks: each float32 `[channels, n]`, `1 <= n <= chunk_length`, cut as
                `tokenizer.chunking` does.

        Returns:
            One `ChunkCodes` a chunk, in order.

        Raises:
            ShapeError: a chunk of another shape or dtype.
            RecordingError: the codec's output is not finite (kind ENCODER).
        """

    @abstractmethod
    def decode_chunks(self, chunks: Sequence[ChunkCodes]) -> list[NDArray[np.float32]]:
        """Decode chunks, each alone: float32 `[channels, frames * frame_length]`, scaled, before
        overlap-add.

        A codec without windows may return fewer samples than that, never fewer than the recording
        had.
        """

    def encode_pieces(self, pieces: Sequence[Piece]) -> list[PieceCodes]:
        """Encode the next pieces of any recordings, in any mixture of lengths, each as if it were
        alone. For codecs without chunks; see `tokenizer.codecs.pieces`.

        Raises:
            ShapeError: a piece of another shape or dtype; one that is not a whole recording, for a
                codec without `piece_length`.
            RecordingError: the codec's output is not finite (kind ENCODER).
        """
        if any(piece.state is not None or not piece.last for piece in pieces):
            raise ShapeError(f"codec {self.spec.codec} takes whole recordings, not pieces of them")
        found = self.encode_chunks([piece.samples for piece in pieces])
        return [PieceCodes(one.codes, None) for one in found]

    def decode_pieces(self, pieces: Sequence[CodedPiece]) -> list[PieceSamples]:
        """The way back: as `encode_pieces`, with frames of codes.

        Raises:
            ShapeError: a piece of another shape; one that is not a whole recording, for a codec
                without `piece_length`.
        """
        if any(piece.state is not None or not piece.last for piece in pieces):
            raise ShapeError(f"codec {self.spec.codec} takes whole recordings, not pieces of them")
        found = self.decode_chunks([ChunkCodes(piece.codes, None) for piece in pieces])
        return [PieceSamples(one, None) for one in found]

    def precision_report(self) -> PrecisionReport | None:
        """How the codes of its first chunks compare with exact ones; None where they are exact, and
        before the first chunk."""
        return None

    def encode(self, waveform: Waveform) -> Codes:
        """Encode one recording.

        Raises:
            ShapeError: another sample rate or number of channels than the codec's.
            RecordingError: no samples (EMPTY), samples that are not finite (NON_FINITE), or the
                codec's own are (ENCODER).
        """
        return self.encode_batch([waveform])[0]

    def encode_batch(self, waveforms: Sequence[Waveform]) -> list[Codes]:
        """Encode many recordings; the same codes as `encode` gives for each, their chunks sharing
        batches."""
        cut = [self._cut(waveform) for waveform in waveforms]
        chunks = [chunk for one in cut for chunk in one]
        encoded: list[ChunkCodes] = []
        for group in in_groups(len(chunks), self.batch_chunks):
            encoded += self.encode_chunks(chunks[group])
        results, at = [], 0
        for waveform, one in zip(waveforms, cut, strict=True):
            results.append(assemble(encoded[at : at + len(one)], waveform.num_samples, self.spec))
            at += len(one)
        return results

    def decode(self, codes: Codes) -> Waveform:
        """Decode one recording: float32 `[channels, num_samples]`, exactly as long as the original.

        Raises:
            ShapeError: codes of another codec: more codebooks, other chunks, codes out of range.
        """
        blocks = list(self.decode_stream(codes))
        return Waveform(np.concatenate(blocks, axis=1), self.sample_rate)

    def decode_batch(self, codes: Sequence[Codes]) -> list[Waveform]:
        """Decode many recordings, their chunks sharing batches; the same as `decode` gives for
        each, but for rounding."""
        cut = [split(one, self.spec) for one in codes]
        chunks = [chunk for one in cut for chunk in one]
        decoded: list[NDArray[np.float32]] = []
        for group in in_groups(len(chunks), self.batch_chunks):
            decoded += self.decode_chunks(chunks[group])
        results, at = [], 0
        for one, parts in zip(codes, cut, strict=True):
            blocks = list(self._joined(decoded[at : at + len(parts)], one.num_samples))
            results.append(Waveform(np.concatenate(blocks, axis=1), self.sample_rate))
            at += len(parts)
        return results

    def _joined(
        self, decoded: Sequence[NDArray[np.float32]], num_samples: int
    ) -> Iterator[NDArray[np.float32]]:
        """The blocks of one recording from all of its decoded chunks."""
        if self.spec.chunk_length is None or self.spec.chunk_stride is None:
            yield decoded[0][:, :num_samples]
            return
        joined = OverlapAdd(self.channels, num_samples, self.spec.chunk_stride)
        for chunk in decoded:
            yield joined.push(chunk)
        yield joined.finish()

    def decode_stream(self, codes: Codes) -> Iterator[NDArray[np.float32]]:
        """The same as `decode` in blocks float32 `[channels, n]`, with memory bounded by a batch of
        chunks."""
        chunks = split(codes, self.spec)
        if self.spec.chunk_length is None or self.spec.chunk_stride is None:
            yield self.decode_chunks(chunks)[0][:, : codes.num_samples]
            return
        joined = OverlapAdd(self.channels, codes.num_samples, self.spec.chunk_stride)
        for group in in_groups(len(chunks), self.batch_chunks):
            ready = [joined.push(chunk) for chunk in self.decode_chunks(chunks[group])]
            yield np.concatenate(ready, axis=1)
        yield joined.finish()

    def _cut(self, waveform: Waveform) -> list[NDArray[np.float32]]:
        if (waveform.sample_rate, waveform.channels) != (self.sample_rate, self.channels):
            raise ShapeError(
                f"the codec wants {self.channels} channels at {self.sample_rate} Hz, not "
                f"{waveform.channels} at "
                f"{waveform.sample_rate}: read with read_audio(file, codec.sample_rate, "
                "codec.channels)"
            )
        if not waveform.num_samples:
            raise RecordingError(
                FailureKind.EMPTY, "a waveform without samples has no codes", "check"
            )
        check_samples(waveform.samples)
        spans = chunk_spans(waveform.num_samples, self.spec.chunk_length, self.spec.chunk_stride)
        return [np.ascontiguousarray(waveform.samples[:, start:stop]) for start, stop in spans]


def assemble(chunks: Sequence[ChunkCodes], num_samples: int, spec: CodecSpec) -> Codes:
    """Join the chunks of one recording, in order, to its `Codes`.

    Raises:
        ShapeError: chunks whose frames are not those of `num_samples`.
    """
    spans = chunk_spans(num_samples, spec.chunk_length, spec.chunk_stride)
    frames = [frames_of(stop - start, spec.frame_length) for start, stop in spans]
    found = [int(chunk.codes.shape[1]) for chunk in chunks]
    if found != frames:
        raise ShapeError(
            f"{num_samples} samples have chunks of {frames[:3]}… frames, got {found[:3]}…"
        )
    scales = np.array([chunk.scale for chunk in chunks], np.float32) if spec.has_scales else None
    codes = np.concatenate([chunk.codes for chunk in chunks], axis=1)
    return Codes(codes, scales, np.array(frames, np.uint16), num_samples, spec.sample_rate)


def split(codes: Codes, spec: CodecSpec) -> list[ChunkCodes]:
    """The inverse of `assemble`. Fewer codebooks than the codec has are fine: they nest.

    Raises:
        ShapeError: codes that this codec cannot have written.
    """
    if codes.n_q > spec.n_q:
        raise ShapeError(
            f"codes have {codes.n_q} codebooks, the codec was loaded with {spec.n_q}: load it with "
            "more kbps"
        )
    if codes.sample_rate != spec.sample_rate:
        raise ShapeError(
            f"codes are of a codec at {codes.sample_rate} Hz, this one is at {spec.sample_rate}"
        )
    spans = chunk_spans(codes.num_samples, spec.chunk_length, spec.chunk_stride)
    frames = [frames_of(stop - start, spec.frame_length) for start, stop in spans]
    if codes.chunk_frames.tolist() != frames:
        raise ShapeError(
            f"{codes.num_samples} samples have {len(frames)} chunks with this codec; the codes "
            "have others"
        )
    if wrong := outside(codes.codes, spec.sizes):
        raise ShapeError(wrong)
    if spec.has_scales and codes.scales is None:
        raise ShapeError("the codec divides by scales, and the codes have none")
    ends = np.cumsum(frames)
    return [
        ChunkCodes(
            codes.codes[:, end - n : end],
            float(codes.scales[i]) if codes.scales is not None else None,
        )
        for i, (end, n) in enumerate(zip(ends, frames, strict=True))
    ]
