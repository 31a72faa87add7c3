"""Predictors by the names that archives have of them, and coders by the names that users give."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from tokenizer.coding.base import Predictor

PREDICTORS: dict[str, str] = {
    "static": "tokenizer.coding.static:StaticPredictor",
    "transformer": "tokenizer.coding.transformer.predictor:TransformerPredictor",
}
"""`Predictor.kind` → `module:class`, imported when it is used"""


def load_predictor(kind: str, data: bytes) -> Predictor:
    """The predictor of a kind that `Predictor.dumps` has written.

    Raises:
        ValueError: no such kind, or other bytes than that gives.
    """
    if kind not in PREDICTORS:
        raise ValueError(f"no coder of the kind {kind!r}: it takes a later version of codecshards")
    module, name = PREDICTORS[kind].split(":")
    found = cast(type[Predictor], getattr(import_module(module), name))
    return found.loads(data)
