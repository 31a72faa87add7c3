"""Which shard each recording goes to, and which split the shard is of."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pipelines.output.plans.distinct import DistinctIds
from tokenizer.errors import SourceError
from tokenizer.types import Recording

UNKNOWN_SECONDS = 10.0
"""assumed where a source cannot tell a recording's length"""
LEAST_SECONDS = 0.1
"""that a recording counts, so that shards of very short files stay bounded too"""
TRAIN = "train"
"""the split of a corpus without any"""
UNSPLIT = "unsplit"
"""that of recordings without one, where others have one"""
MOST_SPLITS = 100
"""a corpus that names more of them means something else by it"""
_LONGEST = 64
"""characters of a split's name"""


@dataclass(slots=True)
class _Open:
    """The shard of a split that is being filled."""

    shard: int
    filled: float = 0.0
    last: Recording | None = None


@dataclass(slots=True)
class Placing:
    """Fills shards with recordings as they come, those of each split in order."""

    shard_hours: float
    split: str | None = TRAIN
    """of all; None is the one that each recording says it is of"""
    else_in: str = TRAIN
    """that of all where not one says it"""
    shards: list[str | None] = field(default_factory=list)
    """the split of each shard, in the order in which they were begun"""
    filled: list[float] = field(default_factory=list)
    """seconds in each"""
    unsplit: int = 0
    """recordings that name no split, where others may"""
    _open: dict[str | None, _Open] = field(default_factory=dict)
    _last: str | None = None

    def place(self, recording: Recording) -> int:
        """The number of its shard, as they were begun. The channels of one recording stay
        together."""
        split = self.split if self.split is not None else self._named(recording)
        self._adopt(split)
        seconds = estimated(recording)
        most = self.shard_hours * 3600
        into = self._open.get(split)
        full = into is not None and into.filled and into.filled + seconds > most
        if into is None or (full and not are_together(into.last, recording)):
            into = self._open[split] = _Open(len(self.shards))
            self.shards.append(split)
            self.filled.append(0.0)
        into.filled, into.last = into.filled + seconds, recording
        self.filled[into.shard] = into.filled
        return into.shard

    @property
    def by_recordings(self) -> bool:
        """Whether recordings say which split they are of, and are in it."""
        return any(self._open) and self.split is None and not self.too_many

    @property
    def too_many(self) -> bool:
        """Whether what recordings say are too many splits to have shards of their own."""
        return self.split is None and len(self._open) > MOST_SPLITS

    def in_one(self, recordings: Iterable[Recording]) -> Iterator[tuple[int, Recording]]:
        """The same recordings in shards of one split."""
        placing = Placing(self.shard_hours, self.else_in)
        return ((placing.place(one), one) for one in recordings)

    def splits(self) -> list[tuple[str, int]]:
        """Each split and the number of its shards, in order."""
        return list(Counter(self._names()).items())

    def order(self) -> list[int]:
        """The place of each shard among all, where those of a split follow each other."""
        names = self._names()
        ranks = {name: rank for rank, name in enumerate(dict.fromkeys(names))}
        ordered = sorted(range(len(names)), key=lambda shard: (ranks[names[shard]], shard))
        places = [0] * len(names)
        for place, shard in enumerate(ordered):
            places[shard] = place
        return places

    def notes(self) -> Iterator[str]:
        """What was made of the splits that recordings say they are of, for people."""
        if self.too_many:
            yield (
                f"{len(self._open):,} splits are named, too many for shards of their own: all are "
                f"in {self.else_in}, and meta.split has them"
            )
        if not self.by_recordings:
            return
        shards = ", ".join(f"{name} {count:,}" for name, count in self.splits())
        yield f"shards by the corpus's splits: {shards}; --split NAME makes one of all"
        if self.unsplit:
            yield f"{self.unsplit:,} recordings are of no split: they are in {UNSPLIT}"

    def _names(self) -> list[str]:
        others = any(self._open)
        return [name or (UNSPLIT if others else self.else_in) for name in self.shards]

    def _adopt(self, split: str | None) -> None:
        """What stood before the first recording, and cannot be one, is of that one's split."""
        if split is not None and not self.unsplit and None in self._open:
            self._open[split] = self._open.pop(None)
            self.shards = [split if name is None else name for name in self.shards]

    def _named(self, recording: Recording) -> str | None:
        """The split that it says it is of; what cannot be one is where it stands in the list."""
        if "rejected" in recording.locator:
            return self._last
        self._last = split_name(recording.meta.get("split"))
        self.unsplit += self._last is None
        return self._last


def place_in_shards(
    recordings: Iterable[Recording], placing: Placing
) -> Iterator[tuple[int, Recording]]:
    """Each recording with the number of its shard, from 0, as they come; the rule that `make_plan`
    follows. Of what has come only 8 bytes a recording are kept in memory.

    Raises:
        SourceError: no recordings, or two with one id (both are named); a few thousand more may
            have come before the second is noticed.
    """
    with DistinctIds() as ids:
        for recording in recordings:
            ids.add(recording.id, recording.uri)
            yield placing.place(recording), recording
        ids.check()
        if not ids.count:
            raise SourceError(
                "the source has no recordings (a folder is searched for files with the endings of "
                "audio)"
            )


def split_name(said: object) -> str | None:
    """What a split is called in the names of shards, as the Hub has them: `dev-clean` is
    `dev_clean`; None where nothing is said that could be one."""
    if not isinstance(said, str) or len(said) > _LONGEST:
        return None
    return re.sub(r"\W+", "_", said).strip("_") or None


def are_together(one: Recording | None, other: Recording) -> bool:
    """Whether two are channels of one recording, which lie in one shard."""
    if one is None or one.channel is None or other.channel is None:
        return False
    return "recording" in one.meta and one.meta["recording"] == other.meta.get("recording")


def estimated(recording: Recording) -> float:
    """Seconds to plan a recording with; never nothing."""
    if recording.seconds is not None:
        return max(recording.seconds, LEAST_SECONDS)
    if recording.end is not None:
        return recording.end - (recording.start or 0.0)
    return UNKNOWN_SECONDS
