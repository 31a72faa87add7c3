"""All levels of residual vector quantization in one kernel."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tokenizer.codecs.encodec.certainty import SCORE_NOISE
from tokenizer.codecs.encodec.gpu.direct.convolution import LEAST_CHANNELS, takes
from tokenizer.codecs.encodec.gpu.direct.kernels.quantize import quantize
from tokenizer.codecs.encodec.gpu.direct.tiles import of_quantizer
from tokenizer.codecs.encodec.networks import UnknownLayer


class DirectQuantizer:
    """All codebooks, on a CUDA device."""

    def __init__(
        self, codebooks: Sequence[torch.Tensor], halves: Sequence[torch.Tensor], exact: bool
    ) -> None:
        """
        Args:
            codebooks: float32 `[entries, dim]` each.
            halves: `tokenizer.codecs.encodec.quantizer.half_squares` of each.
            exact: certainty is computed too.

        Raises:
            UnknownLayer: sizes that this cannot run.
        """
        self._codebooks, self._halves = torch.stack(list(codebooks)), torch.stack(list(halves))
        self._levels, self._entries, self._dim = self._codebooks.shape
        # Entries go out of a product as channels do, and it adds up as many numbers as they have.
        sizes = takes(self._dim, self._entries) and self._dim >= LEAST_CHANNELS
        if not sizes or self._entries > 1 << 15:
            raise UnknownLayer(f"codebooks of {self._entries} entries of {self._dim} numbers")
        self._exact = exact
        self.tile = of_quantizer(exact, self._entries, self._dim)

    def __call__(
        self, frames: torch.Tensor, moved: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `tokenizer.codecs.encodec.quantizer.quantize`, with int16 codes."""
        count, tile = frames.shape[0], self.tile
        codes = torch.empty(self._levels, count, dtype=torch.int16, device=frames.device)
        certainty = frames.new_empty(count if self._exact else 1)
        quantize[(-(-count // tile.frames),)](
            frames.clone(memory_format=torch.contiguous_format),
            frames if moved is None else moved,
            self._codebooks,
            self._halves,
            codes,
            certainty,
            count,
            SCORE_NOISE,
            levels=self._levels,
            entries=self._entries,
            dim=self._dim,
            exact=self._exact,
            frames_block=tile.frames,
            entries_block=tile.channels,
            sum_block=tile.terms,
            num_warps=tile.warps,
            num_stages=tile.stages,
        )
        return codes, certainty
