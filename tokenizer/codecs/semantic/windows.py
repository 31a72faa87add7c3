"""Signals of any length through a network that sees all of it at once: whole up to a limit, beyond
it in windows.

Attention makes every code depend on the whole signal, so that a long one has no codes but those of
a stated way to cut it. Windows have one length, but for the last; of what two of them share, each
gives up the outer half:

    window 1   [━━━━━━━━━━━━━━━━━━━┄┄┄]
    window 2                    [┄┄┄━━━━━━━━━━━━━┄┄┄]
    window 3                                  [┄┄┄━━━━━━━━━]

    ━ kept   ┄ context, kept from the neighbour

Where the windows lie follows from the length alone, so that it does not matter in which pieces a
signal comes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tokenizer.codecs.base import ChunkCodes, Codec
from tokenizer.codecs.devices import device_kind
from tokenizer.codecs.encodec.gpu.whole import WholeBatches
from tokenizer.codecs.encodec.networks import UnknownLayer
from tokenizer.codecs.pieces import CodedPiece, Piece, PieceCodes, PieceSamples
from tokenizer.codecs.semantic.gpu.classes import BATCH_PIECES
from tokenizer.errors import ShapeError

Number = TypeVar("Number", np.float32, np.uint16)


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A part of a signal that goes through the network at once."""

    values: NDArray[np.float32] | NDArray[np.uint16]
    """`[rows, n]`"""
    before: int
    """of the n: context in front, kept from the window before"""
    after: int
    """likewise behind"""


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """What of a signal waits for what follows it; never changed."""

    values: NDArray[np.float32] | NDArray[np.uint16]
    """`[rows, n]`"""
    first: bool
    """it begins with the signal"""


def cut_windows(
    values: NDArray[Number], state: Held | None, last: bool, length: int, context: int
) -> tuple[list[Window], Held | None]:
    """The windows that a signal's next values complete, and what then waits.

    Args:
        values: `[rows, n]`.
        state: what waits so far; None at the signal's beginning.
        last: the signal ends with these values.
        length: of a window.
        context: of which so much at each inner end; less than half.
    """
    held = values if state is None else np.concatenate([state.values, values], axis=1)
    first = state is None or state.first
    found = []
    # Only when there is more than a window is it known not to be the last one.
    while held.shape[1] > length:
        found.append(Window(held[:, :length], 0 if first else context, context))
        held, first = held[:, length - 2 * context :], False
    if last:
        found.append(Window(held, 0 if first else context, 0))
        return found, None
    return found, Held(held.copy(), first)


class WindowedCodec(Codec):
    """A codec whose network sees whole windows: `CodecSpec.window_length` and `window_context`,
    both whole frames."""

    _batches: Sequence[WholeBatches] = ()
    """for windows of up to a length each, which rises; none: windows are encoded one at a time"""

    @abstractmethod
    def encode_window(self, samples: NDArray[np.float32]) -> NDArray[np.uint16]:
        """float32 `[channels, n]` to uint16 `[n_q, frames]`, with `frames_of(n)` frames.

        Raises:
            RecordingError: the codec's output is not finite (ENCODER).
        """

    @abstractmethod
    def decode_window(self, codes: NDArray[np.uint16]) -> NDArray[np.float32]:
        """uint16 `[codebooks, frames]` to float32 `[channels, frames * frame_length]`."""

    def _open(self, model: Any, device: str, reference: bool) -> None:
        """Batches where they are of use: on a GPU, unless transformers' own modules are wanted."""
        if device_kind(device) != "cpu" and not reference and self.spec.precision == "exact":
            with suppress(UnknownLayer):  # an architecture that only transformers runs
                self._batches = self._open_batches(model)
        self.batch_chunks = BATCH_PIECES if self._batches else 1

    @abstractmethod
    def _open_batches(self, model: Any, rows: tuple[int, ...] | None = None) -> list[WholeBatches]:
        """As `window_batches`.

        Raises:
            UnknownLayer: the model has layers that these cannot run.
        """

    @property
    def _window(self) -> tuple[int, int]:
        spec = self.spec
        if spec.window_length is None or spec.window_context is None:
            raise ShapeError(f"codec {spec.codec} has no windows")
        return spec.window_length, spec.window_context

    def encode_chunks(self, chunks: Sequence[NDArray[np.float32]]) -> list[ChunkCodes]:
        found = self.encode_pieces([Piece(chunk) for chunk in chunks])
        return [ChunkCodes(one.codes, None) for one in found]

    def decode_chunks(self, chunks: Sequence[ChunkCodes]) -> list[NDArray[np.float32]]:
        found = self.decode_pieces([CodedPiece(chunk.codes) for chunk in chunks])
        return [one.samples for one in found]

    def encode_pieces(self, pieces: Sequence[Piece]) -> list[PieceCodes]:
        cut = [self._cut(piece) for piece in pieces]
        values = [window.values for windows, _ in cut for window in windows]
        found = iter(self._encode_all([np.ascontiguousarray(one, np.float32) for one in values]))
        return [
            PieceCodes(self._joined([(window, next(found)) for window in windows]), state)
            for windows, state in cut
        ]

    def decode_pieces(self, pieces: Sequence[CodedPiece]) -> list[PieceSamples]:
        return [self._decode(piece) for piece in pieces]

    def _cut(self, piece: Piece) -> tuple[list[Window], Held | None]:
        samples = piece.samples
        if samples.dtype != np.float32 or samples.ndim != 2 or samples.shape[0] != self.channels:
            raise ShapeError(
                f"a piece must be float32 [{self.channels}, n], not "
                f"{samples.dtype}{list(samples.shape)}"
            )
        length, context = self._window
        return cut_windows(samples, piece.state, piece.last, length, context)

    def _encode_all(self, windows: Sequence[NDArray[np.float32]]) -> list[NDArray[np.uint16]]:
        """Windows of any recordings."""
        if not self._batches:
            return [self.encode_window(one) for one in windows]
        found: dict[int, NDArray[np.uint16]] = {}
        for batches in self._batches:
            some = [i for i, one in enumerate(windows) if one.shape[1] <= batches.longest]
            some = [i for i in some if i not in found]
            codes = batches.encode([windows[i] for i in some])
            found.update(zip(some, codes, strict=True))
        return [found[i] for i in range(len(windows))]

    def _joined(self, windows: Sequence[tuple[Window, NDArray[np.uint16]]]) -> NDArray[np.uint16]:
        """What is kept of the codes of windows that follow each other."""
        hop = self.spec.frame_length
        kept = [np.zeros((self.spec.n_q, 0), np.uint16)]
        for window, codes in windows:
            kept.append(codes[:, window.before // hop : codes.shape[1] - window.after // hop])
        return np.concatenate(kept, axis=1)

    def _decode(self, piece: CodedPiece) -> PieceSamples:
        hop = self.spec.frame_length
        length, context = (samples // hop for samples in self._window)
        windows, state = cut_windows(piece.codes, piece.state, piece.last, length, context)
        samples = [np.zeros((self.channels, 0), np.float32)]
        for window in windows:
            found = self.decode_window(np.ascontiguousarray(window.values, np.uint16))
            samples.append(found[:, window.before * hop : found.shape[1] - window.after * hop])
        return PieceSamples(np.concatenate(samples, axis=1), state)
