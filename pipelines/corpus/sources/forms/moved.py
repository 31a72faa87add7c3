"""A corpus that lies elsewhere than where it was read before.

To the run it is where it was: what it lists has the names of then, which are those in plans and
rows, and what is opened is looked for where it is now.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from pipelines.corpus.sources.base import Place, Source, is_remote
from pipelines.system.places import local_path
from tokenizer.errors import UsageError
from tokenizer.types import Recording


@dataclass(frozen=True, slots=True)
class Move:
    """What began with one name begins with another."""

    old: str
    new: str

    @classmethod
    def of(cls, said: str, known: Sequence[str]) -> Move:
        """From `OLD=NEW`; where a name has a `=` of its own, OLD is how one of the `known` specs
        begins, or else NEW is there.

        Raises:
            UsageError: it is not of this form.
        """
        places = [at for at, letter in enumerate(said) if letter == "=" and said[:at].strip("/")]
        found = [cls(said[:at].rstrip("/"), said[at + 1 :]) for at in places if said[at + 1 :]]
        if not found:
            raise UsageError(
                f"--moved {said}: give OLD=NEW, how names began and how they begin now, as "
                "/data/corpus=/mnt/corpus"
            )
        bare = [*known, *(spec.partition(":")[2] for spec in known)]
        likely = [one for one in found if any(begins(spec, one.old) for spec in bare)]
        likely += [one for one in found if is_remote(one.new) or os.path.exists(one.new)]  # noqa: PTH110
        best = (likely or found)[0]
        new = best.new if is_remote(best.new) else os.path.realpath(local_path(best.new))
        return cls(best.old, new.rstrip("/"))

    def forth(self, name: str) -> str:
        """A path or URL as it is now."""
        return self.new + name[len(self.old) :] if begins(name, self.old) else name

    def back(self, name: str) -> str:
        """The same as it was."""
        return self.old + name[len(self.new) :] if begins(name, self.new) else name


def begins(name: str, place: str) -> bool:
    """Whether a path or URL is a place, or lies in it."""
    return name == place or name.startswith(f"{place}/")


def now(spec: str, moves: Sequence[Move], prefixes: Sequence[str]) -> str:
    """A SOURCE as it is now; `prefixes` may stand before it, with a colon."""
    head, colon, rest = spec.partition(":")
    if colon and head in prefixes:
        return f"{head}:{_first(rest, [move.forth for move in moves])}"
    changes = [move.forth for move in moves]
    full = spec if is_remote(spec) else os.path.abspath(local_path(spec))  # noqa: PTH100
    found = _first(full, changes)
    return spec if found == full else found


class MovedSource(Source):
    """A source with the names of before."""

    def __init__(self, source: Source, moves: Sequence[Move]) -> None:
        """`source` is the corpus as it is now, and told all that it is to be told."""
        self._source = source
        self._forth = [move.forth for move in moves]
        self._back = [move.back for move in moves]
        super().__init__(_first(source.spec, self._back))
        self.prefix, self.is_one_file = source.prefix, source.is_one_file
        self.hints, self.follows = source.hints, source.follows
        self.follow_links, self.check_versions = source.follow_links, source.check_versions

    @property
    def places(self) -> tuple[str, ...]:
        return self._source.places

    def scan(self) -> Iterator[Recording]:
        self._source.hints = self.hints
        for recording in self._source.scan():
            yield _renamed(recording, self._back)
        self.notes, self.layout = self._source.notes, self._source.layout

    def files(self) -> Mapping[str, str | None] | None:
        found = self._source.files()
        if found is None:
            return None
        return {_first(name, self._back): version for name, version in found.items()}

    def open(self, recording: Recording) -> str | BinaryIO:
        return self._source.open(_renamed(recording, self._forth))

    def open_head(self, recording: Recording) -> str | BinaryIO:
        return self._source.open_head(_renamed(recording, self._forth))

    def place(self, recording: Recording) -> Place | None:
        return self._source.place(_renamed(recording, self._forth))


Change = Callable[[str], str]


def _renamed(recording: Recording, changes: Sequence[Change]) -> Recording:
    locator = {
        key: _first(value, changes) if isinstance(value, str) else value
        for key, value in recording.locator.items()
    }
    return replace(recording, uri=_first(recording.uri, changes), locator=locator)


def _first(name: str, changes: Sequence[Change]) -> str:
    """What the first that changes a name makes of it."""
    return next((found for change in changes if (found := change(name)) != name), name)
