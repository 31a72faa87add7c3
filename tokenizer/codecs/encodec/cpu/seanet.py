"""EnCodec's encoder or decoder on a CPU: chunks one by one through the convolutions, all of them
together through the LSTM.

An LSTM reads its weights anew for every frame; with many chunks at once it reads them once for all.
The convolutions gain nothing from a batch, and alone a chunk's tiles stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
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

LSTM_WASTE = 0.8
"""sequences share a batch while the shortest has at least this share of the longest one's frames"""
Step = Callable[[Signal, Workspace], Signal]


class SeaNet:
    """Runs transformers' `EncodecEncoder` or `EncodecDecoder`, whose weights it takes.

    With several of torch's threads, each takes whole sequences: tiles are too small to share.
    """

    def __init__(self, module: Any) -> None:
        """
        Raises:
            UnknownLayer: a layer that this cannot run.
        """
        self._before: list[Step] = []
        self._after: list[Step] = []
        self._lstm: Any = None
        self._spaces: list[Workspace] = []
        self._threads = Threads()
        elu = False
        for layer in module.layers:
            kind, steps = (
                type(layer).__name__,
                self._after if self._lstm is not None else self._before,
            )
            if kind == "ELU":
                elu = True
                continue
            if kind == "EncodecLSTM":
                self._lstm = layer.lstm
            else:
                steps.append(_step(kind, layer, elu))
            elu = False
        if self._lstm is None:
            raise UnknownLayer("a network without an LSTM")

    def __call__(self, sequences: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """float32 `[channels, n]` each, of any lengths, to float32 `[out, m]` each."""
        return self.conditioned(sequences)[0]

    def conditioned(
        self, sequences: Sequence[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[float]]:
        """The same, with each sequence's `Signal.condition`."""
        before = self._run_all(self._before, [sequence.t() for sequence in sequences])
        after = self._run_all(self._after, self._through_lstm([reached for reached, _ in before]))
        conditions = [one * other for (_, one), (_, other) in zip(before, after, strict=True)]
        return [frames.t() for frames, _ in after], conditions

    def before(self, sequences: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """What the layers before the LSTM give for float32 `[n, channels]` each: float32
        `[frames, size]` each."""
        return [reached for reached, _ in self._run_all(self._before, sequences)]

    def after(self, sequences: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The same of the layers after it, for its outputs."""
        return [reached for reached, _ in self._run_all(self._after, sequences)]

    @property
    def lstm(self) -> Any:
        """The `torch.nn.LSTM` between them."""
        return self._lstm

    def _run_all(
        self, steps: Sequence[Step], sequences: Sequence[torch.Tensor]
    ) -> list[tuple[torch.Tensor, float]]:
        return self._threads.map(lambda sequence: self._run(steps, sequence), sequences)

    @torch.inference_mode()
    def _run(self, steps: Sequence[Step], sequence: torch.Tensor) -> tuple[torch.Tensor, float]:
        space = self._spaces.pop() if self._spaces else Workspace()
        signal = plain(sequence.contiguous())
        for step in steps:
            result = step(signal, space)
            space.give_back(*signal.terms)
            signal = result
        whole = signal.whole()
        space.give_back(*signal.terms)
        self._spaces.append(space)
        return whole, signal.condition

    def _through_lstm(self, sequences: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        results: list[torch.Tensor] = list(sequences)
        for group in similar([sequence.shape[0] for sequence in sequences]):
            # It looks backwards only: what follows a sequence's end changes nothing before it.
            batch = torch.nn.utils.rnn.pad_sequence([sequences[i] for i in group])
            batch = batch + self._lstm(batch)[0]
            for place, i in enumerate(group):
                results[i] = batch[: sequences[i].shape[0], place].contiguous()
        return results


def _step(kind: str, layer: Any, elu: bool) -> Step:
    if kind == "EncodecConv1d":
        convolution = Convolution(layer)
        return lambda signal, space: convolution(signal, elu, space)
    if kind == "EncodecConvTranspose1d":
        transposed = TransposedConvolution(layer)
        return lambda signal, space: transposed(signal, elu, space)
    if kind == "EncodecResnetBlock":
        return _Residual(layer)
    raise UnknownLayer(f"a layer of the kind {kind}")


class _Residual:
    """Two convolutions beside a shortcut, which is a convolution too or the input itself."""

    def __init__(self, block: Any) -> None:
        kinds = [type(layer).__name__ for layer in block.block]
        if kinds != ["ELU", "EncodecConv1d", "ELU", "EncodecConv1d"]:
            raise UnknownLayer(f"a residual block of {kinds}")
        self._first, self._second = Convolution(block.block[1]), Convolution(block.block[3])
        identity = isinstance(block.shortcut, torch.nn.Identity)
        self._shortcut = None if identity else Convolution(block.shortcut)

    def __call__(self, signal: Signal, space: Workspace) -> Signal:
        hidden = self._first(signal, True, space)
        branch = self._second(hidden, True, space)
        space.give_back(*hidden.terms)
        # The caller gives the input back, so it is copied where it is a part of the result.
        if self._shortcut is None:
            return branch + plain(signal.whole())
        return branch + self._shortcut(replace(signal, condition=1.0), False, space)


def similar(lengths: Sequence[int]) -> list[list[int]]:
    """Indices in groups, such that no member is much shorter than its group's longest."""
    groups: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if not groups or lengths[i] < LSTM_WASTE * lengths[groups[-1][0]]:
            groups.append([])
        groups[-1].append(i)
    return groups
