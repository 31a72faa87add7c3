"""Pauses by Silero's voice activity detector, whose package holds its weights.

The network says for each 32 ms at 16 kHz how likely somebody speaks. As in Silero's own
`get_speech_timestamps`, speech begins at 0.5 and lasts until it is below 0.35, a pause takes 0.1 s
at least, and what lasts no 0.25 s is no speech. Channels are heard each alone.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from tokenizer.audio.blocks import transposed
from tokenizer.audio.cutting.activity import Activity, without_short
from tokenizer.errors import UsageError

RATE, WINDOW = 16_000, 512
BEGINS, LASTS = 0.5, 0.35
_SHORTEST_PAUSE, _SHORTEST_SPEECH = 3, 8
"""windows"""


def require_silero() -> Path:
    """The file with the network.

    Raises:
        UsageError: the package is not installed.
    """
    # Not imported: that would change how many threads torch has, and wants torchaudio.
    found = find_spec("silero_vad")
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = Path(folder) / "data" / "silero_vad.jit"
        if path.is_file():
            return path
    raise UsageError(
        "--cut vad: needs Silero's VAD: pip install silero-vad (or '.[vad]' in a clone of "
        "codecshards); --cut silence needs nothing"
    )


class VadListener:
    """Keeps 4 bytes for each 32 ms."""

    def __init__(self, sample_rate: int) -> None:
        import torch

        torch.set_num_threads(1)  # of this process, which decodes and is one of several
        self._torch = torch
        load: Any = torch.jit.load
        self._net = load(str(require_silero()), map_location="cpu").eval()
        self._rate = sample_rate
        self._resampler: Any = None
        self._rest: NDArray[np.float32] | None = None
        self._chances: list[float] = []
        self._samples = 0

    def add(self, block: NDArray[np.float32]) -> None:
        """As `Listener.add`."""
        self._samples += block.shape[1]
        self._hear(self._resampled(block))

    def result(self) -> Activity:
        """As `Listener.result`."""
        if self._rest is not None:
            channels = self._rest.shape[0]
            self._hear(self._resampled(np.zeros((channels, 0), np.float32), last=True))
            left = self._rest.shape[1]
            if left:
                self._hear(np.zeros((channels, WINDOW - left), np.float32))
        hop = WINDOW * self._rate / RATE
        level = np.array(self._chances, np.float32)[: max(1, math.ceil(self._samples / hop))]
        return Activity(level, speech(level), hop, self._samples)

    def _resampled(self, block: NDArray[np.float32], last: bool = False) -> NDArray[np.float32]:
        if self._rate == RATE:
            return block
        if self._resampler is None:
            self._resampler = soxr.ResampleStream(
                self._rate, RATE, block.shape[0], dtype="float32", quality="HQ"
            )
        return transposed(self._resampler.resample_chunk(transposed(block), last=last))

    def _hear(self, block: NDArray[np.float32]) -> None:
        held = block if self._rest is None else np.concatenate([self._rest, block], axis=1)
        whole = held.shape[1] - held.shape[1] % WINDOW
        with self._torch.inference_mode():
            for start in range(0, whole, WINDOW):
                window = np.ascontiguousarray(held[:, start : start + WINDOW])
                chances = self._net(self._torch.from_numpy(window), RATE)
                self._chances.append(float(chances.max()))
        self._rest = held[:, whole:].copy()


def speech(level: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which windows are speech, by how likely each is."""
    begins, ends = level >= BEGINS, level < LASTS
    # Between the two it is as it was at the last window that was one of them.
    last = np.maximum.accumulate(np.where(begins | ends, np.arange(len(level)), -1))
    said = (last >= 0) & begins[last]
    return without_short(~without_short(~said, _SHORTEST_PAUSE), _SHORTEST_SPEECH)
