"""The encoder's layers but for its LSTM on many full chunks at once, each with the bits that it has
alone.

Most of what a chunk alone takes on a GPU is waiting: a normalisation runs on a single one of its
processors, and dozens of kernels are too small for it. In company every row would be done at the
same time, but libraries choose their algorithms by a batch's shape, and another algorithm may add
in another order. So a step runs in one call only in shapes in which a trial on this device, with
this process's libraries, has found that each row comes out as from a call of its own; else there is
a call for each row.

A trial's rows are noise, and no two algorithms that add in different orders round a million sums of
noise alike. That the choice depends on nothing but shapes and layout is what transformers' codes on
a GPU depend on anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from tokenizer.codecs.encodec.gpu.masked import normalised
from tokenizer.codecs.encodec.networks import UnknownLayer
from tokenizer.codecs.encodec.reference import StaticConvolution
from tokenizer.codecs.encodec.scales import normalise

RowsStep = Callable[[torch.Tensor, bool], torch.Tensor]
"""float32 `[rows, channels, n]` and whether it is a trial, to `[rows, out, m]`"""


class Together:
    """A step on rows, in one call where a trial allows it."""

    def __init__(self, step: Callable[[torch.Tensor], torch.Tensor], copies: bool = False) -> None:
        """`step` takes and gives any number of rows, and does not mix them; `copies`: whether what
        it is given is copied before anything is computed."""
        self._step, self._copies = step, copies
        self._proven: set[tuple[int, ...]] = set()

    def __call__(self, x: torch.Tensor, trial: bool = False) -> torch.Tensor:
        """`[rows, …]`, every row with the bits of a call of its own; in a trial it is seen whether
        one call gives these."""
        if trial:
            return self._tried(x)
        return self._step(x) if tuple(x.shape) in self._proven else self._by_row(x)

    def _tried(self, x: torch.Tensor) -> torch.Tensor:
        alone = self._by_row(x)
        if torch.equal(self._step(x), alone):
            self._proven.add(tuple(x.shape))
        return alone

    def _by_row(self, x: torch.Tensor) -> torch.Tensor:
        # Each in memory of its own: where a row lies in a batch's could decide how it is added up.
        rows = torch.split(x, 1)
        found = [self._step(row if self._copies else row.clone()) for row in rows]
        return found[0] if len(found) == 1 else torch.cat(found)


class RowsEncoder:
    """Layers of transformers' `EncodecEncoder`, up to its LSTM, on full chunks."""

    def __init__(self, layers: Iterable[Any], scaled: bool) -> None:
        """With `scaled`, chunks are divided by their scales first.

        Raises:
            UnknownLayer: a layer that this cannot run.
        """
        self._scaled = scaled
        self._scales = Together(scales)
        self._steps = [_step(layer) for layer in layers]

    def __call__(
        self, samples: torch.Tensor, trial: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 `[rows, channels, n]` to `[rows, out, frames]` and scales `[rows, 1, 1]`."""
        found = self._scales(samples, trial)
        x = samples / found if self._scaled else samples
        for step in self._steps:
            x = step(x, trial)
        return x, found


def scales(samples: torch.Tensor) -> torch.Tensor:
    """Of chunks `[rows, channels, n]`, `[rows, 1, 1]`."""
    return normalise(samples)[1]


def _step(layer: Any) -> RowsStep:
    kind = type(layer).__name__
    if kind == "EncodecConv1d":
        return RowsConvolution(layer)
    if kind == "EncodecResnetBlock":
        return _Residual(layer)
    if kind == "ELU":
        return Together(layer)  # on a CPU where a vector ends it may be another function
    if kind == "Identity":
        return lambda x, trial: x
    raise UnknownLayer(f"a layer of the kind {kind} before the LSTM")


class RowsConvolution:
    """transformers' `EncodecConv1d`."""

    def __init__(self, module: Any) -> None:
        alone = StaticConvolution(module)
        self._convolve = Together(alone.convolved, copies=True)
        self._normalise = Together(alone.normalised)
        self._norm = module.norm if module.norm_type == "time_group_norm" else None

    def __call__(self, x: torch.Tensor, trial: bool = False) -> torch.Tensor:
        """float32 `[rows, channels, n]`, to `[rows, out, frames]`."""
        return self._normalise(self._convolve(x, trial), trial)

    def conditioned(
        self, x: torch.Tensor, trial: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same, with how much the normalisation has grown what rounding did to each row before
        it, `[rows]` (`tokenizer.codecs.encodec.gpu.masked.Signal.condition`)."""
        y = self._convolve(x, trial)
        condition = normalised(y, None, self._norm).condition
        return self._normalise(y, trial), y.new_ones(y.shape[0]) if condition is None else condition


class _Residual:
    """transformers' `EncodecResnetBlock`."""

    def __init__(self, module: Any) -> None:
        self._block, self._shortcut = (
            [_step(layer) for layer in module.block],
            _step(module.shortcut),
        )

    def __call__(self, x: torch.Tensor, trial: bool) -> torch.Tensor:
        branch = x
        for step in self._block:
            branch = step(branch, trial)
        return self._shortcut(x, trial) + branch
