"""Codes that only a recording's whole way through its LSTM decides, found by transformers' own
modules from its start, and no further than the last of them: what follows changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tokenizer.codecs.encodec.reference import ReferenceModules
from tokenizer.codecs.encodec.streams.reach import LEAST_FRAMES, usual
from tokenizer.codecs.encodec.streams.stack import Stack, parts_of
from tokenizer.codecs.encodec.streams.stage import Rows


class Beginning:
    """Runs them in windows that are rounded as the whole recording is."""

    def __init__(self, model: Any, modules: ReferenceModules, stack: Stack, n_q: int) -> None:
        """`stack` is that of transformers' encoder."""
        self._before, _, _ = parts_of(model.encoder)
        self._causal = bool(model.config.use_causal_conv)
        self._modules, self._stack, self._n_q = modules, stack, n_q

    def decides(self, samples: int) -> bool:
        """Whether windows are rounded as a recording of so many samples is.

        With several threads those of an encoder that looks ahead are not, and convolutions over a
        recording of some lengths add up in an order that no window has.
        """
        if torch.get_num_threads() == 1:
            return True
        return self._causal and usual(self._before, samples)

    def __call__(self, rows: Rows, frames: Sequence[int]) -> torch.Tensor:
        """Codes int64 `[n_q, frames]` of some frames, in order, of a recording float32
        `[n, channels]`."""
        first, second = self._stack.first, self._stack.second
        looks = first.reach.after + second.reach.after
        count = max(frames[-1] + 1 + looks, first.reach.least, second.reach.least)
        begin = self._stack.begin(rows.shape[1])
        _, (embeddings,), _ = self._stack.advance([begin], [rows[: count * first.taken]], [True])
        # A product of few rows would be rounded in another way.
        start = max(min(frames[0], len(embeddings) - LEAST_FRAMES), 0)
        there = embeddings[start:].t()[None].contiguous()
        places = [frame - start for frame in frames]
        return self._modules.quantize(there, self._n_q)[:, 0, places]
