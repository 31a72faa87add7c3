"""Wav2Vec2-BERT over rows of different lengths in one shape, each row as if it were alone: its
attention is told which positions are a row's own, and its convolutions look back only."""

from __future__ import annotations

from typing import Any

import torch

from tokenizer.codecs.encodec.networks import UnknownLayer
from tokenizer.codecs.semantic.gpu.attention import (
    added_mask,
    own_positions,
    require_added_masks,
)


class RowsConformer:
    """Runs transformers' `Wav2Vec2BertModel`, whose modules it takes."""

    def __init__(self, model: Any) -> None:
        """
        Raises:
            UnknownLayer: the model has layers that this cannot run.
        """
        kind = type(model).__name__
        if kind != "Wav2Vec2BertModel" or model.adapter is not None:
            raise UnknownLayer(f"a semantic model of the kind {kind}")
        if model.encoder.embed_positions is not None:
            raise UnknownLayer(f"positions of the kind {model.config.position_embeddings_type}")
        require_added_masks(model.config)
        self._projection, self._layers = model.feature_projection, list(model.encoder.layers)
        self._last = model.intermediate_ffn

    def __call__(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """float32 `[rows, positions, bins]` with the positions of each row, int64 `[rows]`, to
        `[rows, positions, dim]`; what is behind a row's end does not matter."""
        hidden: torch.Tensor = self._projection(features)[0]
        mask = added_mask(own_positions(hidden.shape[1], lengths), hidden.dtype)
        for layer in self._layers:
            hidden = layer(hidden, attention_mask=mask)
        if self._last is not None:
            hidden = hidden + 0.5 * self._last(hidden)
        return hidden
