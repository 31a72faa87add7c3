"""What became of data sets since a loader's state was taken: appends and edits, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.loader.dataset import CodesDataset
from pipelines.output.manifest.commits import Manifest
from pipelines.output.manifest.edits import described, history
from pipelines.output.storage import open_storage
from pipelines.system.words import many
from tokenizer.errors import UsageError


def history_of(datasets: Sequence[CodesDataset]) -> list[list[int]]:
    """How often each was appended to, and edited, as it was loaded."""
    return [list(dataset.history) for dataset in datasets]


def said_since(state: Mapping[str, Any], datasets: Sequence[CodesDataset]) -> str:
    """What has happened to them since; nothing where that is not known."""
    before = state.get("history")
    if not isinstance(before, list) or len(before) != len(datasets):
        return ""
    said = [
        f"; {dataset.root} was {' and '.join(changes)}"
        for dataset, then in zip(datasets, before, strict=True)
        if (changes := list(_changes(dataset, then)))
    ]
    return "".join(said)


def _changes(dataset: CodesDataset, then: Sequence[int]) -> Iterator[str]:
    manifest = Manifest(open_storage(dataset.root))
    try:
        grown = manifest.generations()[1 + then[0] : 1 + dataset.history[0]]
        edits = history(manifest.storage)[then[1] : dataset.history[1]]
    except UsageError:  # what it is about is told all the same
        return
    if grown:
        yield f"appended to since ({many(sum(one.plan.recordings for one in grown), 'recording')})"
    if edits:
        yield f"edited since ({'; '.join(map(described, edits))})"
