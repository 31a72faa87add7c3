"""A codec for tests that takes recordings in pieces and has all that makes pieces hard: a recursion
without an end, look-ahead, frames that wait; in NumPy, in microseconds, bit for bit the same
however a recording is cut."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tokenizer.chunking import frames_of
from tokenizer.codecs.base import ChunkCodes, Codec, CodecSpec
from tokenizer.codecs.pieces import CodedPiece, Piece, PieceCodes, PieceSamples
from tokenizer.codecs.registry import Builtin
from tokenizer.errors import ShapeError

HOP, RATE, LEVELS, STEPS = 80, 8_000, 3, 64
POLE = 0.9


def lag_spec(bandwidth: float = 1.8) -> CodecSpec:
    return CodecSpec(
        codec="lag",
        revision=None,
        weights_sha256="none",
        bandwidth=bandwidth,
        n_q=LEVELS,
        codebook_size=STEPS,
        sample_rate=RATE,
        channels=1,
        frame_length=HOP,
        chunk_length=None,
        chunk_stride=None,
        has_scales=False,
        device="none",
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Heard:
    """Between two pieces of samples."""

    memory: float = 0.0
    """what the leaky sum has come to"""
    sums: tuple[float, ...] = ()
    """of the frame that waits for the next one, if there is one"""
    rest: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    """samples of a frame that is not complete"""


class LagCodec(Codec):
    """A frame is what a leaky sum has come to in it, beside what it comes to in the next one."""

    def __init__(self, piece_length: int | None = 800, batch_chunks: int = 4) -> None:
        self.spec = lag_spec()
        self.piece_length = piece_length
        self.batch_chunks = batch_chunks
        self.longest = 0
        """samples of the longest piece so far"""
        self.calls: list[int] = []
        """pieces of each call"""

    def encode_chunks(self, chunks: Sequence[NDArray[np.float32]]) -> list[ChunkCodes]:
        return [ChunkCodes(self._encoded(Piece(chunk)).codes, None) for chunk in chunks]

    def decode_chunks(self, chunks: Sequence[ChunkCodes]) -> list[NDArray[np.float32]]:
        return [self._decoded(CodedPiece(chunk.codes)).samples for chunk in chunks]

    def encode_pieces(self, pieces: Sequence[Piece]) -> list[PieceCodes]:
        self.calls.append(len(pieces))
        return [self._encoded(piece) for piece in pieces]

    def decode_pieces(self, pieces: Sequence[CodedPiece]) -> list[PieceSamples]:
        return [self._decoded(piece) for piece in pieces]

    def _encoded(self, piece: Piece) -> PieceCodes:
        samples = piece.samples
        if samples.ndim != 2 or samples.shape[0] != 1 or not samples.shape[1]:
            raise ShapeError(f"a piece must be float32 [1, 1..], not {list(samples.shape)}")
        self.longest = max(self.longest, samples.shape[1])
        state = piece.state or _Heard()
        signal = np.concatenate([state.rest, samples[0]])
        count = frames_of(len(signal), HOP) if piece.last else len(signal) // HOP
        rest = signal[count * HOP :].copy()
        whole = np.pad(signal, (0, max(0, count * HOP - len(signal))))[: count * HOP]
        sums, memory = list(state.sums), state.memory
        for mean in whole.reshape(-1, HOP).astype(np.float64).sum(axis=1) / HOP:
            memory = POLE * memory + float(mean)
            sums.append(memory)
        values = np.array(sums)
        following = np.append(values[1:], 0.0) if piece.last else values[1:]
        codes = _quantised(0.75 * values[: len(following)] + 0.25 * following)
        left = None if piece.last else _Heard(memory, tuple(sums[-1:]), rest)
        return PieceCodes(codes, left)

    def _decoded(self, piece: CodedPiece) -> PieceSamples:
        """Lines from each frame's value to the next one's; the value that waits is the state."""
        values = _values(piece.codes)
        if piece.state is not None:
            values = np.concatenate([[piece.state], values])
        ends = np.append(values[1:], values[-1:]) if piece.last else values[1:]
        starts = values if piece.last else values[:-1]
        ramp = np.arange(HOP) / HOP
        lines = starts[:, None] * (1 - ramp) + ends[:, None] * ramp
        samples = lines.reshape(1, -1).astype(np.float32)
        return PieceSamples(samples, None if piece.last else float(values[-1]))


def _quantised(values: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Residual quantisation in steps that get finer by 64 a level."""
    left, codes = np.clip(values, -1.0, 1.0), []
    for level in range(LEVELS):
        step = 2.0 / STEPS ** (level + 1)
        index = np.clip(np.floor(left / step) + STEPS // 2, 0, STEPS - 1)
        codes.append(index.astype(np.uint16))
        left = left - (index - STEPS // 2) * step - step / 2
    return np.stack(codes)


def _values(codes: NDArray[np.uint16]) -> NDArray[np.float64]:
    values = np.zeros(codes.shape[1])
    for level, indices in enumerate(codes):
        step = 2.0 / STEPS ** (level + 1)
        values += (indices.astype(np.float64) - STEPS // 2) * step + step / 2
    return values


def _describe(*_: object) -> CodecSpec:
    return lag_spec()


def _load(*_: object) -> Codec:
    return LagCodec(piece_length=8_000, batch_chunks=4)


def _load_whole(*_: object) -> Codec:
    return LagCodec(piece_length=None)


LAG, WHOLE = Builtin(_describe, _load), Builtin(_describe, _load_whole)
"""in pieces, and one that takes recordings whole"""


def as_plugin(folder: Path) -> str:
    """Install it in a folder, for processes with the returned PYTHONPATH."""
    info = folder / "lag-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lag\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[codecshards.codecs]\nlag = lag_codec:LAG\n")
    return os.pathsep.join(
        [str(folder), str(Path(__file__).parent), str(Path(__file__).parents[1])]
    )
