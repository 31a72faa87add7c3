"""Predictors by the names that archives have of them, and coders by the names that users give."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from tokenizer.coding.base import Predictor
from tokenizer.errors import UsageError

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


SHIPPED: dict[str, str] = {}
"""name of a coder that ships with codecshards → `module:function` that gives it"""


def shipped(name: str) -> Predictor:
    """A coder that ships with codecshards, of all levels that it has.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in SHIPPED:
        known = f"there are {', '.join(SHIPPED)}" if SHIPPED else "none does"
        raise UsageError(f"no coder {name} ships with codecshards: {known}")
    module, function = SHIPPED[name].split(":")
    return cast(Predictor, getattr(import_module(module), function)())
