"""A loader's state as it comes back: what is in it, and what became of the data sets since it was
taken, appends and edits, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

from pipelines.loader.batching import Cursor
from pipelines.loader.dataset import CodesDataset
from pipelines.output.manifest.commits import Manifest
from pipelines.output.manifest.since import changes_since
from pipelines.output.storage import open_storage
from tokenizer.errors import UsageError

STATE_VERSION = 1


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


def read_state(state: Any) -> tuple[Cursor, int, tuple[int, int] | None]:
    """The cursor in a state, its turn, and the worker of how many that it is of.

    Raises:
        UsageError: it is none, or is damaged: values that no loader writes.
    """
    if not isinstance(state, Mapping) or state.get("version") != STATE_VERSION:
        raise UsageError("not a state of this version of CodesLoader")
    worker = state.get("worker")
    numbers = [*(state.get(name) for name in ("step", "position", "offset")), state.get("turn", 0)]
    pair = [0, 1] if worker is None else worker
    whole = (
        isinstance(state.get("of"), Mapping)
        and isinstance(pair, list | tuple)
        and len(pair) == 2
        and all(isinstance(one, Integral) and int(one) >= 0 for one in (*numbers, *pair))
        and pair[0] < pair[1]
    )
    if not whole:
        raise UsageError("the state of CodesLoader is damaged: give one that state_dict has made")
    step, position, offset, turn = map(int, numbers)
    of = None if worker is None else (int(pair[0]), int(pair[1]))
    return Cursor(step, position, offset), turn, of
