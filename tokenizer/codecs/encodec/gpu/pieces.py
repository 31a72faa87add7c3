"""EnCodecs without chunks on a GPU: recordings of up to 20 s whole, in batches of fixed shapes;
longer ones piece by piece, by transformers' own modules.

A recording waits until it has ended or is known to be longer, so that its codes do not depend on
how it is handed over. One that is longer is not batched: what an LSTM remembers of it never forgets
how its beginning was rounded, and no part of it settles a near tie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.codecs.encodec.gpu.batched import EncodeWork
from tokenizer.codecs.encodec.gpu.whole import AloneWork, RowsWork, WholeBatches
from tokenizer.codecs.encodec.reference import ReferenceModules
from tokenizer.codecs.encodec.streams.network import PieceNetwork
from tokenizer.codecs.pieces import Piece, PieceCodes, State


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A recording that may yet be a short one."""

    samples: NDArray[np.float32]
    """float32 `[channels, n]`: all of it so far"""


class BatchedPieces(PieceNetwork):
    """Threads may share it."""

    def __init__(
        self,
        model: Any,
        modules: ReferenceModules,
        n_q: int,
        rows: tuple[int, ...] | None = None,
    ) -> None:
        """`modules` are the model's and do not look at the device; `rows` as `WholeBatches`.

        Raises:
            UnknownLayer: the model has layers that this cannot run.
        """
        super().__init__(model, modules, n_q)
        self._short = WholeBatches(
            EncodeRows(model, n_q),
            EncodeAlone(modules, n_q, self._channels),
            self._device,
            longest=self.piece_length,
            hop=int(model.config.hop_length),
            rows=rows,
            channels=int(model.config.num_filters),
        )

    def encode_pieces(self, pieces: Sequence[Piece]) -> list[PieceCodes]:
        joined = [_joined(piece) for piece in pieces]
        results: dict[int, PieceCodes] = {}
        whole: list[int] = []
        for i, piece in enumerate(joined):
            if piece.state is None and self._may_be_short(piece):
                if piece.last:
                    whole.append(i)
                else:
                    nothing = np.zeros((self.n_q, 0), np.uint16)
                    results[i] = PieceCodes(nothing, Waiting(piece.samples))
        for i, codes in zip(
            whole, self._short.encode([joined[i].samples for i in whole]), strict=True
        ):
            results[i] = PieceCodes(codes, None)
        self.repeated = self._short.repeated
        longer = [i for i in range(len(pieces)) if i not in results]
        results.update(zip(longer, super().encode_pieces([joined[i] for i in longer]), strict=True))
        return [results[i] for i in range(len(pieces))]

    def _may_be_short(self, piece: Piece) -> bool:
        """Of what is known of a recording."""
        least = piece.samples.shape[1] + (0 if piece.last else 1)
        return bool(least <= self.piece_length)


def _joined(piece: Piece) -> Piece:
    """With the samples that have waited, in memory of its own where these go on waiting."""
    state: State = piece.state
    if isinstance(state, Waiting):
        return Piece(np.concatenate([state.samples, piece.samples], axis=1), None, piece.last)
    if state is None and not piece.last:
        return Piece(piece.samples.copy(), None, False)
    return piece


class EncodeRows(RowsWork):
    """A batch, by masked layers."""

    def __init__(self, model: Any, n_q: int) -> None:
        """
        Raises:
            UnknownLayer: the model has layers that this cannot run.
        """
        self.channels = int(model.config.audio_channels)
        self._encode = EncodeWork(model, n_q, exact=True)

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        codes, _, finite, near = self._encode(*inputs)
        return codes, finite, near


class EncodeAlone(AloneWork):
    """A recording, by transformers' modules."""

    def __init__(self, modules: ReferenceModules, n_q: int, channels: int) -> None:
        self.channels, self._modules, self._n_q = channels, modules, n_q

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        embeddings = self._modules.encoder(inputs[0])
        codes = self._modules.quantize(embeddings, self._n_q)
        return codes.to(torch.int32), torch.isfinite(embeddings).all()
