"""Mimi's transformers over a block of positions, with the keys and values of those before.

transformers' own layers run; what is different is that of the past only the attention's window is
there. In a whole recording they see no more: `create_sliding_window_causal_mask` masks all that is
`sliding_window` positions or more before, whichever implementation of attention runs, and also
when a cache holds it. Positions are counted from the recording's beginning, as RoPE is computed in
float32, in which angles at another place are others by rounding.
"""

from __future__ import annotations

from typing import Any

import torch

from tokenizer.codecs.mimi.states import Attended, to_array, to_tensor


class Window:
    """transformers' `Cache`, as far as its attention layers use one: hands each layer the keys and
    values before its new ones, and keeps what the next block needs."""

    def __init__(self, before: Attended | None, kept: int, device: torch.device) -> None:
        """`kept` positions of each layer are remembered."""
        self._keys = None if before is None else to_tensor(before.keys, device)
        self._values = None if before is None else to_tensor(before.values, device)
        self._kept = kept
        self._next: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.position = 0 if before is None else before.position
        self.held = 0 if before is None else before.keys.shape[2]
        """positions before the new ones"""

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """New keys and values `[1, heads, positions, head_dim]` of a layer, with those before."""
        if self._keys is not None and self._values is not None:
            keys = torch.cat([self._keys[layer][None], keys], 2)
            values = torch.cat([self._values[layer][None], values], 2)
        start = max(keys.shape[2] - self._kept, 0)
        self._next.append((keys[0, :, start:], values[0, :, start:]))
        return keys, values

    def attended(self, positions: int) -> Attended:
        """After so many new positions in every layer."""
        keys, values = zip(*self._next, strict=True)
        return Attended(
            to_array(torch.stack(keys)),
            to_array(torch.stack(values)),
            self.position + positions,
        )


class WindowedTransformer:
    """Runs transformers' `MimiTransformerModel`, whose layers it takes."""

    def __init__(self, module: Any) -> None:
        self._layers, self._rotary = list(module.layers), module.rotary_emb
        self._window = int(module.config.sliding_window)

    def __call__(
        self, hidden: torch.Tensor, before: Attended | None, remember: bool = True
    ) -> tuple[torch.Tensor, Attended | None]:
        """float32 `[positions, dim]` to the same shape, and what the next block needs, if it is to
        be remembered."""
        count, device = hidden.shape[0], hidden.device
        window = Window(before, self._window - 1, device)
        places = torch.arange(window.position, window.position + count, device=device)
        embeddings = self._rotary(hidden, places[None])
        mask = self._mask(count, window.held, device)
        hidden = hidden[None]
        for layer in self._layers:
            hidden = layer(
                hidden,
                attention_mask=mask,
                past_key_values=window,
                position_embeddings=embeddings,
            )
        return hidden[0], window.attended(count) if remember else None

    def rows(self, hidden: torch.Tensor) -> torch.Tensor:
        """Recordings from their beginnings, float32 `[rows, positions, dim]`, to the same shape; of
        those, what follows a row's own end is nothing."""
        count, device = hidden.shape[1], hidden.device
        embeddings = self._rotary(hidden, torch.arange(count, device=device)[None])
        # As transformers does it: without a mask an attention may run another kernel.
        mask = None if count <= self._window else self._mask(count, 0, device)
        for layer in self._layers:
            hidden = layer(hidden, attention_mask=mask, position_embeddings=embeddings)
        return hidden

    def _mask(self, count: int, held: int, device: torch.device) -> torch.Tensor:
        """bool `[1, 1, count, held + count]`: what each new position sees."""
        new = torch.arange(held, held + count, device=device)[:, None]
        back = new - torch.arange(held + count, device=device)[None]
        return ((back >= 0) & (back < self._window))[None, None]
