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
from tokenizer.chunking import MAX_RUN, Layout
from tokenizer.codecs.codebooks.words import describe_spec
from tokenizer.codecs.flow.assembling import ChunkCodes as ChunkCodes
from tokenizer.codecs.flow.assembling import assemble as assemble
from tokenizer.codecs.flow.assembling import parted, require_codes
from tokenizer.codecs.flow.assembling import split as split
from tokenizer.codecs.flow.decoding import decoded_blocks, decoded_together, finite
from tokenizer.codecs.flow.encoding import EncodeStream, encoded_in_chunks, encoded_in_lock_step
from tokenizer.codecs.flow.generated import Generated, decoded_generated
from tokenizer.codecs.flow.incoming import (
    AudioSource,
    blocks_of,
    require_several,
    waveform_of,
)
from tokenizer.codecs.origin import Origin, computed_on, load_again, moved
from tokenizer.codecs.pieces import CodedPiece, Piece, PieceCodes, PieceSamples
from tokenizer.codecs.precision import PrecisionReport
from tokenizer.errors import FailureKind, RecordingError, ShapeError
from tokenizer.types import Codes, Waveform

MAX_CHUNK_FRAMES = MAX_RUN
"""what an entry of `Codes.chunk_frames` (uint16) can hold"""
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
    def layout(self) -> Layout:
        """Where its frames and chunks lie."""
        return Layout(self.frame_length, self.chunk_length, self.chunk_stride)

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
        return describe_spec(self)


class Codec(ABC):
    """A loaded codec: immutable, one bandwidth, one device."""

    spec: CodecSpec
    batch_chunks: int = 16
    """chunks that make an efficient batch on its device"""
    piece_length: int | None = None
    """samples of the pieces in which long recordings are handed to a codec without chunks; None for
    one that takes them whole, or has chunks"""
    default_scale: float = 0.1
    """of chunks whose scale nobody knows, in `decode_codes`: an RMS of -20 dB, as loud as speech
    and music commonly are"""
    origin: Origin | None = None
    """how `load_codec` loaded it; None for one that was made otherwise"""

    @property
    def sample_rate(self) -> int:
        return self.spec.sample_rate

    @property
    def channels(self) -> int:
        return self.spec.channels

    def __repr__(self) -> str:
        where = "" if self.spec.device == "none" else f", on {computed_on(self)}"
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
        return moved(self, device)

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

    def encode(self, source: AudioSource, *, sample_rate: int | None = None) -> Codes:
        """Encode one recording.

        Args:
            source: a `Waveform` of the codec's rate and channels; a path or binary file of any
                audio, which is read in bounded memory where the codec allows it; or samples, a
                NumPy array or tensor `[n]` or `[channels, n]` of floats (full scale 1.0) or
                integers. Files and samples are resampled and mixed as `read_audio` does.
            sample_rate: of samples, which do not say it themselves.

        Raises:
            ShapeError: a waveform of another rate or number of channels than the codec's; samples
                of another shape or dtype, or without `sample_rate`.
            RecordingError: no samples (EMPTY), samples that are not finite (NON_FINITE), or the
                codec's own are (ENCODER); a file that cannot be read.
        """
        if isinstance(source, Waveform):
            return self.encode_batch([source], sample_rate=sample_rate)[0]
        stream = self.stream()
        blocks = blocks_of(source, sample_rate, self.sample_rate, self.channels)
        return Codes.join([*(stream.push(block) for block in blocks), stream.finish()])

    def encode_batch(
        self, sources: Sequence[AudioSource], *, sample_rate: int | None = None
    ) -> list[Codes]:
        """Encode many recordings; the same codes as `encode` gives for each. Those that are handed
        to the codec in pieces go side by side, in lock step; chunks share batches.

        Raises:
            ShapeError, RecordingError: as `encode`; one recording in place of a list.
        """
        require_several(sources)
        waveforms = [
            waveform_of(source, sample_rate, self.sample_rate, self.channels) for source in sources
        ]
        for waveform in waveforms:
            self._require(waveform)
        samples = [waveform.samples for waveform in waveforms]
        if self.piece_length is not None and self.spec.chunk_length is None:
            pieces = encoded_in_lock_step(self, samples)
            found = [[ChunkCodes(piece.codes, None) for piece in one] for one in pieces]
        else:
            found = encoded_in_chunks(self, samples)
        return [
            assemble(parts, waveform.num_samples, self.spec)
            for parts, waveform in zip(found, waveforms, strict=True)
        ]

    def stream(self) -> EncodeStream:
        """Encode a recording while it comes: `with codec.stream() as s`, then `s.push(samples)` for
        the codes that are complete, and `s.finish()` for the rest. `Codes.join` of all of them is
        what `encode` gives for the whole. Memory is bounded for codecs with chunks or pieces; one
        that takes recordings whole holds the samples until the end."""
        return EncodeStream(self)

    def decode(self, codes: Codes) -> Waveform:
        """Decode one recording, or a stretch of one: float32 `[channels, num_samples]`, exactly as
        long as the original.

        Raises:
            ShapeError: codes of another codec: other weights, more codebooks, other chunks, codes
                out of range.
            RecordingError: the decoded audio is not finite (ENCODER).
        """
        blocks = [finite(block) for block in self.decode_stream(codes)]
        return Waveform(np.concatenate(blocks, axis=1), self.sample_rate)

    def decode_batch(self, codes: Sequence[Codes]) -> list[Waveform]:
        """Decode many recordings, side by side; the same as `decode` gives for each, but for
        rounding."""
        for one in codes:
            require_codes(one, self.spec)
        parts = [parted(one, self.spec) for one in codes]
        decoded = decoded_together(self, parts, [one.num_samples for one in codes])
        return [Waveform(samples, self.sample_rate) for samples in decoded]

    def decode_stream(self, codes: Codes) -> Iterator[NDArray[np.float32]]:
        """The same as `decode` in blocks float32 `[channels, n]`, with memory bounded by a batch of
        chunks, or a piece; a codec that takes recordings whole gives one block. What is no number
        comes through: an audit measures that too."""
        require_codes(codes, self.spec)
        return decoded_blocks(self, parted(codes, self.spec), codes.num_samples)

    def decode_codes(
        self, generated: Generated, scales: Any = None, *, num_samples: int | None = None
    ) -> Any:
        """Decode what a language model sampled: `[n_q, T]` to a `Waveform`, or `[B, n_q, T]` to a
        list of them. Nothing but the codes must be known: chunks are those that `T` frames fill,
        one after the other.

        Args:
            generated: NumPy array or tensor of any integer dtype, on any device, without special
                tokens; fewer codebooks than the codec has are fine.
            scales: for a codec that divides by them: one number for all, one a chunk `[chunks]`, or
                of a batch one a recording `[B]` or `[B, chunks]`. None is `default_scale`; a
                corpus' own is `CodesDataset.median_scale`.
            num_samples: length that is wanted; None is that of all frames.

        Raises:
            ShapeError: no integers, another shape, a code that is not in its codebook (the message
                says where), scales that fit nothing.
        """
        return decoded_generated(self, generated, scales, num_samples)

    def _require(self, waveform: Waveform) -> None:
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
