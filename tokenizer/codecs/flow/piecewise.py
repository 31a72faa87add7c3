"""Codecs for which a whole recording is a piece like any other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tokenizer.codecs.base import ChunkCodes, Codec
from tokenizer.codecs.pieces import CodedPiece, Piece
from tokenizer.errors import ShapeError


class PiecewiseCodec(Codec):
    """Says what is done with pieces, and needs nothing more for whole recordings."""

    def encode_chunks(self, chunks: Sequence[NDArray[np.float32]]) -> list[ChunkCodes]:
        found = self.encode_pieces([Piece(chunk) for chunk in chunks])
        return [ChunkCodes(one.codes, None) for one in found]

    def decode_chunks(self, chunks: Sequence[ChunkCodes]) -> list[NDArray[np.float32]]:
        found = self.decode_pieces([CodedPiece(chunk.codes) for chunk in chunks])
        return [one.samples for one in found]

    def _checked(self, piece: Piece) -> Piece:
        """
        Raises:
            ShapeError: not float32 `[channels, 1 or more]`.
        """
        samples = piece.samples
        fits = samples.ndim == 2 and samples.shape[0] == self.channels and samples.shape[1] >= 1
        if not fits or samples.dtype != np.float32:
            raise ShapeError(
                f"a piece must be float32 [{self.channels}, 1 or more], not "
                f"{samples.dtype}{list(samples.shape)}"
            )
        return piece

    def _checked_codes(self, piece: CodedPiece) -> CodedPiece:
        """
        Raises:
            ShapeError: not `[1..n_q, 1 or more]`, or a code is outside the codebook.
        """
        shape, spec = piece.codes.shape, self.spec
        if len(shape) != 2 or not 1 <= shape[0] <= spec.n_q or shape[1] < 1:
            raise ShapeError(
                f"a piece of codes must be [1..{spec.n_q}, 1 or more], not {list(shape)}"
            )
        if int(piece.codes.max()) >= spec.codebook_size:
            raise ShapeError(
                f"code {int(piece.codes.max())} is outside the codebook of {spec.codebook_size}"
            )
        return piece
