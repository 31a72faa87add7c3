"""Several sources as one corpus, one after the other in the order given."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import PurePosixPath
from typing import BinaryIO

from pipelines.corpus.sources.base import Place, Source, is_remote
from pipelines.corpus.tables.hints import NotLaidOut
from pipelines.corpus.tables.values import clean
from tokenizer.errors import SourceError, UsageError
from tokenizer.types import Recording

OF = "of_source"
"""key of a locator: the label of the source that opens it"""
_ENDINGS = re.compile(r"\.(jsonl|ndjson|json|csv|tsv|parquet|tar|scp)(\.gz)?$", re.IGNORECASE)
_BRACES = re.compile(r"\{[^}]*\}")


class SeveralSources(Source):
    """Each source has a label: its last name, with a number behind it where one before it is called
    the same (`clips`, `clips-2`). A recording is `LABEL/ID`, and a file that is a source itself is
    its label. So no id depends on the sources that come behind its own."""

    def __init__(self, sources: Sequence[Source]) -> None:
        """
        Raises:
            UsageError: one is given twice.
        """
        self.sources = tuple(sources)
        self.labels = _labels(sources)
        twice = _twice([str(source.address) for source in sources])
        if twice is not None:
            raise UsageError(f"{twice} is given twice: once is enough")
        self.spec = ", ".join(source.spec for source in sources)

    @property
    def address(self) -> tuple[str, ...]:
        return tuple(str(source.address) for source in self.sources)

    @property
    def places(self) -> tuple[str, ...]:
        """A file that a user named may go without the corpus being away."""
        return tuple(
            place for source in self.sources if not source.is_one_file for place in source.places
        )

    def scan(self) -> Iterator[Recording]:
        self.notes = tuple(self._nested())
        refusals: list[NotLaidOut] = []
        for label, source in zip(self.labels, self.sources, strict=True):
            for recording in self._scanned(source, refusals):
                yield _labelled(label, source, recording)
            for note in source.notes:
                self.note(f"{label}: {note}")
        hinted = sum(bool(each.hints.as_given) for each in self.sources)
        if refusals and not hinted:
            raise refusals[0]

    def files(self) -> Mapping[str, str | None] | None:
        found: dict[str, str | None] = {}
        for source in self.sources:
            own = source.files()
            if own is None:
                return None
            found |= own
        return found

    def open(self, recording: Recording) -> str | BinaryIO:
        label = recording.locator.get(OF)
        if label not in self.labels:
            raise SourceError(f"{recording.uri}: of the source {label}, which is none of these")
        source = self.sources[self.labels.index(label)]
        return source.open(_own(label, source, recording))

    def place(self, recording: Recording) -> Place | None:
        label = recording.locator[OF]
        source = self.sources[self.labels.index(label)]
        return source.place(_own(label, source, recording))

    def _scanned(self, source: Source, refusals: list[NotLaidOut]) -> Iterator[Recording]:
        """One source's recordings; what was said of layouts is for others where it has none."""
        found = source.scan()
        try:
            first = next(found, None)
        except NotLaidOut as error:
            refusals.append(error)
            source.hints = source.hints.only(())
            found = source.scan()
            first = next(found, None)
        if first is not None:
            yield first
            yield from found

    def _nested(self) -> Iterator[str]:
        for inner, outer in permutations(self.sources, 2):
            if not is_remote(inner.spec) and inner.spec.startswith(f"{outer.spec.rstrip('/')}/"):
                yield f"{inner.spec} lies in {outer.spec}: its recordings may be there twice"


def _labelled(label: str, source: Source, recording: Recording) -> Recording:
    own = source.is_one_file and recording.id == _name(source)
    id = label if own else f"{label}/{recording.id}"
    meta = recording.meta
    if isinstance(meta.get("recording"), str) and isinstance(meta.get("channel"), int):
        meta = {**meta, "recording": f"{label}/{meta['recording']}"}
    return replace(recording, id=id, locator={**recording.locator, OF: label}, meta=meta)


def _own(label: str, source: Source, recording: Recording) -> Recording:
    """The inverse of `_labelled`."""
    id = _name(source) if recording.id == label else recording.id.removeprefix(f"{label}/")
    locator = {key: value for key, value in recording.locator.items() if key != OF}
    return replace(recording, id=id, locator=locator)


def _labels(sources: Sequence[Source]) -> tuple[str, ...]:
    labels: dict[str, None] = {}
    for source in sources:
        name = label = _name(source)
        number = 1
        while label in labels:
            number += 1
            path = PurePosixPath(name)
            ending = path.suffix if source.is_one_file else ""
            label = f"{name.removesuffix(ending)}-{number}{ending}"
        labels[label] = None
    return tuple(labels)


def _name(source: Source) -> str:
    """The last part of what names a source, without what is no name in it."""
    if source.is_one_file:
        return source.name
    last = source.spec.removeprefix("hf:").rstrip("/").rpartition("/")[2]
    short = _BRACES.sub("", _ENDINGS.sub("", last)).strip("-_. ").replace(":", "-")
    return clean(short or last.strip("/") or "source")


def _twice(addresses: Sequence[str]) -> str | None:
    seen: set[str] = set()
    for address in addresses:
        if address in seen:
            return address
        seen.add(address)
    return None
