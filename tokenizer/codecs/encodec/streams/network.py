"""EnCodecs without chunks: recordings of any length, piece by piece, in memory that does not grow
with them."""

from __future__ import annotations

from collections.abc import Sequence
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
    layers_run,
    make_stack,
    parts_of,
)
from tokenizer.codecs.pieces import CodedPiece, Piece, PieceCodes, PieceSamples

PIECE_SECONDS = 20
"""of a piece of a long recording: an LSTM in segments gains by length"""
LEAST_HOP = 16
"""samples of a frame"""
REFERENCE_WINDOW = 60
"""frames that the reference is run on at a time: what lies between its layers then stays in a
core's cache"""
WINDOW_ON_A_GPU = 600
"""likewise, where every window costs a hundred launches"""


def streams(config: Any) -> bool:
    """Whether a configuration is of a codec that can go piece by piece: without chunks, without a
    normalisation that needs the whole recording, and without padding that takes its beginning from
    its end. Of frames of a few samples (6, 15) windows were found to be rounded otherwise than all,
    and none is published."""
    if config.hop_length < LEAST_HOP:
        return False
    whole = config.chunk_length is None and not config.normalize
    return whole and config.norm_type == "weight_norm" and config.pad_mode != "circular"


class PieceNetwork(Network):
    """transformers' own modules on windows, on any device: its very codes, as on a CPU neither the
    place nor the length of a signal changes how they round."""

    def __init__(self, model: Any, modules: ReferenceModules, n_q: int) -> None:
        """`modules` are the model's.

        Raises:
            UnknownLayer: the model has layers that this cannot run.
        """
        self._model, self._modules, self.n_q = model, modules, n_q
        config = model.config
        self._channels, self._device = int(config.audio_channels), next(model.parameters()).device
        frames = max(PIECE_SECONDS * int(config.sampling_rate) // int(config.hop_length), 1)
        self._frames = frames
        self.piece_length: int = frames * int(config.hop_length)
        self._encoder = self._reference_stack(model.encoder, decodes=False)
        self._decoder = self._decoder_stack()

    def _reference_stack(self, module: Any, decodes: bool) -> Stack:
        before, lstm, after = parts_of(module)
        return make_stack(
            module,
            (layers_run(before, self._device), layers_run(after, self._device)),
            ReferenceLstm(lstm),
            self._model.config,
            decodes=decodes,
            alike=REFERENCE_WINDOW if self._device.type == "cpu" else WINDOW_ON_A_GPU,
        )

    def _decoder_stack(self) -> Stack:
        return self._reference_stack(self._model.decoder, decodes=True)

    def encode_pieces(self, pieces: Sequence[Piece]) -> list[PieceCodes]:
        """As `tokenizer.codecs.base.Codec.encode_pieces`."""
        with torch.inference_mode(), exact_float32():
            begin = self._encoder.begin(self._channels)
            after, frames, _ = self._encoder.advance(
                [begin if piece.state is None else piece.state for piece in pieces],
                [np.ascontiguousarray(piece.samples.T) for piece in pieces],
                [piece.last for piece in pieces],
            )
            check_finite(all(bool(torch.isfinite(one).all()) for one in frames))
            codes = [self._codes(piece, one) for piece, one in zip(pieces, frames, strict=True)]
        return [
            PieceCodes(one, None if piece.last else state)
            for piece, state, one in zip(pieces, after, codes, strict=True)
        ]

    def _codes(self, piece: Piece, frames: torch.Tensor) -> NDArray[np.uint16]:
        count = len(frames)
        if not count:
            return np.zeros((self.n_q, 0), np.uint16)
        whole = piece.state is None and piece.last
        if count < LEAST_FRAMES and not whole:  # products of few rows are rounded differently
            frames = frames.repeat(-(-LEAST_FRAMES // count), 1)
        there = frames.t()[None].contiguous().to(self._device)
        found = self._modules.quantize(there, self.n_q)[:, 0, :count].cpu().numpy()
        return found.astype(np.uint16)

    def decode_pieces(self, pieces: Sequence[CodedPiece]) -> list[PieceSamples]:
        """As `tokenizer.codecs.base.Codec.decode_pieces`."""
        with torch.inference_mode(), exact_float32():
            found = [self._embedded(piece.codes) for piece in pieces]
            begin = self._decoder.begin(self._model.config.hidden_size)
            states = [begin if piece.state is None else piece.state for piece in pieces]
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
