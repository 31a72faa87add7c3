"""Mimi's transformers over a block of positions, with the keys and values of those before.

transformers' own layers run; what is different is that of the past only the attention's window is
there. In a whole recording they see no more: `create_sliding_window_causal_mask` masks all that is
`sliding_window` positions or more before, whichever implementation of attention runs, and also
when a cache holds it. Positions are counted from the recording's beginning, as RoPE is computed in
float32, in which angles at another place are others by rounding.

With blocks of `KEYS` positions, and the keys of the whole block before, everything is also added up
as torch adds it up for the whole (measured, not promised): its attention on a CPU goes through the
keys in blocks of that many; and products give a row the same bits whatever the number of rows, but
for a few. What of the past is masked adds zeros.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

import torch
from torch.nn import functional

from tokenizer.codecs.mimi.states import Attended, to_array, to_tensor

KEYS = 512
"""that torch's attention on a CPU takes at a time, from a recording's beginning on: sums and the
largest value are carried from one such block to the next"""
FEW = 16
"""rows from which on a product's rows are each summed in one order, however many there are"""


def rows_of(positions: int) -> int:
    """Rows for the last block of a recording of so many positions, more than `KEYS`: as many that
    products sum as they do for the whole; and the queries, which attention takes in parts of 64, or
    of 256 from 768 on, end with a part of few where the whole does."""
    rest = positions % (64 if positions < 768 else 256)
    return KEYS + (rest if rest < FEW else 0)


class Window:
    """transformers' `Cache`, as far as its attention layers use one: hands each layer the keys and
    values before its new ones, and keeps what the next block needs."""

    def __init__(
        self, before: Attended | None, count: int, kept: int, device: torch.device
    ) -> None:
        """`count` positions are new, the last ones that a layer is given; `kept` of each layer are
        remembered."""
        self._keys = None if before is None else to_tensor(before.keys, device)
        self._values = None if before is None else to_tensor(before.values, device)
        self._count, self._kept = count, kept
        self._next: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.position = 0 if before is None else before.position
        self.held = 0 if before is None else before.keys.shape[2]
        """positions before the new ones"""

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """New keys and values `[1, heads, positions, head_dim]` of a layer, with those before."""
        start = keys.shape[2] - self._count
        keys, values = keys[:, :, start:], values[:, :, start:]
        if self._keys is not None and self._values is not None:
            keys = torch.cat([self._keys[layer][None], keys], 2)
            values = torch.cat([self._values[layer][None], values], 2)
        start = max(keys.shape[2] - self._kept, 0)
        self._next.append((keys[0, :, start:], values[0, :, start:]))
        return keys, values

    def attended(self) -> Attended:
        """After the new positions in every layer."""
        keys, values = zip(*self._next, strict=True)
        return Attended(
            to_array(torch.stack(keys)),
            to_array(torch.stack(values)),
            self.position + self._count,
        )


class WindowedTransformer:
    """Runs transformers' `MimiTransformerModel`, whose layers it takes."""

    def __init__(self, module: Any, aligned: bool = False) -> None:
        """With `aligned`, blocks begin at multiples of `KEYS` positions, and are rounded as the
        whole is."""
        self._layers, self._rotary = list(module.layers), module.rotary_emb
        # transformers 5.24 has renamed it; before, a layer drops a name that it does not know.
        known = signature(module.forward).parameters
        self._cache = "cache" if "cache" in known else "past_key_values"
        self._window, self._aligned = int(module.config.sliding_window), aligned
        self._kept = self._window - 1
        if aligned:
            self._kept = -(-self._kept // KEYS) * KEYS

    def __call__(
        self, hidden: torch.Tensor, before: Attended | None, remember: bool = True
    ) -> tuple[torch.Tensor, Attended | None]:
        """float32 `[positions, dim]` to the same shape, and what the next block needs, if it is to
        be remembered."""
        count, device = hidden.shape[0], hidden.device
        window = Window(before, count, self._kept, device)
        front = 0
        if self._aligned and window.position:
            front = rows_of(window.position + count) - count
            hidden = functional.pad(hidden, (0, 0, front, 0))
        places = torch.arange(window.position - front, window.position + count, device=device)
        embeddings = self._rotary(hidden, places[None])
        mask = self._mask(count, window.held, device, front)
        hidden = hidden[None]
        for layer in self._layers:
            hidden = _states(
                layer(
                    hidden,
                    attention_mask=mask,
                    position_embeddings=embeddings,
                    **{self._cache: window},
                )
            )
        return hidden[0, front:], window.attended() if remember else None

    def rows(self, hidden: torch.Tensor) -> torch.Tensor:
        """Recordings from their beginnings, float32 `[rows, positions, dim]`, to the same shape; of
        those, what follows a row's own end is nothing."""
        count, device = hidden.shape[1], hidden.device
        embeddings = self._rotary(hidden, torch.arange(count, device=device)[None])
        # As transformers does it: without a mask an attention may run another kernel.
        mask = None if count <= self._window else self._mask(count, 0, device)
        for layer in self._layers:
            hidden = _states(layer(hidden, attention_mask=mask, position_embeddings=embeddings))
        return hidden

    def _mask(self, count: int, held: int, device: torch.device, front: int = 0) -> torch.Tensor:
        """bool `[1, 1, front + count, held + count]`: what each new position sees, and so many
        before them."""
        new = torch.arange(held - front, held + count, device=device)[:, None]
        back = new - torch.arange(held + count, device=device)[None]
        return ((back >= 0) & (back < self._window))[None, None]


def _states(found: Any) -> torch.Tensor:
    """What a layer gives: up to transformers 5.20 the first of a tuple."""
    states: torch.Tensor = found[0] if isinstance(found, tuple) else found
    return states
