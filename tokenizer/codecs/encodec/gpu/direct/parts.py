"""What goes from one kernel to the next."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from tokenizer.codecs.encodec.gpu.direct.kernels.convolve import join
from tokenizer.codecs.encodec.gpu.fused import inside

TOGETHER = 4096
"""numbers of a signal that one program joins"""


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """A layer's output: the sum of `term * scale + shift`, of one term or two."""

    terms: tuple[torch.Tensor, ...]
    """each float32 `[rows, width, channels]`; where the only one is `parted`, two such, which
    together are it"""
    scales: tuple[torch.Tensor, ...]
    """float32 `[rows, channels]`, of each; none where terms are taken as they are"""
    shifts: tuple[torch.Tensor, ...]
    """likewise"""
    lengths: torch.Tensor
    """of the rows, int64 `[rows]`"""
    condition: torch.Tensor | None = None
    """as `tokenizer.codecs.encodec.gpu.masked.Signal.condition`"""
    parted: bool = False
    """whether the term is in two parts that tensor cores take as they are"""

    @property
    def rows(self) -> int:
        return self.terms[0].shape[-3]

    @property
    def width(self) -> int:
        return self.terms[0].shape[-2]

    def whole(self) -> torch.Tensor:
        """float32 `[rows, width, channels]`, with zeros beyond each row's end."""
        parts = self if len(self.terms) == 1 else joined(self, elu=False)
        x = parts.terms[0]
        if parts.scales:
            x = torch.addcmul(parts.shifts[0][:, None], x, parts.scales[0][:, None])
        return x.masked_fill(~inside(self.width, self.lengths).transpose(1, 2), 0.0)

    def plain(self, term: torch.Tensor, parted: bool = False) -> Parts:
        """The same rows with one term that is taken as it is."""
        return replace(self, terms=(term,), scales=(), shifts=(), parted=parted)


def joined(parts: Parts, elu: bool, parted: bool = False) -> Parts:
    """Two terms as one, or the ELU of their sum; what lies beyond a row's end is anything."""
    rows, width, channels = parts.terms[0].shape
    nothing, block = parts.terms[0], max(1, TOGETHER // channels)
    out = nothing.new_empty(*((2,) if parted else ()), rows, width, channels)
    join[(-(-width // block), rows)](
        *parts.terms,
        *(parts.scales or (nothing, nothing)),
        *(parts.shifts or (nothing, nothing)),
        parts.lengths,
        out,
        width,
        channels=channels,
        scaled=bool(parts.scales),
        elu=elu,
        parted=parted,
        samples_block=block,
    )
    return parts.plain(out, parted)
