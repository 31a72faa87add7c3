"""Mimi through transformers' `MimiModel`: any causal checkpoint of that class.

The truth is `MimiModel.encode` on one recording alone, unpadded. A recording is computed in blocks
of some twenty seconds that begin at multiples of that, however it is handed over: samples wait
until their block is complete. So the same recording in other pieces has the same codes, bit for
bit, and one that is no longer than a block is encoded as a whole; on a GPU, up to ten seconds,
together with others (`tokenizer.codecs.mimi.gpu`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.chunking import in_groups
from tokenizer.codecs.base import CodecSpec
from tokenizer.codecs.devices import batch_chunks, device_kind
from tokenizer.codecs.encodec.arithmetic import exact_float32
from tokenizer.codecs.encodec.gpu.whole import WholeBatches
from tokenizer.codecs.encodec.networks import UnknownLayer
from tokenizer.codecs.flow.piecewise import PiecewiseCodec
from tokenizer.codecs.mimi.fast import SegmentedMimi
from tokenizer.codecs.mimi.gpu import whole_recordings
from tokenizer.codecs.mimi.halves import EncoderHalf
from tokenizer.codecs.mimi.network import Block, CodedBlock, MimiNetwork
from tokenizer.codecs.mimi.states import DecoderState, EncoderState, Floats, Passed
from tokenizer.codecs.mimi.transformer import KEYS
from tokenizer.codecs.pieces import CodedPiece, Piece, PieceCodes, PieceSamples
from tokenizer.codecs.weights import load_pretrained

BATCHED_SECONDS = 10
"""of a recording: longer ones fill a GPU by themselves"""


class MimiCodec(PiecewiseCodec):
    """A Mimi checkpoint with so many of its codebooks, on one device."""

    def __init__(self, folder: Path, spec: CodecSpec, device: str, reference: bool = False) -> None:
        """Load the weights in `folder` (written by `save_pretrained`) for a spec made from its
        configuration. With `reference`, transformers' own modules compute."""
        from transformers import MimiModel

        self.spec = spec
        self.batch_chunks = batch_chunks(device)
        model = load_pretrained(MimiModel, folder, torch.device(device))
        stride = int(EncoderHalf.of(model).downsample.conv.stride[0])
        self.piece_length = KEYS // gcd(KEYS, stride) * spec.frame_length
        self._longest = round(BATCHED_SECONDS * spec.frame_rate) * spec.frame_length
        self._network = open_network(model, spec.n_q, reference)
        self._batches: WholeBatches | None = None
        if device_kind(device) != "cpu" and not reference:
            with suppress(UnknownLayer):  # an architecture that only transformers runs
                self._batches = self._open_batches(model)

    def _open_batches(self, model: Any, rows: tuple[int, ...] | None = None) -> WholeBatches:
        return whole_recordings(
            model,
            self.spec.n_q,
            longest=self._longest,
            hop=self.spec.frame_length,
            rows=rows,
        )

    def encode_pieces(self, pieces: Sequence[Piece]) -> list[PieceCodes]:
        tracks = [_Track(self._checked(piece), self._block_length) for piece in pieces]
        with torch.inference_mode(), exact_float32():
            while waiting := [track for track in tracks if track.has_block]:
                for group in in_groups(len(waiting), self.batch_chunks):
                    self._encode(waiting[group])
        return [track.result(self.spec.n_q) for track in tracks]

    def decode_pieces(self, pieces: Sequence[CodedPiece]) -> list[PieceSamples]:
        checked = [self._checked_codes(piece) for piece in pieces]
        with torch.inference_mode(), exact_float32():
            return [self._decode(piece) for piece in checked]

    @property
    def _block_length(self) -> int:
        return self.piece_length or self.spec.frame_length

    def _encode(self, tracks: Sequence[_Track]) -> None:
        """One block of each."""
        blocks = [track.block() for track in tracks]
        whole = [i for i, one in enumerate(blocks) if self._is_whole(one)]
        if self._batches is not None and whole:
            codes = self._batches.encode([blocks[i].samples for i in whole])
            for i, found in zip(whole, codes, strict=True):
                tracks[i].take(CodedBlock(torch.from_numpy(found.astype(np.int64)), None))
        left = [i for i in range(len(blocks)) if self._batches is None or i not in whole]
        coded = self._network.encode([blocks[i] for i in left])
        for i, one in zip(left, coded, strict=True):
            tracks[i].take(one)

    def _is_whole(self, block: Block) -> bool:
        short = block.samples.shape[1] <= self._longest
        return block.passed is None and block.last and short

    def _decode(self, piece: CodedPiece) -> PieceSamples:
        state: DecoderState | None = piece.state
        codes = torch.from_numpy(piece.codes.astype(np.int64)).to(self._network.device)
        parts = []
        for frames in in_groups(codes.shape[1], self._block_length // self.spec.frame_length):
            last = piece.last and frames.stop == codes.shape[1]
            samples, state = self._network.decode(codes[:, frames], state, last)
            parts.append(samples.cpu().numpy())
        return PieceSamples(np.concatenate(parts, axis=1), state)


def open_network(model: Any, n_q: int, reference: bool = False) -> MimiNetwork:
    """The fastest network for a model on its device whose codes are transformers'."""
    on_cpu = next(model.parameters()).device.type == "cpu"
    if on_cpu and not reference:
        with suppress(UnknownLayer):  # an architecture that only transformers runs
            return SegmentedMimi(model, n_q)
    return MimiNetwork(model, n_q)


class _Track:
    """One recording's piece on its way through blocks."""

    def __init__(self, piece: Piece, length: int) -> None:
        state: EncoderState | None = piece.state
        self._passed: Passed | None = None if state is None else state.passed
        parts: list[Floats] = [] if state is None else [state.waiting]
        self._samples = np.concatenate([*parts, piece.samples], axis=1)
        self._length, self._last, self._done = length, piece.last, 0
        self._codes: list[NDArray[np.uint16]] = []

    @property
    def has_block(self) -> bool:
        left = self._samples.shape[1] - self._done
        # A block that may be the recording's last waits until that is known.
        return left > self._length or (self._last and left > 0)

    def block(self) -> Block:
        stop = min(self._done + self._length, self._samples.shape[1])
        last = self._last and stop == self._samples.shape[1]
        return Block(self._samples[:, self._done : stop], self._passed, last)

    def take(self, coded: CodedBlock) -> None:
        """What became of `block`."""
        self._codes.append(coded.codes.cpu().numpy().astype(np.uint16))
        self._passed = coded.passed
        self._done = min(self._done + self._length, self._samples.shape[1])

    def result(self, n_q: int) -> PieceCodes:
        codes = np.concatenate([np.zeros((n_q, 0), np.uint16), *self._codes], axis=1)
        if self._last:
            return PieceCodes(codes, None)
        return PieceCodes(codes, EncoderState(self._samples[:, self._done :].copy(), self._passed))
