"""Coders that ship with codecshards."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tokenizer.coding.transformer.predictor import TransformerPredictor

_FILE = Path(__file__).resolve().parents[2] / "checkpoints" / "coder-small" / "coder.safetensors"


@cache
def small() -> TransformerPredictor:
    """Of the codes of the codec `small`, which ships too: 16 levels, and any first ones of them."""
    return TransformerPredictor.loads(_FILE.read_bytes())
