"""An LSTM of two layers, a kernel a step."""

from __future__ import annotations

from typing import Any

import torch

from tokenizer.codecs.encodec.geometry import ConvolutionGeometry
from tokenizer.codecs.encodec.gpu.direct.convolution import Product, in_two_parts, takes
from tokenizer.codecs.encodec.gpu.direct.kernels.recur import recur
from tokenizer.codecs.encodec.gpu.direct.parts import Parts
from tokenizer.codecs.encodec.gpu.direct.tiles import of_recurrence
from tokenizer.codecs.encodec.networks import UnknownLayer

ONE_TAP = ConvolutionGeometry(taps=1, stride=1, dilation=1, causal=False, reflects=False)


class Recurrence:
    """The LSTM and its shortcut. It looks backwards only: what follows a row's end changes nothing
    before it.

    One kernel runs a step of the first layer and the step before of the second; what comes into the
    first is multiplied by its weights for all steps at once.
    """

    def __init__(self, lstm: Any, exact: bool) -> None:
        """
        Raises:
            UnknownLayer: not two layers of one direction, or of other sizes than this can run.
        """
        self._size, self._exact = int(lstm.hidden_size), exact
        plain = (lstm.num_layers, lstm.bidirectional, lstm.proj_size, lstm.bias, lstm.input_size)
        if plain != (2, False, 0, True, self._size) or not takes(self._size, self._size):
            raise UnknownLayer("an LSTM that is not of two layers of one size, a power of two")

        def of(name: str) -> torch.Tensor:
            found: torch.Tensor = getattr(lstm, name).detach()
            return found

        bias = of("bias_ih_l0") + of("bias_hh_l0")
        self.projection = Product(of("weight_ih_l0")[:, :, None], bias, ONE_TAP, exact)
        later = ("weight_hh_l0", "weight_ih_l1", "weight_hh_l1")
        self._weight = torch.stack([of(name) for name in later])
        self._bias = of("bias_ih_l1") + of("bias_hh_l1")
        self.tile = of_recurrence(exact, self._size)

    def __call__(self, parts: Parts) -> Parts:
        frames = parts.whole()
        rows, steps, size = frames.shape
        projected = self._projected(frames)
        states, cells = frames.new_empty(2, steps + 1, rows, size), frames.new_zeros(2, rows, size)
        states[:, 0].zero_()
        tile = self.tile
        grid = (-(-rows // tile.frames), size // tile.channels, 2)
        for step in range(steps + 1):
            recur[grid](
                projected,
                states,
                cells,
                self._weight,
                self._bias,
                step,
                steps,
                rows,
                size=size,
                exact=self._exact,
                rows_block=tile.frames,
                units_block=tile.channels,
                sum_block=tile.terms,
                num_warps=tile.warps,
                num_stages=tile.stages,
            )
        return parts.plain((states[1, 1:].transpose(0, 1) + frames).contiguous())

    def _projected(self, frames: torch.Tensor) -> torch.Tensor:
        """What comes into the first layer times its weights, with all its biases, float32
        `[rows * steps, 4 * size]`."""
        # As one signal of one row: the product knows nothing of rows.
        signal = frames.view(1, -1, self._size)
        count = frames.new_full((1,), signal.shape[1], dtype=torch.int64)
        signal = in_two_parts(signal) if self._exact else signal
        return self.projection(Parts((signal,), (), (), count, parted=self._exact), elu=False)[0]
