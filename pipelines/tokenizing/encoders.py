"""Something that turns batches of chunks into codes, later: in this process, or on an actor that
holds a GPU."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.system.blame import Death
from tokenizer.codecs.base import ChunkCodes, Codec, CodecSpec
from tokenizer.codecs.pieces import CodedPiece, Piece, PieceCodes, PieceSamples

Chunk = NDArray[np.float32]
"""float32 `[channels, n]`"""
Batch = Sequence[Chunk] | Sequence[Piece]
"""of one kind: chunks and whole recordings, or pieces of recordings"""
Coded = Sequence[ChunkCodes] | Sequence[CodedPiece]
"""the same on the way back"""


class EncoderLost(Exception):
    """The process that had a batch died; `death` says how. The batch may be submitted again."""

    def __init__(self, death: Death) -> None:
        super().__init__(f"an encoder's process died of {death.what}")
        self.death = death


class Encoder(Protocol):
    """Takes batches, gives tickets, and redeems each ticket once."""

    batch_chunks: int
    """chunks that make a full batch"""

    @property
    def piece_length(self) -> int | None:
        """The codec's."""

    window: int
    """batches worth having under way at once"""
    lanes: int
    """batches that are computed side by side, where the last chunks of a shard are better shared
    out"""
    busy: float
    """seconds of encoding, over all batches that were redeemed; those on several devices at once
    all count"""

    def submit(self, batch: Batch) -> Any:
        """Start on a batch; returns a ticket."""

    def result(self, ticket: Any) -> list[Any]:
        """Wait for a batch: `ChunkCodes` of chunks, `PieceCodes` of pieces.

        Raises:
            RecordingError: a chunk that the codec refuses.
            EncoderLost: its process died.
        """

    def decode(self, coded: Coded) -> list[Any]:
        """Decode as `Codec.decode_chunks` or `decode_pieces` does, behind the batches that are
        under way.

        Raises:
            RecordingError: they cannot be decoded, or decoding them killed the process.
        """


class LocalEncoder:
    """A codec in this process, on a thread of its own so that reading goes on while it computes."""

    window = 2
    lanes = 1

    def __init__(self, codec: Codec, batch_chunks: int) -> None:
        self.batch_chunks = batch_chunks
        self.busy = 0.0
        self._codec = codec
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")

    @property
    def piece_length(self) -> int | None:
        return self._codec.piece_length

    def submit(self, batch: Batch) -> Future[tuple[list[Any], float]]:
        return self._thread.submit(clocked_encode, self._codec, list(batch))

    def result(self, ticket: Future[tuple[list[Any], float]]) -> list[Any]:
        codes, seconds = ticket.result()
        self.busy += seconds
        return codes

    def decode(self, coded: Coded) -> list[Any]:
        return self._thread.submit(decode_batch, self._codec, list(coded)).result()

    def close(self) -> None:
        """Finish the batch under way and end the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)


class EncoderCodec(Codec):
    """The codec that an encoder holds, wherever that is."""

    def __init__(self, encoder: Encoder, spec: CodecSpec) -> None:
        self.spec = spec
        self.batch_chunks = encoder.batch_chunks
        self._encoder = encoder
        if spec.chunk_length is None:
            self.piece_length = encoder.piece_length

    def encode_chunks(self, chunks: Sequence[Chunk]) -> list[ChunkCodes]:
        return self._encoder.result(self._encoder.submit(chunks))

    def decode_chunks(self, chunks: Sequence[ChunkCodes]) -> list[Chunk]:
        return self._encoder.decode(chunks)

    def encode_pieces(self, pieces: Sequence[Piece]) -> list[PieceCodes]:
        return self._encoder.result(self._encoder.submit(pieces))

    def decode_pieces(self, pieces: Sequence[CodedPiece]) -> list[PieceSamples]:
        return self._encoder.decode(pieces)


def clocked_encode(codec: Codec, batch: Sequence[Any]) -> tuple[list[Any], float]:
    """The codes of a batch, and the seconds that they took."""
    began = time.perf_counter()
    codes: list[Any]
    if batch and isinstance(batch[0], Piece):
        codes = codec.encode_pieces(batch)
    else:
        codes = codec.encode_chunks(batch)
    return codes, time.perf_counter() - began


def decode_batch(codec: Codec, coded: Sequence[Any]) -> list[Any]:
    """The samples of a batch of codes."""
    if coded and isinstance(coded[0], CodedPiece):
        return codec.decode_pieces(coded)
    return codec.decode_chunks(coded)


def warm_up(codec: Codec) -> None:
    """Have a codec do once what only its first batch needs: compiled code is loaded, buffers are
    made.

    Not where codes are compared with exact ones from the first batch on: these must be of the
    corpus.
    """
    if codec.spec.precision != "exact" or codec.spec.chunk_length is None:
        return
    noise = np.random.default_rng(0).standard_normal(
        (codec.channels, codec.spec.chunk_length), np.float32
    )
    codec.encode_chunks([np.float32(0.1) * noise])
