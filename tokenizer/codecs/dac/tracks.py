"""One recording's piece on its way through a chain, in runs of steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.codecs.dac.layers import Tail, Whole
from tokenizer.codecs.dac.network import Grid, Ran, Run, steps_of

MOST_STEPS = 16
"""of a run: what a longer piece becomes is computed run by run"""


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """What the codec remembers of a recording: a `tokenizer.codecs.pieces.State`."""

    signal: NDArray[Any]
    """`[channels, n]` samples or codes that wait for those that follow"""
    tails: tuple[Tail, ...] | None
    """of every layer, as NumPy arrays; None before the first step"""


class Track:
    """What waited and what came, and what becomes of it."""

    def __init__(
        self,
        grid: Grid,
        come: NDArray[Any],
        state: Waiting | None,
        last: bool,
        device: torch.device,
    ) -> None:
        """`come` are the piece's float32 samples `[1, n]`, or codes int64 `[levels, n]`."""
        held = come if state is None else np.concatenate([state.signal, come], axis=1)
        self.begun = state is not None and state.tails is not None
        if held is come:
            held = come.copy()  # in memory of its own, wherever the caller's lies
        missing = -held.shape[1] % grid.hop
        if last and missing:
            held = np.pad(held, ((0, 0), (0, missing)))
        self.held = held
        """on the host: what waits, whole hops where the recording ends"""
        self.signal = torch.from_numpy(held).to(device)
        self.last, self._grid, self._device = last, grid, device
        self._tails = None if state is None or state.tails is None else _there(state.tails, device)
        self._done = 0
        self.outputs: list[torch.Tensor] = []
        self.certainty: list[torch.Tensor] = []

    @property
    def length(self) -> int:
        """Of what waits."""
        return self.signal.shape[1] - self._done

    def runs(self, parts: int, doubt: bool = False, whole: Whole | None = None) -> list[Run]:
        """The next ones, up to `parts` to be computed side by side; none when there is nothing
        left that can be computed yet."""
        ends = steps_of(self.length, self._grid.step * self._grid.hop, self.last)
        ends = ends[: MOST_STEPS * parts]
        runs = self._grid.runs(self.signal[:, self._done :], self._tails, ends, parts)
        if runs:
            final = self.last and ends[-1] == self.length
            runs = [replace(run, doubt=doubt, whole=whole) for run in runs]
            runs[-1] = replace(runs[-1], last=final)
            self._done += ends[-1]
        return runs

    def take(self, ran: list[Ran]) -> None:
        """What became of `runs`."""
        self.outputs += [one.output for one in ran]
        self.certainty += [one.certainty for one in ran]
        self._tails = ran[-1].tails

    def state(self) -> Waiting | None:
        """None after the last piece."""
        if self.last:
            return None
        tails = None if self._tails is None else tuple(_packed(tail) for tail in self._tails)
        return Waiting(self.signal[:, self._done :].cpu().numpy().copy(), tails)


def _packed(tail: Tail) -> Tail:
    if isinstance(tail, tuple):
        return tuple(_packed(one) for one in tail)
    return tail.cpu().numpy()


def _there(tail: Any, device: torch.device) -> Any:
    if isinstance(tail, tuple):
        return tuple(_there(one, device) for one in tail)
    return torch.from_numpy(tail).to(device)
