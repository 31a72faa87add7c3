"""EnCodecs without chunks: recordings of any length, piece by piece, in memory that does not grow
with them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.codecs.base import ChunkCodes
from tokenizer.codecs.encodec.arithmetic import exact_float32
from tokenizer.codecs.encodec.networks import Network, check_finite
from tokenizer.codecs.encodec.reference import ReferenceModules
from tokenizer.codecs.encodec.streams.reach import LEAST_FRAMES
from tokenizer.codecs.encodec.streams.stack import (
    ReferenceLstm,
    Stack,
    StackState,
    layers_run,
    make_stack,
    parts_of,
)
from tokenizer.codecs.pieces import CodedPiece, Piece, PieceCodes, PieceSamples

PIECE_SECONDS = 20
"""of a piece of a long recording: an LSTM in segments gains by length"""
REFERENCE_WINDOW = 40
"""frames that the reference is run on at a time. With the frames around them these are lengths for
which oneDNN rounds as it does a whole recording, with one thread and with two; multiples of 64 are
not"""


@dataclass(frozen=True, slots=True, eq=False)
class EncodingState:
    """What is remembered of a recording that is being encoded."""

    stack: StackState
    squares: float = 0.0
    """sum of the squares of all frames so far"""
    frames: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """One recording's new frames."""

    piece: Piece
    before: EncodingState
    after: EncodingState
    frames: torch.Tensor
    """float32 `[n, dim]`"""
    rms: float
    """of all frames so far, or of these if that is more"""
    trace: Any
    """the LSTM's states along them, see `Stack.advance`"""


def streams(config: Any) -> bool:
    """Whether a configuration is of a codec that can go piece by piece: without chunks, and without
    a normalisation that needs the whole recording."""
    whole = config.chunk_length is None and not config.normalize
    return whole and config.norm_type == "weight_norm"


class PieceNetwork(Network):
    """Pieces of recordings, and whole ones, to codes and back."""

    def __init__(self, model: Any, modules: ReferenceModules, n_q: int) -> None:
        """`modules` are the model's."""
        self._model, self._modules, self.n_q = model, modules, n_q
        config = model.config
        self._channels, self._device = int(config.audio_channels), next(model.parameters()).device
        frames = max(PIECE_SECONDS * int(config.sampling_rate) // int(config.hop_length), 1)
        self._frames = frames
        self.piece_length: int = frames * int(config.hop_length)
        self._encoder, self._decoder = self._stacks()

    @abstractmethod
    def _stacks(self) -> tuple[Stack, Stack]:
        """The model's encoder and decoder.

        Raises:
            UnknownLayer: the model has layers that this cannot run.
        """

    @abstractmethod
    def _codes(self, encoded: Sequence[Encoded]) -> list[torch.Tensor]:
        """int64 `[n_q, n]` of each recording's new frames, of which there is at least one."""

    def encode_pieces(self, pieces: Sequence[Piece]) -> list[PieceCodes]:
        """As `tokenizer.codecs.base.Codec.encode_pieces`."""
        with torch.inference_mode(), exact_float32():
            begin = EncodingState(self._encoder.begin(self._channels))
            before: list[EncodingState] = [piece.state or begin for piece in pieces]
            stacks, frames, traces = self._encoder.advance(
                [state.stack for state in before],
                [np.ascontiguousarray(piece.samples.T) for piece in pieces],
                [piece.last for piece in pieces],
            )
            encoded = [
                _measured(piece, state, stack, new, trace)
                for piece, state, stack, new, trace in zip(
                    pieces, before, stacks, frames, traces, strict=True
                )
            ]
            some = [one for one in encoded if len(one.frames)]
            check_finite(all(bool(torch.isfinite(one.frames).all()) for one in some))
            codes = iter(self._codes(some) if some else [])
        none = np.zeros((self.n_q, 0), np.uint16)
        return [
            PieceCodes(
                next(codes).numpy().astype(np.uint16) if len(one.frames) else none,
                None if one.piece.last else one.after,
            )
            for one in encoded
        ]

    def decode_pieces(self, pieces: Sequence[CodedPiece]) -> list[PieceSamples]:
        """As `tokenizer.codecs.base.Codec.decode_pieces`."""
        with torch.inference_mode(), exact_float32():
            found = [self._embedded(piece.codes) for piece in pieces]
            begin = self._decoder.begin(self._model.config.hidden_size)
            states: list[StackState] = [piece.state or begin for piece in pieces]
            after, samples, _ = self._decoder.advance(states, found, [one.last for one in pieces])
        none = np.zeros((self._channels, 0), np.float32)
        return [
            PieceSamples(
                np.ascontiguousarray(rows.numpy().T) if len(rows) else none,
                None if piece.last else state,
            )
            for piece, state, rows in zip(pieces, after, samples, strict=True)
        ]

    def encode(self, chunks: Sequence[NDArray[np.float32]]) -> list[ChunkCodes]:
        found: list[list[NDArray[np.uint16]]] = [[] for _ in chunks]
        states: list[Any] = [None] * len(chunks)
        longest = max((chunk.shape[1] for chunk in chunks), default=0)
        for begin in range(0, longest, self.piece_length):
            end = begin + self.piece_length
            there = [i for i, chunk in enumerate(chunks) if begin < chunk.shape[1]]
            pieces = [
                Piece(chunks[i][:, begin:end], states[i], end >= chunks[i].shape[1]) for i in there
            ]
            for i, one in zip(there, self.encode_pieces(pieces), strict=True):
                found[i].append(one.codes)
                states[i] = one.state
        return [ChunkCodes(np.concatenate(parts, axis=1), None) for parts in found]

    def decode(self, chunks: Sequence[ChunkCodes]) -> list[NDArray[np.float32]]:
        found: list[list[NDArray[np.float32]]] = [[] for _ in chunks]
        states: list[Any] = [None] * len(chunks)
        longest = max((chunk.codes.shape[1] for chunk in chunks), default=0)
        for begin in range(0, longest, self._frames):
            end = begin + self._frames
            there = [i for i, chunk in enumerate(chunks) if begin < chunk.codes.shape[1]]
            pieces = [
                CodedPiece(
                    chunks[i].codes[:, begin:end], states[i], end >= chunks[i].codes.shape[1]
                )
                for i in there
            ]
            for i, one in zip(there, self.decode_pieces(pieces), strict=True):
                found[i].append(one.samples)
                states[i] = one.state
        return [np.concatenate(parts, axis=1) for parts in found]

    def _embedded(self, codes: NDArray[np.uint16]) -> NDArray[np.float32]:
        """float32 `[frames, dim]`."""
        there = torch.from_numpy(codes.astype(np.int64)).to(self._device)
        rows: NDArray[np.float32] = self._modules.dequantize(there[:, None])[0].t().cpu().numpy()
        return rows


class ReferencePieces(PieceNetwork):
    """transformers' own modules on windows, on any device."""

    def _stacks(self) -> tuple[Stack, Stack]:
        return self._stack(self._model.encoder, False), self._stack(self._model.decoder, True)

    def _stack(self, module: Any, decodes: bool) -> Stack:
        before, lstm, after = parts_of(module)
        runs = (layers_run(before, self._device), layers_run(after, self._device))
        return make_stack(
            module,
            runs,
            ReferenceLstm(lstm),
            self._model.config,
            decodes=decodes,
            window=REFERENCE_WINDOW,
        )

    def _codes(self, encoded: Sequence[Encoded]) -> list[torch.Tensor]:
        return [self._one(one) for one in encoded]

    def _one(self, encoded: Encoded) -> torch.Tensor:
        frames, count = encoded.frames, len(encoded.frames)
        whole = encoded.piece.state is None and encoded.piece.last
        if count < LEAST_FRAMES and not whole:  # products of few rows are rounded differently
            frames = frames.repeat(-(-LEAST_FRAMES // count), 1)
        there = frames.t()[None].contiguous().to(self._device)
        return self._modules.quantize(there, self.n_q)[:, 0, :count].cpu()


def _measured(
    piece: Piece, before: EncodingState, stack: StackState, frames: torch.Tensor, trace: Any
) -> Encoded:
    if not len(frames):
        return Encoded(piece, before, replace(before, stack=stack), frames, 0.0, trace)
    squares = float(frames.double().square().mean(1).sum())
    after = EncodingState(stack, before.squares + squares, before.frames + len(frames))
    mean = max(after.squares / after.frames, squares / len(frames))
    return Encoded(piece, before, after, frames, mean**0.5, trace)
