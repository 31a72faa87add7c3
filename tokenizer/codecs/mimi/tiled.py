"""Mimi's SEANet decoder on a CPU, tile by tile (`tokenizer.codecs.encodec.cpu.tiles`): in half of
the time, and the same but for rounding."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch

from tokenizer.codecs.encodec.cpu.threads import Threads
from tokenizer.codecs.encodec.cpu.tiles import (
    Convolution,
    Signal,
    TransposedConvolution,
    Workspace,
    plain,
)
from tokenizer.codecs.encodec.networks import UnknownLayer
from tokenizer.codecs.mimi.segments import AsEncodec, as_encodec, residual_of

SEGMENT = 120
"""positions that it runs over at a time: segments go to torch's threads, and each computes again
what lies before it, as far as convolutions look back"""
Step = Callable[[Signal, Workspace], Signal]


class TiledDecoder:
    """Runs transformers' `MimiDecoder`, whose weights it takes, over segments."""

    def __init__(self, module: Any, back: int, hop: int) -> None:
        """`back` positions before a segment are computed with it; a position becomes `hop` samples.

        Raises:
            UnknownLayer: a layer that this cannot run.
        """
        self._back, self._hop = back, hop
        self._steps: list[Step] = []
        self._spaces: list[Workspace] = []
        self._threads = Threads()
        elu = False
        for layer in module.layers:
            if type(layer).__name__ == "ELU":
                elu = True
                continue
            self._steps.append(_step(layer, elu))
            elu = False
        if elu:
            raise UnknownLayer("a network that ends with an ELU")

    def __call__(self, positions: torch.Tensor) -> torch.Tensor:
        """float32 `[positions, dim]` to `[samples, channels]`."""
        count = max(round(positions.shape[0] / SEGMENT), 1)
        edges = [positions.shape[0] * i // count for i in range(count + 1)]
        segments = list(pairwise(edges))
        return torch.cat(self._threads.map(lambda edge: self._segment(positions, *edge), segments))

    @torch.inference_mode()
    def _segment(self, positions: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        first = max(start - self._back, 0)
        return self._run(positions[first:stop])[(start - first) * self._hop :]

    def _run(self, rows: torch.Tensor) -> torch.Tensor:
        space = self._spaces.pop() if self._spaces else Workspace()
        signal = plain(rows.contiguous())
        for step in self._steps:
            result = step(signal, space)
            space.give_back(*signal.terms)
            signal = result
        whole = signal.whole()
        space.give_back(*signal.terms)
        self._spaces.append(space)
        return whole


def _step(layer: Any, elu: bool) -> Step:
    kind = type(layer).__name__
    if kind == "MimiResnetBlock":
        return _Residual(layer)
    if kind == "MimiConvTranspose1d":
        like = AsEncodec(layer.conv, bool(layer.causal), trim_right_ratio=layer.trim_right_ratio)
        transposed = TransposedConvolution(like)
        return lambda signal, space: transposed(signal, elu, space)
    convolution = Convolution(as_encodec(layer))
    return lambda signal, space: convolution(signal, elu, space)


class _Residual:
    """transformers' `MimiResnetBlock`."""

    def __init__(self, block: Any) -> None:
        first, second, shortcut = residual_of(block)
        self._first, self._second = Convolution(first), Convolution(second)
        self._shortcut = None if shortcut is None else Convolution(shortcut)

    def __call__(self, signal: Signal, space: Workspace) -> Signal:
        hidden = self._first(signal, True, space)
        branch = self._second(hidden, True, space)
        space.give_back(*hidden.terms)
        # The caller gives the input back, so it is copied where it is a part of the result.
        if self._shortcut is None:
            return branch + plain(signal.whole())
        return branch + self._shortcut(signal, False, space)
