"""The truth: transformers' own encoder and quantizer, on whole recordings or stretches."""

from __future__ import annotations

from typing import Any

import torch

from tokenizer.codecs.dac.geometry import Field
from tokenizer.codecs.dac.quantizer import Quantizer
from tokenizer.codecs.encodec.networks import check_finite

BLOCKED = 21
"""frames a multiple of which oneDNN blocks a convolution otherwise, on the processors that this was
measured on"""


class Reference:
    """A `DacModel`'s modules as they are."""

    def __init__(self, model: Any, n_q: int, field: Field) -> None:
        self._encoder, self._field = model.encoder, field
        self._quantizer = Quantizer(list(model.quantizer.quantizers)[:n_q])

    def encode(self, samples: torch.Tensor) -> torch.Tensor:
        """float32 `[1, samples]`, whole hops, to codes int64 `[n_q, frames]`.

        Raises:
            RecordingError: the encoder's output is not finite (ENCODER).
        """
        frames = self._encoder(samples[None])[0]
        check_finite(bool(torch.isfinite(frames).all()))
        return self._quantizer(frames, doubt=False)[0]

    def agrees(self, samples: torch.Tensor, codes: torch.Tensor, frame: int, hop: int) -> bool:
        """Whether transformers gives a frame these codes, `[n_q]`, on stretches of several lengths
        about it, of a recording float32 `[1, samples]`.

        For every length its convolutions may be blocked otherwise: of the few ways that there are,
        these have the common ones.
        """
        first, last = self._field.inputs(frame, frame)
        start, stop = first // hop, last // hop + 1
        least = stop - start
        blocked = -(-least // BLOCKED) * BLOCKED
        for length in (blocked, blocked + 4):
            begin = max(start - (length - least) // 2, 0)
            end = min(begin + length, samples.shape[1] // hop)
            begin = max(min(begin, end - length), 0)
            found = self.encode(samples[:, begin * hop : end * hop])[:, frame - begin]
            if not torch.equal(found, codes):
                return False
        return True
