"""Recordings of any length, handed to a codec piece by piece.

A codec without chunks of its own (`CodecSpec.chunk_length` is None) sees a recording as one signal.
So that its length does not matter, it takes the signal in pieces and goes on where it left off:
what it must remember between two pieces (convolutions' last inputs, an LSTM's state, an attention's
cache, samples that still wait for what follows them) is a value that is handed out and in. A codec
itself remembers nothing, so that pieces of many recordings can share a batch, and any process can
take the next one, or the same one again.

    piece 1 ─▶ codes, state ─┐
    piece 2 ─────────────────┴▶ codes, state ─┐
    piece 3, last ────────────────────────────┴▶ codes

However a recording is cut into pieces, its codes are the same: those of the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

State = Any
"""what a codec remembers of a recording; picklable, never changed once handed out; None before
the first piece"""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """The next samples of one recording."""

    samples: NDArray[np.float32]
    """float32 `[channels, n]`, `n >= 1`"""
    state: State = None
    """as the recording's previous piece left it"""
    last: bool = True
    """the recording ends with it"""


@dataclass(frozen=True, slots=True, eq=False)
class PieceCodes:
    """What a piece of samples brought to light."""

    codes: NDArray[np.uint16]
    """uint16 `[n_q, frames]`: those frames that nothing that follows can change; none, for a short
    piece; after the last piece, all"""
    state: State
    """None after the last piece"""


@dataclass(frozen=True, slots=True, eq=False)
class CodedPiece:
    """The next frames of one recording, to be decoded."""

    codes: NDArray[np.uint16]
    """uint16 `[codebooks, frames]`, `frames >= 1`; fewer codebooks than the codec has are fine"""
    state: State = None
    """as the recording's previous piece left it"""
    last: bool = True
    """the recording ends with it"""


@dataclass(frozen=True, slots=True, eq=False)
class PieceSamples:
    """What a piece of codes sounds like."""

    samples: NDArray[np.float32]
    """float32 `[channels, n]`: those samples that nothing that follows can change; of all pieces
    together, `frames * frame_length` or a little fewer, never fewer than the recording had"""
    state: State
    """None after the last piece"""
