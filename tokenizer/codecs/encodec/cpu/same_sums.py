"""The convolutions of a SEANet encoder, EnCodec's or Mimi's, on a CPU with transformers' results
bit for bit, in the time of tiles.

A float32 sum depends on its order, so the order is oneDNN's, which torch leaves convolutions to.
With AVX-512 it is

    out = bias + Σ taps × 16 channels, then for every further 16 channels: out += Σ taps × these

and with AVX2 a single sum that begins with the bias, over the taps of 8 channels, then of the next.
Each is what matrix products give in which the taps' channels lie side by side. In memory
`[channels / 16, samples, 16]` they do, from one sample to the next too, so that a product takes
rows that overlap and nothing is copied out. Convolutions of one tap, which torch gives to MKL where
it has one thread, are there sums over 256 channels, of which the bias is added to the first; where
it has several they are oneDNN's, which begins with the bias, and goes as far with AVX-512, and half
as far with AVX2.

Nothing promises these orders. So they are tried out once for each number of threads, and where
none holds something else runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from tokenizer.codecs.encodec.arithmetic import exact_float32
from tokenizer.codecs.encodec.cpu.kernels import Floats
from tokenizer.codecs.encodec.cpu.products import ADD, BEGIN, END, GO_ON
from tokenizer.codecs.encodec.cpu.same_steps import Band, Order, Scratch, bands_of
from tokenizer.codecs.encodec.cpu.threads import PerThreads, Threads

Run = Callable[[Sequence[torch.Tensor]], list[torch.Tensor]]


TRIED_FRAMES, TRIED_ROWS = 80, 25_000
"""at least; torch gives fewer numbers to MKL"""


ORDERS = (Order(16, END, ADD, 256), Order(8, BEGIN, GO_ON, 128))
"""with AVX-512, and with AVX2"""


class SameSums:
    """Runs the layers of transformers' `EncodecEncoder` before or after its LSTM, or of its
    `MimiEncoder`, whose weights it takes. Windows go to torch's threads."""

    def __init__(self, layers: Sequence[Any], hop: int) -> None:
        """`hop` rows become a frame.

        Raises:
            UnknownLayer: a layer that this cannot run.
        """
        self._layers, self._hop, self._threads = layers, hop, Threads()
        self._first = bands_of(layers, ORDERS[0])
        self._proven = PerThreads(self._find)
        self._scratches: list[Scratch] = []

    def __call__(self, windows: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """float32 `[n, channels]` each to `[frames, out]` each."""
        return self._run_all(windows, self._proven() or self._first)

    def _run_all(
        self, windows: Sequence[torch.Tensor], bands: Sequence[Band]
    ) -> list[torch.Tensor]:
        shared = torch.get_num_threads() > 1
        # Shared by torch's threads, an ELU would take another exponential where they meet.
        return self._threads.map(lambda rows: self._run(rows, shared, bands), windows, alone=True)

    def where_proven(self, otherwise: Run) -> Run:
        """This, or `otherwise` where the order is another one."""
        return lambda windows: (self if self.proven else otherwise)(windows)

    def _run(self, rows: torch.Tensor, shared: bool, bands: Sequence[Band]) -> torch.Tensor:
        scratch = self._scratches.pop() if self._scratches else Scratch()
        x: Floats = rows.contiguous().numpy()
        for band in bands:
            x = band(x, shared, scratch)
        result = torch.from_numpy(x.copy())
        self._scratches.append(scratch)
        return result

    @property
    def proven(self) -> bool:
        """Whether transformers' modules give the same bits, with as many threads as torch has now:
        of a signal that is tried once, but for its last frame, where torch's threads end in an
        ELU and take another exponential for the few numbers that fill no vector."""
        return self._proven() is not None

    def _find(self) -> Sequence[Band] | None:
        """The layers in the order that is this machine's."""
        generator = torch.Generator().manual_seed(0)
        frames = max(TRIED_FRAMES, TRIED_ROWS // (self._first[0].channels * self._hop))
        count = frames * self._hop + self._hop // 2
        rows = 0.1 * torch.randn(count, self._first[0].channels, generator=generator)
        with torch.inference_mode(), exact_float32():
            x = rows.t()[None].contiguous()
            for layer in self._layers:
                x = layer(x)
            for order in ORDERS:
                bands = self._first if order is ORDERS[0] else bands_of(self._layers, order)
                (found,) = self._run_all([rows], bands)
                if torch.equal(found[:-1], x[0].t()[:-1]):
                    return bands
        return None
