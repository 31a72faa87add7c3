"""EnCodec's encoder by kernels of our own: one for each convolution with all that lies between it
and the one before.

What `tokenizer.codecs.encodec.gpu.masked` does in torch's operations, to the same numbers but for
rounding. Rows are masked to their own lengths, and what lies beyond a row's end is not computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from tokenizer.codecs.encodec.gpu.direct.convolution import Convolution
from tokenizer.codecs.encodec.gpu.direct.parts import Parts, joined
from tokenizer.codecs.encodec.gpu.direct.recurrence import Recurrence
from tokenizer.codecs.encodec.gpu.masked import branches_of, steps_of, times
from tokenizer.codecs.encodec.networks import UnknownLayer

Step = Callable[[Parts], Parts]


class DirectEncoder:
    """Runs transformers' `EncodecEncoder`, whose weights it takes, on a CUDA device."""

    def __init__(self, module: Any, exact: bool) -> None:
        """`exact`: products have float32's precision, else TF32's.

        Raises:
            UnknownLayer: a layer that this cannot run.
        """
        self._steps = [_step(kind, layer, elu, exact) for kind, layer, elu in steps_of(module)]

    def conditioned(
        self, samples: torch.Tensor, lengths: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """As `tokenizer.codecs.encodec.gpu.masked.MaskedEncoder.conditioned`."""
        rows, _, width = samples.shape
        known = lengths
        if known is None:
            known = torch.full((rows,), width, dtype=torch.int64, device=samples.device)
        parts = Parts((samples.transpose(1, 2).contiguous(),), (), (), known)
        for step in self._steps:
            parts = step(parts)
        condition = samples.new_ones(rows) if parts.condition is None else parts.condition
        frames = None if lengths is None else parts.lengths
        return parts.whole().transpose(1, 2), frames, condition


def _step(kind: str, layer: Any, elu: bool, exact: bool) -> Step:
    if kind == "EncodecConv1d":
        return Convolution(layer, elu, exact)
    if kind == "EncodecResnetBlock":
        return _Residual(layer, exact)
    if kind == "EncodecLSTM":
        return Recurrence(layer.lstm, exact)
    raise UnknownLayer(f"a layer of the kind {kind}")


class _Residual:
    """transformers' `EncodecResnetBlock`: two convolutions, each with an ELU before it, beside a
    shortcut."""

    def __init__(self, block: Any, exact: bool) -> None:
        first, second, shortcut = branches_of(block)
        self._first, self._second = (Convolution(one, True, exact) for one in (first, second))
        self._shortcut = None if shortcut is None else Convolution(shortcut, False, exact)

    def __call__(self, parts: Parts) -> Parts:
        if len(parts.terms) > 1:
            parts = joined(parts, elu=False)
        branch = self._second(self._first(parts))
        beside = parts if self._shortcut is None else self._shortcut(replace(parts, condition=None))
        if bool(branch.scales) != bool(beside.scales):
            branch, beside = branch.plain(branch.whole()), beside.plain(beside.whole())
        return Parts(
            branch.terms + beside.terms,
            branch.scales + beside.scales,
            branch.shifts + beside.shifts,
            parts.lengths,
            # The branch has grown what came in; the shortcut, what goes out beside it.
            times(branch.condition, None if self._shortcut is None else beside.condition),
        )
