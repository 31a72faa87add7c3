"""What lies between two convolutions as one kernel each: bias, normalisation, the sum of a residual
block's branches, ELU and padding, written by torch's compiler.

The same arithmetic as `tokenizer.codecs.encodec.gpu.masked` has, without its passes in between: a
convolution's output is read once for its mean and variance and once for the next convolution's
padded input. A compiler may contract and reorder; near ties are settled as ever.

    masked   convolve, + bias │ moments │ × scale + shift │ + branch │ ELU │ mask │ reflect
    fused    convolve         │ moments of y + bias       │ all of the rest
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

from tokenizer.codecs.encodec.geometry import ConvolutionGeometry

VARIANTS = 64
"""of one function: terms, masks, ELU and kinds of padding; torch's own limit is 8"""


class Fused:
    """Compiled functions, made once for a network."""

    def __init__(self, backend: str | None = "inductor") -> None:
        """`backend`: of `torch.compile`; None leaves the functions as they are."""

        def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
            if backend is None:
                return function
            made: Callable[..., Any] = torch.compile(
                function, dynamic=True, fullgraph=True, backend=backend
            )
            return made

        self._written, self._padded = compiled(written), compiled(padded)
        self._padded_by_row, self._normalisation = compiled(padded_by_row), compiled(normalisation)

    def written(self, *arguments: Any) -> torch.Tensor:
        """`written`, compiled."""
        with _variants():
            found: torch.Tensor = self._written(*arguments)
        return found

    def padded(self, *arguments: Any) -> torch.Tensor:
        """`padded`, compiled."""
        with _variants():
            found: torch.Tensor = self._padded(*arguments)
        return found

    def padded_by_row(self, *arguments: Any) -> torch.Tensor:
        """`padded_by_row`, compiled."""
        with _variants():
            found: torch.Tensor = self._padded_by_row(*arguments)
        return found

    def normalisation(
        self, *arguments: Any
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """`normalisation`, compiled."""
        with _variants():
            found: tuple[torch.Tensor, torch.Tensor, torch.Tensor | None] = self._normalisation(
                *arguments
            )
        return found


def _variants() -> Any:
    config: Any = torch._dynamo.config
    return config.patch(recompile_limit=VARIANTS, accumulated_recompile_limit=8 * VARIANTS)


def inside(width: int, lengths: torch.Tensor) -> torch.Tensor:
    """Which samples belong to their row: bool `[rows, 1, width]`."""
    return (torch.arange(width, device=lengths.device) < lengths[:, None])[:, None]


def written(
    terms: Sequence[torch.Tensor],
    scales: Sequence[torch.Tensor],
    shift: torch.Tensor | None,
    lengths: torch.Tensor | None,
    elu: bool,
) -> torch.Tensor:
    """A signal in parts, or its ELU, as one tensor float32 `[rows, channels, width]`, with zeros
    beyond each row's end; parts as `tokenizer.codecs.encodec.gpu.masked.Signal` has them."""
    x = terms[0]
    if shift is not None:
        x = torch.addcmul(shift, x, scales[0])
        for term, scale in zip(terms[1:], scales[1:], strict=True):
            x = torch.addcmul(x, term, scale)
    if elu:
        x = functional.elu(x)
    return x if lengths is None else x.masked_fill(~inside(x.shape[2], lengths), 0.0)


def padded(
    terms: Sequence[torch.Tensor],
    scales: Sequence[torch.Tensor],
    shift: torch.Tensor | None,
    elu: bool,
    left: int,
    right: int,
    reflects: bool,
) -> torch.Tensor:
    """The same of full rows, with padding around."""
    x = written(terms, scales, shift, None, elu)
    return functional.pad(x, (left, right), "reflect" if reflects else "constant")


def padded_by_row(
    terms: Sequence[torch.Tensor],
    scales: Sequence[torch.Tensor],
    shift: torch.Tensor | None,
    lengths: torch.Tensor,
    elu: bool,
    geometry: ConvolutionGeometry,
) -> torch.Tensor:
    """The same with padding behind each row's own end: as
    `tokenizer.codecs.encodec.gpu.masked.Convolution` pads, read from where a sample stands instead
    of written to where it belongs."""
    x = written(terms, scales, shift, None, elu)
    left, behind = geometry.left, geometry.right + geometry.stride - 1
    places = torch.arange(-left, x.shape[2] + behind, device=x.device).expand(x.shape[0], -1)
    ends = lengths[:, None]
    own = (places >= 0) & (places < ends)
    if geometry.reflects:
        mirrored = geometry.mirrored(places, ends)
        is_padding = (places < 0) | ((places >= ends) & (places < ends + behind))
        source = torch.where(own, places, mirrored)
        known = own | (is_padding & (source >= 0) & (source < ends))
    else:
        source, known = places, own
    source = torch.where(known, source, torch.zeros_like(source))
    values = x.gather(2, source[:, None].expand(-1, x.shape[1], -1))
    return values.where(known[:, None], values.new_zeros(()))


def normalisation(
    y: torch.Tensor,
    bias: torch.Tensor,
    lengths: torch.Tensor | None,
    weight: torch.Tensor,
    offset: torch.Tensor,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """GroupNorm with one group of `y + bias`, each row over its own length.

    Args:
        y: float32 `[rows, channels, width]`, a convolution's output without its bias.
        bias, weight, offset: float32 `[channels]`.
        lengths: int64 `[rows]`; None: all are full.

    Returns:
        Scale and shift `[rows, channels, 1]`, with which `y * scale + shift` is the normalised
        output, and each row's condition `[rows]` (`Signal.condition`).
    """
    z = y + bias[:, None]
    if lengths is None:
        variance, mean = torch.var_mean(z, (1, 2), correction=0, keepdim=True)
    else:
        known = inside(y.shape[2], lengths)
        count = (lengths * y.shape[1]).to(y.dtype)[:, None, None]
        mean = z.where(known, z.new_zeros(())).sum((1, 2), keepdim=True) / count
        spread = (z - mean).where(known, z.new_zeros(()))
        variance = spread.square().sum((1, 2), keepdim=True) / count
    scale = (variance + eps).rsqrt() * weight[:, None]
    shift = offset[:, None] + (bias[:, None] - mean) * scale
    condition = ((variance + mean.square()) / (variance + eps)).sqrt().clamp_min(1.0).view(-1)
    return scale, shift, condition
