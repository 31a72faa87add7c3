"""Several folders as one: whose ids, and whose sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from pipelines.corpus.sources import open_source
from pipelines.corpus.sources.forms.several import OF, SeveralSources
from pipelines.output.formats.schema import Row
from pipelines.reshaping.derive import Selected
from pipelines.reshaping.parents import Item, Parent
from tokenizer.errors import CodecshardsError, FailureKind, UsageError
from tokenizer.types import Recording

_READ_BY = ("downmix", "channels", "stream", "allow_truncated", "allow_damaged", "follow_links")
"""settings that say how a recording's samples were read: an audit reads them again"""


class Merging:
    """What merging does to the recordings of each folder."""

    def __init__(self, parents: Sequence[Parent], prefix: bool) -> None:
        self._parents = parents
        self._labels = _labels([parent.out for parent in parents]) if prefix else None
        self._dropped: dict[str, int] = {}
        """ids that stay dropped, and the first folder that says so"""
        self._failed: dict[str, int | None] = {}
        """failures that are planned in several folders: the one that tells of it; None where one
        of them has a row"""
        if not prefix:
            self._look_at_failures()
        self.sources, self._of_sources = _sources(parents)

    def notes(self) -> Iterator[str]:
        """What a person should know."""
        first = self._parents[0].stored.config
        for parent in self._parents[1:]:
            config = parent.stored.config
            other = [name for name in _READ_BY if getattr(config, name) != getattr(first, name)]
            if other:
                yield (
                    f"{parent.out} was read with other settings than {self._parents[0].out} "
                    f"({', '.join(other)}): audit each by itself"
                )

    def select(self, number: int, split: int, items: Iterator[Item]) -> Selected:
        """Those of a folder's shard that have a place in the new one."""
        for item in items:
            id = item.recording.id
            if id in self._dropped:
                keep = item.failure is not None and self._dropped[id] == number
            elif id in self._failed and item.failure is not None:
                keep = self._failed[id] == number
            else:
                keep = True
            if keep:
                yield split, item

    def as_planned(self, number: int, recording: Recording) -> Recording:
        """As the new plan has a folder's recording."""
        locator = self._of_sources(number, recording)
        if self._labels is None:
            return replace(recording, locator=locator)
        label = self._labels[number]
        return replace(
            recording,
            id=f"{label}/{recording.id}",
            locator=locator,
            meta=_prefixed(label, recording.meta),
        )

    def rename(self, number: int, row: Row, recording: Recording) -> Row:
        """As the new folder has a folder's row."""
        if self._labels is None:
            return row
        return replace(row, id=recording.id, meta=_prefixed(self._labels[number], row.meta))

    def complain(self, ids: Sequence[str]) -> CodecshardsError:
        """What to say of ids that are in several folders."""
        return UsageError(
            f"merge: the same id is in two of them: {', '.join(map(repr, ids))}"
            f"{' …' if len(ids) > 2 else ''}: --prefix puts the folder's name before each"
        )

    def _look_at_failures(self) -> None:
        failed: dict[str, list[int]] = {}
        for number, parent in enumerate(self._parents):
            for id, kind in parent.failures():
                if kind == FailureKind.DROPPED:
                    self._dropped.setdefault(id, number)
                else:
                    failed.setdefault(id, []).append(number)
        if not failed:
            return
        planned: Counter[str] = Counter()
        for parent in self._parents:
            planned.update(id for id in parent.ids() if id in failed)
        for id, numbers in failed.items():
            if planned[id] > 1:
                self._failed[id] = numbers[0] if planned[id] == len(numbers) else None


def _prefixed(label: str, meta: Mapping[str, Any]) -> Mapping[str, Any]:
    """The recording that a channel is of is an id too."""
    of = meta.get("recording")
    return {**meta, "recording": f"{label}/{of}"} if isinstance(of, str) else meta


def _labels(outs: Sequence[str]) -> list[str]:
    """The last names of folders, with a number behind those that one before is called too."""
    found: list[str] = []
    for out in outs:
        name = label = PurePosixPath(out.rstrip("/")).name or "out"
        number = 1
        while label in found:
            number += 1
            label = f"{name}-{number}"
        found.append(label)
    return found


def _sources(parents: Sequence[Parent]) -> tuple[Any, Any]:
    """All sources, and what makes a locator among the sources of one folder a locator among all."""
    of_each = [parent.stored.config.sources for parent in parents]
    together = tuple(dict.fromkeys(source for sources in of_each for source in sources))
    if all(sources == of_each[0] for sources in of_each):
        return parents[0].stored.config.source, lambda number, recording: recording.locator
    labels = _labels_of(together)
    own = [_labels_of(sources) if len(sources) > 1 else None for sources in of_each]

    def locator(number: int, recording: Recording) -> Mapping[str, Any]:
        if labels is None:
            return recording.locator
        at, of = 0, own[number]
        if of is not None:
            at = of.index(recording.locator[OF]) if recording.locator.get(OF) in of else 0
        label = labels[together.index(of_each[number][at])]
        return {**recording.locator, OF: label}

    return together, locator


def _labels_of(sources: tuple[str, ...]) -> Sequence[str] | None:
    """What the sources are called among each other; None where one has gone, so that nothing can be
    read from them."""
    try:
        found = open_source(sources)
    except UsageError:
        return None
    return found.labels if isinstance(found, SeveralSources) else None
