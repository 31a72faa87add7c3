"""Predictors by the names that archives have of them, and coders by the names that users give."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Shipped:
    """A coder that ships with codecshards."""

    place: str
    """`module:function` that gives it, of all levels that it has"""
    weights_sha256: str
    """of the codec whose codes it was trained on"""


SHIPPED: dict[str, Shipped] = {
    "small": Shipped(
        "tokenizer.coding.transformer.shipped:small",
        "ad3f75abd250f0d5b1a4ab3eec218abad32eda6bf67ba78eb805e277a8888834",
    )
}
"""by name"""


def shipped_for(weights_sha256: str) -> str | None:
    """The name of the coder that was trained on a codec's codes; None where none was."""
    for name, one in SHIPPED.items():
        if one.weights_sha256 == weights_sha256:
            return name
    return None


def shipped(name: str) -> Predictor:
    """A coder that ships with codecshards, of all levels that it has.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in SHIPPED:
        known = f"there are {', '.join(SHIPPED)}" if SHIPPED else "none does"
        raise UsageError(f"no coder {name} ships with codecshards: {known}")
    module, function = SHIPPED[name].place.split(":")
    return cast(Predictor, getattr(import_module(module), function)())
