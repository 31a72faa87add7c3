"""The transformer as what an arithmetic coder takes its widths from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tokenizer.coding.base import Decoding, Predictor
from tokenizer.coding.transformer.fast import Fast
from tokenizer.coding.transformer.weights import Weights, loads
from tokenizer.errors import ShapeError


class TransformerPredictor(Predictor):
    """Widths by an integer transformer: `fast.py`, which equals `reference.py`."""

    kind = "transformer"

    def __init__(self, weights: Weights, data: bytes | None = None) -> None:
        """
        Args:
            weights: checked.
            data: the file that they came from; None writes it anew.
        """
        self._weights, self._data = weights, data
        self.sizes = weights.shape.sizes
        self.segment_frames = weights.segment_frames

    @property
    def weights(self) -> Weights:
        return self._weights

    def dumps(self) -> bytes:
        if self._data is None:
            self._data = self._weights.dumps()
        return self._data

    @classmethod
    def loads(cls, data: bytes) -> Self:
        return cls(loads(data), data)

    def at(self, n_q: int) -> TransformerPredictor:
        if n_q == len(self.sizes):
            return self
        return TransformerPredictor(self._weights.at(n_q))

    def intervals(self, segments: Sequence[NDArray[np.uint16]]) -> list[NDArray[np.uint32]]:
        sizes = np.array(self.sizes)
        for segment in segments:
            if segment.ndim != 2 or len(segment) != len(sizes):
                raise ShapeError(f"a segment {segment.shape}: {len(sizes)} levels were expected")
            if not 1 <= segment.shape[1] <= self.segment_frames:
                raise ShapeError(
                    f"a segment of {segment.shape[1]} frames: 1 to {self.segment_frames} can be "
                    "coded"
                )
            if (segment.max(axis=1) >= sizes).any():
                raise ShapeError("a code that is not in its codebook")
        return self._fast.intervals(segments)

    def begin(self, frames: Sequence[int]) -> Decoding:
        return self._fast.begin(frames)

    @cached_property
    def _fast(self) -> Fast:
        return Fast(self._weights)
