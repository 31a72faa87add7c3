"""Corpora in, shards of codes out, and shards to training batches. The loader's names load on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.loader.batch import Batch, PackedBatch
    from pipelines.loader.batching import Buckets, Pack
    from pipelines.loader.crop import Crop
    from pipelines.loader.dataset import CodesDataset
    from pipelines.loader.loader import CodesLoader
    from pipelines.loader.mixing import Mixture, mix
    from pipelines.loader.patterns import CoarseFirst, Delay, Flatten, Parallel, Pattern
    from pipelines.loader.sample import Sample, Span

__all__ = [
    "Batch",
    "Buckets",
    "CoarseFirst",
    "CodesDataset",
    "CodesLoader",
    "Crop",
    "Delay",
    "Flatten",
    "Mixture",
    "Pack",
    "PackedBatch",
    "Parallel",
    "Pattern",
    "Sample",
    "Span",
    "mix",
]

_HOMES = {
    "Batch": "batch",
    "Buckets": "batching",
    "CoarseFirst": "patterns",
    "CodesDataset": "dataset",
    "CodesLoader": "loader",
    "Crop": "crop",
    "Delay": "patterns",
    "Flatten": "patterns",
    "Mixture": "mixing",
    "Pack": "batching",
    "PackedBatch": "batch",
    "Parallel": "patterns",
    "Pattern": "patterns",
    "Sample": "sample",
    "Span": "sample",
    "mix": "mixing",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"pipelines.loader.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
