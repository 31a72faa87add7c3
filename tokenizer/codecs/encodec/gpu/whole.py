"""Whole recordings, as codecs without chunks see them, in batches of fixed shapes: of any such
codec whose encoder can be run over rows that are each masked to their own length.

    10 s   ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁
    7.9 s  ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁·····   zeros after every layer
    8.3 s  ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁····

A batch's width is the next of a few, and its rows are of a few numbers, so that its shape comes
again and is captured as a CUDA graph. A recording with a code that rounding could have decided is
encoded again alone, by transformers' own operations on the same device: what it has then are
transformers' codes, whatever they are. So are those that are so long that one fills the device, and
all of them where most would be settled anyway: with many codebooks the last ones quantize little
more than rounding.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.chunking import frames_of
from tokenizer.codecs.encodec.arithmetic import arithmetic
from tokenizer.codecs.encodec.gpu import graphs
from tokenizer.codecs.encodec.gpu.batches import (
    FLOOR,
    ROWS,
    Batch,
    Batcher,
    Plan,
    by_width,
    one_by_one,
    rows_that_fit,
)
from tokenizer.codecs.encodec.gpu.graphs import Layout, Shape, Work, fill, put
from tokenizer.codecs.encodec.networks import check_finite

SHARES = (1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1)
"""of the longest recording in a batch: widths of batches"""
ROWS_ON_A_CPU = (1, 2, 4, 8)
FEW = (1, 2)
"""rows of batches that are smaller than others have them"""
LANES = 8
"""recordings that are encoded alone at the same time: each leaves most of a GPU idle, above all in
an LSTM"""
SEEN, MOSTLY = 64, 0.75
"""recordings after which, and share of them settled from which on, batches are a detour"""
TENSORS = 12
"""of the widest layer, float32, that a sample of a row takes in a GPU's memory"""
Samples = NDArray[np.float32]
Coded = NDArray[np.uint16]


class WholeBatches:
    """Recordings up to a length to codes. Threads may share it."""

    def __init__(
        self,
        together: RowsWork,
        alone: AloneWork,
        device: torch.device,
        *,
        longest: int,
        hop: int,
        batched: int | None = None,
        rows: tuple[int, ...] | None = None,
        channels: int,
        lanes: int = LANES,
        floor: int = FLOOR,
    ) -> None:
        """
        Args:
            together: what encodes a batch.
            alone: transformers' operations on a recording.
            device: of both.
            longest: samples of the longest recording that is taken.
            hop: samples of a frame.
            batched: samples of the longest one that is worth a batch; None: of any.
            rows: that a batch may have, rising; None: as many as the device has memory for.
            channels: of the layers at the full rate, which decide what memory a row takes.
            lanes: recordings that are encoded alone at the same time.
            floor: rows that take as long as what a batch costs however few it has.
        """
        self._together, self._alone, self._device = together, alone, device
        self.longest, self._hop = longest, hop
        self._batched = min(batched or longest, longest)
        self._widths = sorted(
            {max(frames_of(int(self._batched * one), hop), 1) * hop for one in SHARES}
        )
        self._rows, self._channels, self._lanes = rows, channels, lanes
        self._floor = floor
        self._batchers: dict[Work, Batcher] = {}
        self._lock = Lock()
        self.seen = self.repeated = 0
        """recordings so far that were in a batch, and of these that were encoded again, alone"""

    def encode(self, recordings: Sequence[Samples]) -> list[Coded]:
        """float32 `[channels, n]` each, `1 <= n <= longest`, to uint16 `[n_q, frames]`.

        Raises:
            RecordingError: an encoder's output is not finite (ENCODER).
        """
        results: dict[int, Coded] = {}
        short = [i for i, one in enumerate(recordings) if one.shape[1] <= self._batched]
        if short and not self._is_detour():
            self._encode_together(short, recordings, results)
        left = [i for i in range(len(recordings)) if i not in results]
        self._encode_alone(left, recordings, results)
        return [results[i] for i in range(len(recordings))]

    def _encode_together(
        self, wanted: Sequence[int], recordings: Sequence[Samples], results: dict[int, Coded]
    ) -> None:
        batches = self._batcher(self._together, self._plan)
        for places, (codes, finite, near) in batches.run([recordings[i] for i in wanted]):
            check_finite(bool(finite[: len(places)].all()))
            indices = [wanted[place] for place in places]
            for row, i in enumerate(indices):
                frames = frames_of(recordings[i].shape[1], self._hop)
                results[i] = codes[:, row, :frames].astype(np.uint16)
            again = [i for row, i in enumerate(indices) if near[row]]
            self._encode_alone(again, recordings, results)
            with self._lock:
                self.seen, self.repeated = self.seen + len(indices), self.repeated + len(again)

    def _encode_alone(
        self, wanted: Sequence[int], recordings: Sequence[Samples], results: dict[int, Coded]
    ) -> None:
        """Beside the batches that are under way."""
        if not wanted:
            return
        alone = self._batcher(self._alone, one_by_one)
        for places, (codes, finite) in alone.run([recordings[i] for i in wanted]):
            check_finite(bool(finite.all()))
            for i in (wanted[place] for place in places):
                frames = frames_of(recordings[i].shape[1], self._hop)
                results[i] = codes[:, 0, :frames].astype(np.uint16)

    def _is_detour(self) -> bool:
        with self._lock:
            return self.seen >= SEEN and self.repeated > MOSTLY * self.seen

    def _batcher(self, work: Work, plan: Plan) -> Batcher:
        """Made when it is first needed, so that what is never done takes no memory."""
        with arithmetic("exact"):  # no other thread captures meanwhile
            if work not in self._batchers:
                together = work is self._together
                rows = (self._rows or self._that_fit()) if together else (1,)
                width = self._widths[-1] if together else self.longest
                largest = Shape(rows[-1], width, masked=together)
                lanes = 1 if together else self._lanes
                runner = graphs.open_runner(work, "exact", self._device, largest, lanes)
                self._batchers[work] = Batcher(runner, plan, rows)
            return self._batchers[work]

    def _that_fit(self) -> tuple[int, ...]:
        if self._device.type == "cpu":
            return ROWS_ON_A_CPU
        free = torch.cuda.mem_get_info(self._device)[0]
        found = rows_that_fit(free, self._widths[-1], TENSORS * 4 * self._channels)
        # Where empty rows cost more than a batch does, there are smaller ones too.
        return found if self._floor >= ROWS[0] else (*FEW, *found)

    def _plan(self, recordings: Sequence[Samples], rows: tuple[int, ...]) -> list[Batch]:
        lengths = {i: one.shape[1] for i, one in enumerate(recordings)}
        return by_width(lengths, self._widths, rows, self._floor)


class RowsWork(Work):
    """Rows of samples and their lengths to codes."""

    channels = 1

    def layout(self, shape: Shape) -> Layout:
        samples = ((shape.rows, self.channels, shape.width), torch.float32)
        return [samples, ((shape.rows,), torch.int64)]

    def fill(self, inputs: Sequence[torch.Tensor], items: Sequence[Samples]) -> None:
        fill(inputs[0], inputs[1], items)

    @abstractmethod
    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """float32 `[rows, channels, width]` and int64 `[rows]` to int32 codes
        `[n_q, rows, frames]` and, for each row, whether the encoder's output is finite and whether
        rounding could have decided one of its codes."""


class AloneWork(Work):
    """One recording to transformers' codes."""

    channels = 1

    def layout(self, shape: Shape) -> Layout:
        return [((shape.rows, self.channels, shape.width), torch.float32)]

    def fill(self, inputs: Sequence[torch.Tensor], items: Sequence[Samples]) -> None:
        put(inputs[0][0], items[0])

    @abstractmethod
    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """float32 `[1, channels, n]` to int32 codes `[n_q, 1, frames]`, and whether the encoder's
        output is finite."""
