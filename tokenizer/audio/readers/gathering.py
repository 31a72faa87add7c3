"""FFmpeg's frames to blocks of float32 samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from tokenizer.audio.readers.base import usual_layout

_SAMPLE_TYPES: dict[str, np.dtype[Any]] = {
    "s16": np.dtype(np.int16),
    "s32": np.dtype(np.int32),
    "flt": np.dtype(np.float32),
}
"""packed sample formats, and with a `p` behind them planar ones, that numpy turns into the same
floats as libswresample, for a tenth of its cost a frame"""
_MOST_PLANES = 2
"""channels of a planar frame that are read as they are: beyond 7, PyAV's list of planes runs over
its end"""


class Gathered:
    """Samples of frames as they lie in memory, until there are enough of them to be worth
    converting."""

    def __init__(self, channels: int) -> None:
        self._channels = channels
        # `to_ndarray` on planar audio of many channels crashes the process: packed floats are
        # always safe.
        self._packed = AudioResampler(format="flt")
        self._types = dict(_SAMPLE_TYPES)
        if channels <= _MOST_PLANES:
            self._types |= {f"{name}p": dtype for name, dtype in _SAMPLE_TYPES.items()}
        self._format = ""
        self._held: list[list[NDArray[Any]]] = []
        self._count = 0

    def add(self, frame: Any, enough: int) -> Iterator[NDArray[np.float32]]:
        """Take in a frame; yields a block where `enough` samples per channel have come together."""
        for readable in (
            (frame,) if frame.format.name in self._types else self._packed.resample(frame)
        ):
            if readable.format.name != self._format:
                yield from self.flush()
                self._format = readable.format.name
            self._held.append(self._planes(readable))
            self._count += readable.samples
        if self._count >= enough:
            yield from self.flush()

    def flush(self) -> Iterator[NDArray[np.float32]]:
        """What has been gathered, as one block."""
        if not self._count:
            return
        rows = [np.concatenate(pieces) for pieces in zip(*self._held, strict=True)]
        block = np.empty((self._channels, self._count), np.float32)
        block[...] = rows[0].reshape(-1, self._channels).T if len(rows) < self._channels else rows
        scale = 1.0 if rows[0].dtype.kind == "f" else 2.0 ** (1 - 8 * rows[0].dtype.itemsize)
        self._held, self._count = [], 0
        yield block if scale == 1.0 else np.multiply(block, np.float32(scale), out=block)

    def _planes(self, frame: Any) -> list[NDArray[Any]]:
        """Views of a frame's memory: one of all samples in turn, or one a channel."""
        dtype = self._types[self._format]
        if self._format in _SAMPLE_TYPES:
            return [np.frombuffer(frame.planes[0], dtype, frame.samples * self._channels)]
        return [np.frombuffer(plane, dtype, frame.samples) for plane in frame.planes]


def layout_of(context: Any) -> tuple[str, ...]:
    """The names of a track's channels; to be asked for before anything else is asked about them.

    An order of the file's own, as CAF and QuickTime may have, is a list in memory. PyAV's layouts
    share it with the decoder and its frames, and each of them frees it. So the decoder is told the
    number of channels alone, while the first layout that was handed out is still there.
    """
    layout = context.layout
    if "(" in layout.name:  # FFmpeg has no name for it
        context.layout = f"{layout.nb_channels} channels"
    names = tuple(channel.name for channel in layout.channels)
    return names if "NONE" not in names else usual_layout(layout.nb_channels)
