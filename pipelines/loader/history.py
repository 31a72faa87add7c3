"""What became of data sets since a loader's state was taken: appends and edits, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.loader.dataset import CodesDataset
from pipelines.output.manifest.commits import Manifest
from pipelines.output.manifest.since import changes_since
from pipelines.output.storage import open_storage


def history_of(datasets: Sequence[CodesDataset]) -> list[list[int]]:
    """How often each was appended to, and edited, as it was loaded."""
    return [list(dataset.history) for dataset in datasets]


def said_since(state: Mapping[str, Any], datasets: Sequence[CodesDataset]) -> str:
    """What has happened to them since; nothing where that is not known."""
    before = state.get("history")
    if not isinstance(before, list) or len(before) != len(datasets):
        return ""
    said = [
        f"; {dataset.root} was {changes}"
        for dataset, then in zip(datasets, before, strict=True)
        if (changes := changes_since(Manifest(open_storage(dataset.root)), then))
    ]
    return "".join(said)
