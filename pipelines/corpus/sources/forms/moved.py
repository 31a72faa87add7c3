"""A corpus that lies elsewhere than where it was read before."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from pipelines.corpus.sources.base import Place, Source, is_remote
from pipelines.system.places import local_path
from tokenizer.errors import SourceError, UsageError
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
        likely = [one for one in found if any(one.names(spec) for spec in known)]
        likely += [one for one in found if is_remote(one.new) or os.path.exists(one.new)]  # noqa: PTH110
        best = (likely or found)[0]
        new = best.new if is_remote(best.new) else os.path.abspath(local_path(best.new))  # noqa: PTH100
        return cls(best.old, new.rstrip("/"))

    def names(self, name: str) -> bool:
        """Whether a path or URL is what has moved, or lies in it."""
        return name == self.old or name.startswith(f"{self.old}/")

    def __call__(self, name: str) -> str:
        """A path or URL as it is now."""
        return self.new + name[len(self.old) :] if self.names(name) else name


def moved(spec: str, moves: Sequence[Move], prefixes: Sequence[str]) -> str:
    """A SOURCE as it is now; `prefixes` may stand before it, with a colon."""
    head, colon, rest = spec.partition(":")
    if colon and head in prefixes:
        return f"{head}:{moved(rest, moves, ())}"
    return next((move(spec) for move in moves if move.names(spec)), spec)


def open_moved(
    spec: str | Sequence[str],
    said: Sequence[str],
    prefixes: Sequence[str],
    opener: Callable[[Sequence[str]], Source],
) -> Source:
    """The corpus that a SOURCE, or several, named once.

    Args:
        spec: as it was then.
        said: of what has moved since, `OLD=NEW` each.
        prefixes: that may stand before a SOURCE, with a colon.
        opener: opens SOURCEs.

    Raises:
        UsageError: as `Move.of`.
        SourceError: it is not there, in one line that says how to say where it is.
    """
    specs = [spec] if isinstance(spec, str) else list(spec)
    known = [*specs, *(one.partition(":")[2] for one in specs)]
    moves = [Move.of(one, known) for one in said]
    try:
        source = opener([moved(one, moves, prefixes) for one in specs])
    except SourceError as error:
        raise SourceError(f"{error}; if it has moved: --moved {specs[0]}=NEW") from error
    return MovedSource(source, moves) if moves else source


class MovedSource(Source):
    """Opens recordings of before where they are now."""

    def __init__(self, source: Source, moves: Sequence[Move]) -> None:
        """`source` is the corpus as it is now."""
        super().__init__(source.spec)
        self._source, self._moves = source, tuple(moves)
        self.check_versions, self.follow_links = source.check_versions, source.follow_links

    @property
    def address(self) -> str | tuple[str, ...]:
        return self._source.address

    @property
    def places(self) -> tuple[str, ...]:
        return self._source.places

    def scan(self) -> Iterator[Recording]:
        return self._source.scan()

    def open(self, recording: Recording) -> str | BinaryIO:
        return self._source.open(self._now(recording))

    def open_head(self, recording: Recording) -> str | BinaryIO:
        return self._source.open_head(self._now(recording))

    def place(self, recording: Recording) -> Place | None:
        return self._source.place(self._now(recording))

    def _now(self, recording: Recording) -> Recording:
        locator = _each(recording.locator, lambda name: moved(name, self._moves, ()))
        return replace(recording, uri=moved(recording.uri, self._moves, ()), locator=locator)


def _each(locator: Mapping[str, Any], change: Any) -> dict[str, Any]:
    """Every text in it, changed."""
    return {
        key: change(value) if isinstance(value, str) else value for key, value in locator.items()
    }
