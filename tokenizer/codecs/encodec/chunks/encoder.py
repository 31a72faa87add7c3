"""An encoder with norms, of full chunks: their embeddings with the bits that transformers' has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tokenizer.codecs.encodec.arithmetic import exact_float32
from tokenizer.codecs.encodec.chunks.layers import Layer, Signal, Term, layers_of, whole
from tokenizer.codecs.encodec.chunks.moments import are_torch_s
from tokenizer.codecs.encodec.cpu.same_elu import is_torch_s
from tokenizer.codecs.encodec.cpu.same_sums import ORDERS
from tokenizer.codecs.encodec.cpu.threads import PerThreads, Threads
from tokenizer.codecs.encodec.cpu.tiles import Workspace
from tokenizer.codecs.encodec.streams.same_lstm import SameLstm
from tokenizer.codecs.encodec.streams.stack import parts_of
from tokenizer.codecs.encodec.streams.trace import Trace

Stages = tuple[list[Layer], list[Layer]]
"""layers before and after the LSTM"""


class SameEncoder:
    """transformers' `EncodecEncoder`, whose weights it takes, for chunks of one length.

    Not to be shared between threads. With several of torch's, each takes whole chunks.
    """

    def __init__(self, encoder: Any, length: int) -> None:
        """
        Raises:
            UnknownLayer: a layer that this cannot run.
        """
        self._encoder, self.length = encoder, length
        before, lstm, after = parts_of(encoder)
        self._stages: list[Stages] = [
            (layers_of(before, order), layers_of(after, order)) for order in ORDERS
        ]
        self._lstm = SameLstm(lstm)
        self._threads = Threads()
        self._proven = PerThreads(self._find)
        self._spaces: list[Workspace] = []

    @property
    def proven(self) -> bool:
        """Whether transformers' module gives the same bits, with as many threads as torch has
        now: of a chunk that is tried once."""
        return self._proven() is not None

    def __call__(self, chunks: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """float32 `[channels, length]` each to `[frames, out]` each."""
        return self._run(chunks, self._proven() or self._stages[0])

    def _run(self, chunks: Sequence[torch.Tensor], stages: Stages) -> list[torch.Tensor]:
        before, after = stages
        hidden = self._run_all(
            before, [(Term(one.t().contiguous(), None, None),) for one in chunks]
        )
        empty = [np.zeros((self._lstm.layers, 1, self._lstm.size), np.float32) for _ in range(2)]
        outputs, _ = self._lstm(hidden, [Trace(*empty)] * len(hidden))
        # So that nothing changes, a zero's sign neither.
        ones, zeros = (np.full(self._lstm.size, x, np.float32) for x in (1.0, -0.0))
        return self._run_all(after, [(Term(one.contiguous(), ones, zeros),) for one in outputs])

    def _run_all(self, layers: Sequence[Layer], signals: Sequence[Signal]) -> list[torch.Tensor]:
        shared = torch.get_num_threads() > 1
        return self._threads.map(
            lambda signal: self._run_one(layers, signal, shared), signals, alone=True
        )

    def _run_one(self, layers: Sequence[Layer], signal: Signal, shared: bool) -> torch.Tensor:
        space = self._spaces.pop() if self._spaces else Workspace()
        for layer in layers:
            result = layer(signal, shared, space)
            space.give_back(*(term.raw for term in signal))
            signal = result
        found = torch.from_numpy(whole(signal))
        space.give_back(*(term.raw for term in signal))
        self._spaces.append(space)
        return found

    def _find(self) -> Stages | None:
        """The layers in the order that is this machine's."""
        if not (are_torch_s() and is_torch_s()):
            return None
        generator = torch.Generator().manual_seed(0)
        channels = int(self._encoder.layers[0].conv.in_channels)
        chunk = torch.randn(channels, self.length, generator=generator)
        with torch.inference_mode(), exact_float32():
            expected = self._encoder(chunk[None])[0].t()
            for stages in self._stages:
                if torch.equal(self._run([chunk], stages)[0], expected):
                    return stages
        return None
