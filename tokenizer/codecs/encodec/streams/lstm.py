"""An LSTM over long sequences, several parts of each at a time.

An LSTM reads its weights anew for every frame of one sequence: that is what it costs. It also
forgets: begun a few dozen frames too early in any state, it comes to the state that it would have.
So a sequence is cut into segments that run side by side and share each reading of the weights, all
but the first from silence some frames before. Where a segment then begins in another state than
the one before it has ended in, it is run again from there: nothing is assumed that is not checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from tokenizer.codecs.encodec.cpu.threads import Threads
from tokenizer.codecs.encodec.streams.gates import step
from tokenizer.codecs.encodec.streams.trace import Trace

WARM, MOST_WARM = 48, 192
"""frames that a segment begins too early; doubled where that was too few, up to the greatest"""
ROWS = 8
"""segments that share a reading of the weights: more cost more than the reading"""
BLOCK = 32
"""steps whose input is multiplied at once"""
AGREEMENT = 2e-6
"""greatest difference between two states that are the same, as a share of their root mean square:
their own rounding differs by as much"""


@dataclass(frozen=True, slots=True)
class _Segment:
    sequence: int
    start: int
    stop: int
    warm: int
    """frames before `start` that are run too"""

    @property
    def steps(self) -> int:
        return self.stop - self.start + self.warm


class SegmentedLstm:
    """Runs a `torch.nn.LSTM`, whose weights it takes, on a CPU."""

    def __init__(self, lstm: Any) -> None:
        self.layers, self.size = int(lstm.num_layers), int(lstm.hidden_size)
        self._weights = []
        for layer in range(self.layers):
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            enter, again, bias, more = (
                getattr(lstm, f"{name}_l{layer}").detach() for name in names
            )
            # The recurrent product goes row by row of a matrix that lies that way.
            self._weights.append((enter.t(), again.t().contiguous(), bias + more))
        self._warm, self._threads = WARM, Threads()

    def start(self) -> Trace:
        """The state before a recording."""
        return Trace(*(np.zeros((self.layers, 1, self.size), np.float32) for _ in range(2)))

    def __call__(self, sequences: Sequence[torch.Tensor], states: Sequence[Trace]) -> list[Trace]:
        """
        Args:
            sequences: float32 `[n, size]` each.
            states: as each begins; of a longer trace the last one.

        Returns:
            The trace of each, `n` states.
        """
        segments = self._cut([len(sequence) for sequence in sequences])
        groups = self._groups(segments)
        found: dict[_Segment, Trace] = {}
        for group, traces in zip(
            groups,
            self._threads.map(lambda group: self._run(group, sequences, states), groups),
            strict=True,
        ):
            found.update(zip(group, traces, strict=True))
        results = []
        for number, state in enumerate(states):
            parts = [one for one in segments if one.sequence == number]
            results.append(self._joined(parts, found, sequences, state))
        return results

    def _cut(self, lengths: Sequence[int]) -> list[_Segment]:
        rows = ROWS * torch.get_num_threads()
        even = -(-sum(lengths) // rows)
        found = []
        for number, length in enumerate(lengths):
            size = max(even, 2 * self._warm)
            count = max(round(length / size), 1) if self._warm <= MOST_WARM else 1
            edges = [length * i // count for i in range(count + 1)]
            for start, stop in pairwise(edges):
                found.append(_Segment(number, start, stop, min(self._warm, start)))
        return [one for one in found if one.stop > one.start]

    def _groups(self, segments: Sequence[_Segment]) -> list[list[_Segment]]:
        """Of about one length each."""
        ordered = sorted(segments, key=lambda one: -one.steps)
        threads = torch.get_num_threads()
        rows = min(max(-(-len(ordered) // threads), 1), ROWS)
        return [ordered[i : i + rows] for i in range(0, len(ordered), rows)]

    @torch.inference_mode()
    def _run(
        self,
        group: Sequence[_Segment],
        sequences: Sequence[torch.Tensor],
        states: Sequence[Trace],
    ) -> list[Trace]:
        """The traces of segments, with what they were warmed up on."""
        x = torch.nn.utils.rnn.pad_sequence(
            [sequences[one.sequence][one.start - one.warm : one.stop] for one in group]
        )
        shape = (self.layers, *x.shape[:2], self.size)
        outputs, cells = torch.empty(shape), torch.empty(shape)
        for layer in range(self.layers):
            begin = torch.zeros(2, len(group), self.size)
            for row, one in enumerate(group):
                if one.start == one.warm:  # it begins where its sequence does
                    state = states[one.sequence]
                    begin[0, row] = torch.from_numpy(state.outputs[layer, -1])
                    begin[1, row] = torch.from_numpy(state.cells[layer, -1])
            self._layer(layer, x, begin, outputs[layer], cells[layer])
            x = outputs[layer]
        return [
            Trace(outputs[:, : one.steps, row].numpy(), cells[:, : one.steps, row].numpy())
            for row, one in enumerate(group)
        ]

    def _layer(
        self,
        layer: int,
        x: torch.Tensor,
        begin: torch.Tensor,
        outputs: torch.Tensor,
        cells: torch.Tensor,
    ) -> None:
        """One layer over `[steps, rows, size]`; `outputs` and `cells` are written."""
        enter, again, bias = self._weights[layer]
        output, cell = begin[0], begin[1].numpy()
        for first in range(0, x.shape[0], BLOCK):
            block = x[first : first + BLOCK]
            flat = block.reshape(-1, block.shape[2])
            gates = torch.addmm(bias, flat, enter).view(*block.shape[:2], 4 * self.size)
            for i in range(gates.shape[0]):
                gates[i].addmm_(output, again)
                seen, kept = outputs[first + i], cells[first + i].numpy()
                step(gates[i].numpy(), cell, kept, seen.numpy())
                output, cell = seen, kept

    def _joined(
        self,
        parts: Sequence[_Segment],
        found: dict[_Segment, Trace],
        sequences: Sequence[torch.Tensor],
        state: Trace,
    ) -> Trace:
        """A sequence's trace from those of its segments, of which those are run again that did not
        come to the state they had to begin in."""
        results: list[Trace] = []
        for one in parts:
            trace = found[one]
            if one.warm and not _agree(results[-1], trace, one.warm - 1):
                self._warm *= 2
                again = _Segment(0, one.start, one.stop, 0)
                (trace,) = self._after(again, sequences[one.sequence], results[-1])
                results.append(trace)
            else:
                results.append(Trace(trace.outputs[:, one.warm :], trace.cells[:, one.warm :]))
        if not results:
            return state.part(0, 0)
        return Trace(
            np.concatenate([one.outputs for one in results], axis=1),
            np.concatenate([one.cells for one in results], axis=1),
        )

    def _after(self, one: _Segment, sequence: torch.Tensor, state: Trace) -> list[Trace]:
        part = _Segment(0, 0, one.stop - one.start, 0)
        return self._run([part], [sequence[one.start : one.stop]], [state])


def _agree(before: Trace, after: Trace, place: int) -> bool:
    """Whether the last state of one is that of the other at a place."""
    for ours, theirs in ((before.outputs, after.outputs), (before.cells, after.cells)):
        size = np.sqrt(np.square(ours[:, -1]).mean())
        # NaN agrees with nothing: then it is run again, and comes out.
        if not np.abs(ours[:, -1] - theirs[:, place]).max() <= AGREEMENT * size:
            return False
    return True
