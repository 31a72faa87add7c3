"""EnCodec through transformers' `EncodecModel`: any checkpoint of that class.

The truth is `EncodecModel.encode` on one recording alone, unpadded. This adapter works on chunks:
chunks of many recordings share a batch, partial chunks at their own length, never padded with zeros
(that would dilute their scale and change most of their codes).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.codecs.base import MAX_CHUNK_FRAMES, ChunkCodes, Codec, CodecSpec
from tokenizer.codecs.devices import batch_chunks
from tokenizer.codecs.encodec.checkpoint import load_model
from tokenizer.codecs.encodec.gpu.batched import BatchedNetwork
from tokenizer.codecs.encodec.gpu.direct.usable import agree, usable
from tokenizer.codecs.encodec.gpu.pieces import BatchedPieces
from tokenizer.codecs.encodec.networks import Network, UnknownLayer
from tokenizer.codecs.encodec.probe import Probe
from tokenizer.codecs.encodec.proven import unproven
from tokenizer.codecs.encodec.reference import ReferenceModules, ReferenceNetwork
from tokenizer.codecs.encodec.streams.network import PieceNetwork, streams
from tokenizer.codecs.pieces import CodedPiece, Piece, PieceCodes, PieceSamples
from tokenizer.codecs.precision import PrecisionReport
from tokenizer.errors import ShapeError

BATCH_PIECES = 24
"""of recordings that go side by side on a CPU: so many share a reading of an LSTM's weights"""


class EncodecCodec(Codec):
    """An EnCodec checkpoint at one bandwidth, on one device. Threads may share it, and take
    turns."""

    def __init__(self, folder: Path, spec: CodecSpec, device: str, reference: bool = False) -> None:
        """Load the weights in `folder` (written by `save_pretrained`) for a spec made from its
        configuration.

        With `reference`, transformers' own modules compute, where a faster way to the same codes is
        the default; so they do for checkpoints that this way was not proven on.
        """
        self.spec = spec
        self.batch_chunks = batch_chunks(device)
        place = torch.device(device)
        model = load_model(folder, place)
        # On a GPU every look at it stops it.
        modules = ReferenceModules(model, static=place.type != "cpu" and not reference)
        self._network = open_network(model, modules, spec, reference)
        self._pieces = open_pieces(model, modules, spec, self._network)
        self.piece_length = None if self._pieces is None else self._pieces.piece_length
        if self._pieces is not None and place.type == "cpu":
            self.batch_chunks = BATCH_PIECES
        fast = spec.precision == "fast"
        self._probe = Probe(modules, place, spec.has_scales) if fast else None

    def encode_chunks(self, chunks: Sequence[NDArray[np.float32]]) -> list[ChunkCodes]:
        if not chunks:
            return []
        checked = [self._checked(chunk) for chunk in chunks]
        found = self._network.encode(checked)
        if self._probe is not None:
            self._probe.look(checked, found)
        return found

    def decode_chunks(self, chunks: Sequence[ChunkCodes]) -> list[NDArray[np.float32]]:
        return self._network.decode(chunks)

    def encode_pieces(self, pieces: Sequence[Piece]) -> list[PieceCodes]:
        if self._pieces is None:
            return super().encode_pieces(pieces)
        for piece in pieces:
            self._checked(piece.samples)
        return self._pieces.encode_pieces(pieces)

    def decode_pieces(self, pieces: Sequence[CodedPiece]) -> list[PieceSamples]:
        return (
            super().decode_pieces(pieces)
            if self._pieces is None
            else (self._pieces.decode_pieces(pieces))
        )

    def precision_report(self) -> PrecisionReport | None:
        return None if self._probe is None else self._probe.report

    def _checked(self, chunk: NDArray[np.float32]) -> NDArray[np.float32]:
        whole = MAX_CHUNK_FRAMES * self.spec.frame_length
        longest = self.spec.chunk_length or (whole if self._pieces is None else sys.maxsize)
        fits = (
            chunk.ndim == 2 and chunk.shape[0] == self.channels and 1 <= chunk.shape[1] <= longest
        )
        if not fits or chunk.dtype != np.float32:
            raise ShapeError(
                f"a chunk must be float32 [{self.channels}, 1..{longest}], not "
                f"{chunk.dtype}{list(chunk.shape)}"
            )
        return chunk


def open_network(
    model: Any, modules: ReferenceModules, spec: CodecSpec, reference: bool = False
) -> Network:
    """The fastest network for a model on its device whose codes are known to be transformers'."""
    on_cpu = next(model.parameters()).device.type == "cpu"
    if not reference and not unproven(model.config):
        with suppress(UnknownLayer):  # an architecture that only transformers runs
            if on_cpu:
                # Its kernels need numba, which takes a second to load, and a GPU does without.
                if streams(model.config):
                    from tokenizer.codecs.encodec.streams.tiled import TiledPieces

                    return TiledPieces(model, modules, spec.n_q)
                return open_tiled(model, modules, spec.n_q)
            if spec.chunk_length is not None:
                return open_batched(model, modules, spec.n_q, spec.precision)
            if streams(model.config):
                return BatchedPieces(model, modules, spec.n_q)
    return ReferenceNetwork(model, modules, spec.n_q, spec.precision)


def open_tiled(model: Any, modules: ReferenceModules, n_q: int) -> Network:
    """Chunks on a CPU, full ones with transformers' own bits where its layers are known.

    Raises:
        UnknownLayer: the model has layers that only transformers runs.
    """
    from tokenizer.codecs.encodec.chunks.network import SameNetwork
    from tokenizer.codecs.encodec.cpu.tiled_network import TiledNetwork

    with suppress(UnknownLayer):
        return SameNetwork(model, modules, n_q)
    return TiledNetwork(model, modules, n_q)


def open_batched(
    model: Any,
    modules: ReferenceModules,
    n_q: int,
    precision: str = "exact",
    beside: bool = True,
) -> BatchedNetwork:
    """In batches on a GPU, by kernels of our own where they run; `beside` as `BatchedNetwork`.

    Raises:
        UnknownLayer: the model has layers that only transformers runs.
    """
    plain = BatchedNetwork(model, modules, n_q, precision, beside=beside)
    device = next(model.parameters()).device
    if usable(device):
        with suppress(UnknownLayer):  # sizes that these kernels do not take
            direct = BatchedNetwork(model, modules, n_q, precision, direct=True, beside=beside)
            if agree(direct, plain, device):
                return direct
    return plain


def open_pieces(
    model: Any, modules: ReferenceModules, spec: CodecSpec, network: Network
) -> PieceNetwork | None:
    """What takes recordings piece by piece: the network itself where it can, or transformers'
    modules; None for a codec that cannot go piece by piece."""
    if isinstance(network, PieceNetwork):
        return network
    if streams(model.config):
        with suppress(UnknownLayer):
            return PieceNetwork(model, modules, spec.n_q)
    return None
