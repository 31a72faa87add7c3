"""Mimi's convolutions as EnCodec's, whose other ways to run them are then theirs too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tokenizer.codecs.encodec.networks import UnknownLayer


@dataclass(frozen=True, slots=True)
class AsEncodec:
    """A convolution of Mimi's as one of EnCodec's without a normalisation, of which it differs in
    nothing else that is looked at."""

    conv: Any
    causal: bool
    pad_mode: str = "constant"
    trim_right_ratio: float = 1.0
    norm_type: str = "none"
    norm: Any = None


def as_encodec(layer: Any) -> AsEncodec:
    """
    Raises:
        UnknownLayer: not a `MimiConv1d`.
    """
    require(layer, "MimiConv1d")
    return AsEncodec(layer.conv, bool(layer.causal), layer.pad_mode)


def residual_of(block: Any) -> tuple[AsEncodec, AsEncodec, AsEncodec | None]:
    """Of transformers' `MimiResnetBlock`: two convolutions, an ELU before each, and what lies
    beside them; None: nothing but the input.

    Raises:
        UnknownLayer: other layers than these.
    """
    layers = list(block.block)
    kinds = [type(layer).__name__ for layer in layers]
    if kinds != ["ELU", "MimiConv1d", "ELU", "MimiConv1d"]:
        raise UnknownLayer(f"a residual block of {kinds}")
    shortcut = type(block.shortcut).__name__ != "Identity" and as_encodec(block.shortcut)
    return as_encodec(layers[1]), as_encodec(layers[3]), shortcut or None


def require(layer: Any, kind: str) -> None:
    """
    Raises:
        UnknownLayer: a layer of another kind.
    """
    if type(layer).__name__ != kind:
        raise UnknownLayer(f"a layer of the kind {type(layer).__name__}")
