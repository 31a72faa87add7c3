"""An LSTM over many sequences at once, each with the bits that transformers' gives it alone.

It reads its weights anew for every frame, and that is what it costs: side by side, sequences share
a reading. But torch's, which is oneDNN's, rounds several sequences otherwise than one. Of one alone

    gates = (W x, summed from the first number to the last) + (W h, likewise) + bias

where of several, as of a single frame, `W h` goes on with the sum of `W x`; and sigmoid and tanh
are oneDNN's own, not those of torch's other operations. Nothing promises that. So it is tried out
once for each number of threads, and where it does not hold transformers' module runs, one sequence
after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tokenizer.codecs.encodec.arithmetic import exact_float32
from tokenizer.codecs.encodec.cpu.kernels import Floats
from tokenizer.codecs.encodec.cpu.products import ADD, Panels
from tokenizer.codecs.encodec.cpu.threads import PerThreads, Threads
from tokenizer.codecs.encodec.cpu.vectors import LANES
from tokenizer.codecs.encodec.networks import UnknownLayer
from tokenizer.codecs.encodec.streams.gates import end_cells, end_gates, end_outputs
from tokenizer.codecs.encodec.streams.stack import ReferenceLstm
from tokenizer.codecs.encodec.streams.trace import Trace

ROWS = 24
"""sequences that share a reading of the weights: more gain little"""
LEAST, LEAST_OF_ONE = 5, 2
"""for a thread of several, and for one: fewer are as fast one after the other. Several threads
share the weights of a sequence, and their caches hold more of them"""
BLOCK = 32
"""steps whose input is multiplied at once"""
TRIED = [70, 45, 45, 33, 2, 1]
"""frames of the sequences that it is tried with"""


class SameLstm:
    """transformers' `EncodecLSTM` with its shortcut: of the states, the last only."""

    def __init__(self, module: Any) -> None:
        """
        Raises:
            UnknownLayer: it is of another kind, or its sizes do not fill vectors.
        """
        lstm = module.lstm
        if lstm.input_size != lstm.hidden_size or lstm.hidden_size % LANES:
            raise UnknownLayer(f"an LSTM of {lstm.input_size} to {lstm.hidden_size} numbers")
        if lstm.bidirectional or lstm.proj_size or not lstm.bias:
            raise UnknownLayer("an LSTM of another kind")
        self._alone = ReferenceLstm(module)
        self.layers, self.size = self._alone.layers, self._alone.size
        self._layers = [_Layer.of(lstm, number) for number in range(self.layers)]
        self._threads, self._proven = Threads(), PerThreads(self._prove)

    @property
    def proven(self) -> bool:
        """Whether transformers' module gives the same bits, with as many threads as torch has
        now."""
        return self._proven()

    def __call__(
        self, sequences: Sequence[torch.Tensor], states: Sequence[Trace]
    ) -> tuple[list[torch.Tensor], list[Trace]]:
        """As `tokenizer.codecs.encodec.streams.stack.Recurrent`."""
        threads = torch.get_num_threads()
        few = len(sequences) < (LEAST * threads if threads > 1 else LEAST_OF_ONE)
        # A single frame is rounded in another way than it is within a sequence.
        if (few and min(map(len, sequences), default=2) > 1) or not self.proven:
            return self._alone(sequences, states)
        return self._together(sequences, states)

    def _together(
        self, sequences: Sequence[torch.Tensor], states: Sequence[Trace]
    ) -> tuple[list[torch.Tensor], list[Trace]]:
        count, threads = len(sequences), torch.get_num_threads()
        ordered = sorted(range(count), key=lambda i: -len(sequences[i]))
        groups = min(-(-count // (ROWS * threads)) * threads, count)
        # Of about one length each, as a step costs little less where some have ended.
        parts = [ordered[count * i // groups : count * (i + 1) // groups] for i in range(groups)]
        found = self._threads.map(
            lambda part: self._run([sequences[i] for i in part], [states[i] for i in part]), parts
        )
        results: dict[int, tuple[torch.Tensor, Trace]] = {}
        for part, ones in zip(parts, found, strict=True):
            results.update(zip(part, ones, strict=True))
        return [results[i][0] for i in range(count)], [results[i][1] for i in range(count)]

    @torch.inference_mode()
    def _run(
        self, sequences: Sequence[torch.Tensor], states: Sequence[Trace]
    ) -> list[tuple[torch.Tensor, Trace]]:
        """Of sequences from the longest to the shortest."""
        x: Floats = torch.nn.utils.rnn.pad_sequence(list(sequences)).numpy()
        run = _Run(self._layers, x, [len(one) for one in sequences], states)
        outputs = run()
        return [
            (torch.from_numpy(outputs[: len(one), row]) + one, run.trace(row))
            for row, one in enumerate(sequences)
        ]

    def _prove(self) -> bool:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(sum(TRIED), self.size, generator=generator)
        begin = 0.5 * torch.randn(2, self.layers, 1, self.size, generator=generator)
        states = [Trace(*begin.numpy())] * len(TRIED)
        with torch.inference_mode(), exact_float32():
            # Each is a part of a longer one: of that module a single frame is none.
            longer = [torch.cat([one, x[:2]]) for one in torch.split(x, TRIED)]
            expected, _ = self._alone(longer, states)
            try:
                found, ends = self._together([one[:-2] for one in longer], states)
                after, _ = self._together([one[-2:] for one in longer], ends)
            except RuntimeError:  # torch without oneDNN
                return False
        return all(
            torch.equal(torch.cat([one, two]), whole)
            for one, two, whole in zip(found, after, expected, strict=True)
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    enter: Panels
    again: Panels
    bias: Floats
    """float32 `[4 * size]`"""

    @staticmethod
    def of(lstm: Any, number: int) -> _Layer:
        enter, again, bias, more = (
            _ordered(getattr(lstm, f"{name}_l{number}").detach())
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        return _Layer(Panels(enter.t()), Panels(again.t()), (bias + more).numpy())


def _ordered(rows: torch.Tensor) -> torch.Tensor:
    """Torch's input, forget, cell and output gates with the cell's last: the others share a
    function."""
    enter, keep, value, leave = rows.chunk(4)
    return torch.cat([enter, keep, leave, value])


class _Run:
    """All layers over a batch, each a block of steps behind the one below it: what comes out of
    that one is multiplied a block at once, and the gates of both go through their functions
    together, which cost as much by the call as by the number."""

    def __init__(
        self, layers: Sequence[_Layer], x: Floats, lengths: Sequence[int], states: Sequence[Trace]
    ) -> None:
        """`x` is float32 `[steps, rows, size]`, and written over; rows from the longest to the
        shortest."""
        self._layers, self._steps, self._size = layers, len(x), x.shape[2]
        self._there = [sum(length > step for length in lengths) for step in range(len(x))]
        self._values = x
        """what goes into the first layer; each puts what comes out of it into the same place"""
        self._outputs, self._cells = (
            [np.stack([one[i, -1] for one in all_of]) for i in range(len(layers))]
            for all_of in ([one.outputs for one in states], [one.cells for one in states])
        )
        """of each layer, as it is now"""
        self._joint = _Joint([], self._cells)
        self._backwards = False
        rows = BLOCK * x.shape[1]
        self._gates = [np.empty((rows, 4 * self._size), np.float32) for _ in layers]

    def __call__(self) -> Floats:
        """The last layer's outputs, float32 `[steps, rows, size]`, where a row has steps."""
        blocks = range(-(-self._steps // BLOCK))
        for number in range(len(blocks) + len(self._layers) - 1):
            starts = [
                (number - i) * BLOCK if number - i in blocks else self._steps
                for i in range(len(self._layers))
            ]
            gates = [self._entered(i, start) for i, start in enumerate(starts)]
            for step in range(BLOCK):
                self._step([start + step for start in starts], [one[step:] for one in gates])
        self._joint.end()
        return self._values

    def trace(self, row: int) -> Trace:
        """The last state of a row."""
        outputs, cells = (
            np.stack([of_layer[row] for of_layer in kept])[:, None]
            for kept in (self._outputs, self._cells)
        )
        return Trace(outputs, cells)

    def _entered(self, i: int, start: int) -> Floats:
        """Products of a layer's input, float32 `[steps, rows, 4 * size]`."""
        stop = min(start + BLOCK, self._steps)
        rows = self._there[start] if start < stop else 0
        block = np.ascontiguousarray(self._values[start:stop, :rows])
        gates = self._gates[i][: len(block) * rows]
        self._layers[i].enter.multiply(block.reshape(-1), self._size, gates)
        return gates.reshape(len(block), rows, 4 * self._size)

    def _step(self, times: Sequence[int], gates: Sequence[Floats]) -> None:
        counts = [self._there[time] if time < self._steps else 0 for time in times]
        if not any(counts):
            return
        if counts != self._joint.counts:
            self._joint.end()
            self._joint = _Joint(counts, self._cells)
        joint, self._backwards = self._joint, not self._backwards
        # Every other step the other way: what was read last is still in a core's cache.
        for i in range(len(counts))[:: -1 if self._backwards else 1]:
            if counts[i]:
                layer, ours = self._layers[i], gates[i][0, : counts[i]]
                before = self._outputs[i][: counts[i]].reshape(-1)
                layer.again.multiply(before, self._size, ours, ADD, backwards=self._backwards)
                end_gates(ours, layer.bias, joint.openings[i], joint.values[i])
        results = joint.outputs()
        for i, (time, count) in enumerate(zip(times, counts, strict=True)):
            if count:
                self._values[time, :count] = self._outputs[i][:count] = results[i]


class _Joint:
    """The gates of several layers, one below the other."""

    def __init__(self, counts: Sequence[int], cells: Sequence[Floats]) -> None:
        """`cells` are each layer's, float32 `[rows, size]`, of which the first so many go on."""
        self.counts, self._kept = list(counts), cells
        size = cells[0].shape[1]
        self._opening = torch.empty(sum(counts), 3 * size)
        self._value = torch.empty(sum(counts), size)
        there = [kept[:count] for kept, count in zip(cells, counts, strict=False)]
        self._cells = np.concatenate([*there, cells[0][:0]])
        self._ends = np.cumsum(counts)[:-1]
        self.openings = self._split(self._opening.numpy())
        """float32 `[rows, 3 * size]` of each layer: input, forget and output gate, to be written"""
        self.values = self._split(self._value.numpy())
        """float32 `[rows, size]` of each: what goes into the cells, likewise"""

    def outputs(self) -> list[Floats]:
        """Of each layer, float32 `[rows, size]`, after another step."""
        openings = _same(torch.sigmoid, self._opening)
        end_cells(openings, _same(torch.tanh, self._value), self._cells)
        out = _same(torch.tanh, torch.from_numpy(self._cells))
        end_outputs(openings, out)
        return self._split(out)

    def end(self) -> None:
        """Hand the cells back."""
        for kept, ours in zip(self._kept, self._split(self._cells), strict=False):
            kept[: len(ours)] = ours

    def _split(self, rows: Floats) -> list[Floats]:
        return list(np.split(rows, self._ends)) if self.counts else []


def _same(function: Callable[[torch.Tensor], torch.Tensor], values: torch.Tensor) -> Floats:
    """oneDNN's own, as its LSTM has it."""
    found: Floats = function(values.to_mkldnn()).to_dense().numpy()
    return found
