"""An encoder or decoder in its three parts: convolutions, an LSTM that remembers all that was, and
convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from tokenizer.codecs.encodec.networks import UnknownLayer
from tokenizer.codecs.encodec.reference import static_step
from tokenizer.codecs.encodec.streams.reach import reach_of, usual
from tokenizer.codecs.encodec.streams.stage import Held, Rows, Run, Stage
from tokenizer.codecs.encodec.streams.trace import Trace

WINDOW_SECONDS = 1.25
"""that convolutions are run on at a time: what lies between two of them stays small, and several
threads have something to do"""


@dataclass(frozen=True, slots=True, eq=False)
class StackState:
    """What is remembered of a recording."""

    first: Held
    trace: Trace
    """the LSTM's last state, that of frame `first.done - 1`"""
    second: Held


class Recurrent(Protocol):
    """An LSTM and the shortcut around it."""

    layers: int
    size: int

    def __call__(
        self, sequences: Sequence[torch.Tensor], states: Sequence[Trace]
    ) -> tuple[list[torch.Tensor], list[Trace]]:
        """Outputs float32 `[n, size]` of each, and its states, at least the last."""


@dataclass(frozen=True, slots=True)
class Stack:
    """How the parts are run."""

    first: Stage
    lstm: Recurrent
    second: Stage

    def begin(self, channels: int) -> StackState:
        """Before a recording's first piece."""
        empty = [np.zeros((self.lstm.layers, 1, self.lstm.size), np.float32) for _ in range(2)]
        return StackState(
            Held(np.zeros((0, channels), np.float32)),
            Trace(*empty),
            Held(np.zeros((0, self.lstm.size), np.float32)),
        )

    def advance(
        self, states: Sequence[StackState], new: Sequence[Rows], last: Sequence[bool]
    ) -> tuple[list[StackState], list[torch.Tensor], list[Trace]]:
        """Take in the next rows of each recording, float32 `[n, channels]`.

        Returns:
            The states; what has become final of the output; and the LSTM's states along what it
            was given, after those that were remembered.
        """
        firsts, frames = self.first.advance([state.first for state in states], new, last)
        hidden = [np.zeros((0, self.lstm.size), np.float32) for _ in states]
        traces = [state.trace for state in states]
        some = [i for i, one in enumerate(frames) if len(one)]
        outputs, found = self.lstm([frames[i] for i in some], [traces[i] for i in some])
        for i, output, trace in zip(some, outputs, found, strict=True):
            hidden[i], traces[i] = output.numpy(), traces[i].then(trace)
        seconds, results = self.second.advance([state.second for state in states], hidden, last)
        after = [
            StackState(one, trace.part(-1, None), other)
            for one, trace, other in zip(firsts, traces, seconds, strict=True)
        ]
        return after, results, traces


class ReferenceLstm:
    """transformers' `EncodecLSTM`, on its device: of the states, the last only."""

    def __init__(self, module: Any) -> None:
        self._lstm = module.lstm
        self.layers, self.size = int(self._lstm.num_layers), int(self._lstm.hidden_size)
        self._device = self._lstm.weight_ih_l0.device

    def __call__(
        self, sequences: Sequence[torch.Tensor], states: Sequence[Trace]
    ) -> tuple[list[torch.Tensor], list[Trace]]:
        pairs = [self._one(one, state) for one, state in zip(sequences, states, strict=True)]
        return [output for output, _ in pairs], [trace for _, trace in pairs]

    def _one(self, sequence: torch.Tensor, state: Trace) -> tuple[torch.Tensor, Trace]:
        begin = tuple(
            torch.from_numpy(values[:, -1:].copy()).to(self._device)
            for values in (state.outputs, state.cells)
        )
        x = sequence[:, None].to(self._device)
        output, ended = self._lstm(x, begin)
        if len(x) == 1:  # alone a frame is rounded in another way than it is among others
            output = self._lstm(x.repeat(2, 1, 1), begin)[0][:1]
        trace = Trace(*(values.cpu().numpy() for values in ended))
        return (output + x)[:, 0].cpu(), trace


def parts_of(module: Any) -> tuple[list[Any], Any, list[Any]]:
    """The layers of an `EncodecEncoder` or `EncodecDecoder` before its LSTM, that, and those after.

    Raises:
        UnknownLayer: it has no LSTM, or several.
    """
    layers = list(module.layers)
    places = [i for i, layer in enumerate(layers) if type(layer).__name__ == "EncodecLSTM"]
    if len(places) != 1:
        raise UnknownLayer(f"a network with {len(places)} LSTMs")
    return layers[: places[0]], layers[places[0]], layers[places[0] + 1 :]


def make_stack(
    module: Any,
    runs: tuple[Run, Run],
    lstm: Recurrent,
    config: Any,
    *,
    decodes: bool,
    alike: int | None = None,
) -> Stack:
    """The stack of a model's encoder or decoder.

    Args:
        module: transformers' own.
        runs: its layers before and after the LSTM.
        lstm: what is between them.
        config: the model's.
        decodes: whether it goes from frames to samples.
        alike: frames that convolutions are run on at a time, for windows that torch rounds as it
            does the whole; None where rounding is free.
    """
    before, _, after = parts_of(module)
    hop, exact = int(config.hop_length), alike is not None
    frames = alike or max(round(WINDOW_SECONDS * config.sampling_rate / hop), 1)
    if decodes:
        first = Stage(runs[0], reach_of(before, 1, 1), 1, 1, frames)
        return Stack(first, lstm, Stage(runs[1], reach_of(after, hop, hop), 1, hop, frames))
    second = Stage(runs[1], reach_of(after, 1, 1, exact), 1, 1, frames)
    first = Stage(
        runs[0], reach_of(before, hop, 1, exact), hop, 1, frames, lambda rows: usual(before, rows)
    )
    return Stack(first, lstm, second)


def layers_run(layers: Sequence[Any], device: torch.device) -> Run:
    """transformers' own modules as a stage's: one window at a time, with weights that are computed
    once."""
    steps = [static_step(layer) for layer in layers]

    def one(rows: torch.Tensor) -> torch.Tensor:
        x = rows.t()[None].contiguous().to(device)
        for step in steps:
            x = step(x)
        return x[0].t().cpu()

    return lambda windows: [one(window) for window in windows]
