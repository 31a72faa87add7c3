"""The transformer in floating point, for training.

After section 3.3 of "High Fidelity Neural Audio Compression" (Défossez et al., 2022): the codes of
a frame are predicted from those of the frames before it. Here positions are a learned bias of the
attention by distance, and a level may see the levels below it in its frame. Every operation has its
counterpart in integers (`reference.py`), so there is no affine layer norm (the product that follows
has the same freedom) and no activation but ReLU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from tokenizer.coding.transformer.rounding import rounded
from tokenizer.coding.transformer.shape import Shape

LN_EPS = 1e-5
LARGEST_SHIFT = 7
"""a level's table is int8 times a power of two, up to this one"""


class Network(nn.Module):
    """Scores of every code of every level."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        width, table, hidden = shape.width, shape.table, shape.head_width
        self.quantised = False
        """whether weights are rounded as the integers will be"""
        self.entries = nn.ParameterList(
            [nn.Parameter(torch.randn(size, table) * 0.5) for size in shape.sizes]
        )
        self.enter = nn.Parameter(torch.randn(width, 2 * table) / math.sqrt(2 * table))
        self.start = nn.Parameter(torch.zeros(width))
        self.rate = nn.Parameter(torch.zeros(shape.levels, width))
        self.layers = nn.ModuleList([Layer(shape) for _ in range(shape.layers)])
        self.from_trunk = _matrices(shape.levels, hidden, width)
        self.from_below = _matrices(shape.levels, hidden, table) if shape.conditioned else None
        self.head_bias = nn.Parameter(torch.zeros(shape.levels, hidden))
        self.towards = nn.Parameter(torch.randn(shape.levels, table, hidden) * 0.01)
        self.outputs = nn.ParameterList(
            [nn.Parameter(torch.randn(size, table) / math.sqrt(table)) for size in shape.sizes]
        )
        self.priors = nn.ParameterList(
            [nn.Parameter(torch.full((size,), -math.log(size))) for size in shape.sizes]
        )

    def blocks(self) -> list[Layer]:
        return [layer for layer in self.layers if isinstance(layer, Layer)]

    def trunk(self, codes: torch.Tensor, entries: Sequence[torch.Tensor]) -> torch.Tensor:
        """What is known before each frame: `[B, T, width]` of codes `[B, n_q, T]`."""
        n_q, coarse = codes.shape[1], self.shape.coarse
        low = _summed(entries, codes, range(min(coarse, n_q)))
        high = _summed(entries, codes, range(coarse, n_q)) if n_q > coarse else low * 0
        known = torch.cat([low, high], dim=-1)[:, :-1]
        x = functional.linear(known, self._w(self.enter))
        start = self.start.expand(len(codes), 1, -1)
        x = torch.cat([start, x], dim=1) + self.rate[n_q - 1]
        for layer in self.layers:
            x = layer(x, self.quantised)
        return _normed(x)

    def losses(self, codes: torch.Tensor, valid: torch.Tensor) -> list[torch.Tensor]:
        """Mean nats a code, of each level.

        Args:
            codes: int64 `[B, n_q, T]`.
            valid: bool `[B, T]`, frames that are there.
        """
        entries = [_table(one, self.quantised) for one in self.entries]
        known = self.trunk(codes, entries)[valid]
        of_frames = codes.transpose(1, 2)[valid]
        below = known.new_zeros(len(known), self.shape.table)
        found = []
        for level in range(codes.shape[1]):
            scores = self.scores(level, known, below)
            found.append(functional.cross_entropy(scores, of_frames[:, level]))
            if self.shape.conditioned:
                below = below + functional.embedding(of_frames[:, level], entries[level])
        return found

    def scores(self, level: int, known: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
        """Logarithms of probabilities, up to a constant: `[N, size]` of `[N, width]` and of sums of
        the entries below, `[N, table]`."""
        hidden = functional.linear(known, self._w(self.from_trunk[level]), self.head_bias[level])
        if self.from_below is not None and level:
            hidden = hidden + functional.linear(below, self._w(self.from_below[level]))
        towards = functional.linear(torch.relu(hidden), self._w(self.towards[level]))
        return functional.linear(towards, self._w(self.outputs[level]), self.priors[level])

    def _w(self, weight: torch.Tensor) -> torch.Tensor:
        return rounded(weight) if self.quantised else weight


class Layer(nn.Module):
    """Attention and feed-forward, each after a layer norm and beside the stream."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, self.heads, self.past = shape.width, shape.heads, shape.past
        scale = 1 / math.sqrt(width)
        self.attend = nn.Parameter(torch.randn(3 * width, width) * scale)
        self.attend_bias = nn.Parameter(torch.zeros(3 * width))
        self.gather = nn.Parameter(torch.randn(width, width) * scale * 0.5)
        self.expand = nn.Parameter(torch.randn(shape.feed_forward, width) * scale)
        self.expand_bias = nn.Parameter(torch.zeros(shape.feed_forward))
        self.contract = nn.Parameter(
            torch.randn(width, shape.feed_forward) * 0.5 / math.sqrt(shape.feed_forward)
        )
        slopes = 2.0 ** -torch.arange(1, 1 + shape.heads)  # as ALiBi begins (Press et al., 2022)
        self.distance = nn.Parameter(-slopes[:, None] * torch.arange(shape.past))
        self.gather_bias = nn.Parameter(torch.zeros(width))
        self.contract_bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor, quantised: bool) -> torch.Tensor:
        def w(weight: torch.Tensor) -> torch.Tensor:
            return rounded(weight) if quantised else weight

        batch, time, width = x.shape
        qkv = functional.linear(_normed(x), w(self.attend), self.attend_bias)
        q, k, v = qkv.view(batch, time, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=self._bias(time))
        seen = seen.transpose(1, 2).reshape(batch, time, width)
        x = x + functional.linear(seen, w(self.gather), self.gather_bias)
        hidden = torch.relu(functional.linear(_normed(x), w(self.expand), self.expand_bias))
        return x + functional.linear(hidden, w(self.contract), self.contract_bias)

    def _bias(self, time: int) -> torch.Tensor:
        """`[heads, time, time]`, minus infinity where a frame does not look."""
        frames = torch.arange(time, device=self.distance.device)
        apart = frames[:, None] - frames[None]
        bias = self.distance[:, apart.clamp(0, self.past - 1)]
        return bias.masked_fill((apart < 0) | (apart >= self.past), -math.inf)


def _matrices(count: int, rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(count, rows, columns) / math.sqrt(columns))


def _normed(x: torch.Tensor) -> torch.Tensor:
    return functional.layer_norm(x, x.shape[-1:], eps=LN_EPS)


def _table(entries: torch.Tensor, quantised: bool) -> torch.Tensor:
    return rounded(entries, of_all=True) if quantised else entries


def _summed(entries: Sequence[torch.Tensor], codes: torch.Tensor, levels: range) -> torch.Tensor:
    total = functional.embedding(codes[:, levels[0]], entries[levels[0]])
    for level in levels[1:]:
        total = total + functional.embedding(codes[:, level], entries[level])
    return total
