"""What comes after the first run: recordings that are new in the corpus, and those that failed and
may be mended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.corpus.by_channel import RECORDING, planned
from pipelines.output.manifest.generations import APPEND, RETRY
from pipelines.output.manifest.leases import at_work
from pipelines.output.plan import Plan, make_plan
from pipelines.output.rows import Rows
from pipelines.running.comparison import Comparison
from pipelines.running.work import Work
from pipelines.system.words import many
from tokenizer.errors import MENDABLE, OutputError
from tokenizer.types import SPLIT, Recording

_MOST_LOOKED_UP = 200_000
"""recordings with another text that are compared with their rows"""


@dataclass(frozen=True, slots=True)
class Next:
    """A generation that is to be begun."""

    kind: str
    plan: Plan
    number: int
    """of the generations that it was planned against, and so its own: where there are more by the
    time that it is to begin, it is planned again"""
    retried: int = 0
    left: int = 0
    """of a retry, failures that SOURCE does not list any more"""

    def __str__(self) -> str:
        what = "new " if self.kind == APPEND else "failed "
        shards = many(len(self.plan.shards), "shard")
        said = f"{many(self.plan.count, f'{what}recording')} planned into {shards}"
        if self.left:
            said += f"; {many(self.left, 'other')} that failed are not in SOURCE any more"
        return said


class Growth:
    """Compares the corpus with what was planned of it, and plans the rest."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._config = work.config

    def compare(self) -> Comparison:
        """The corpus as it is now, against the plans.

        Raises:
            SourceError: it cannot be listed.
        """
        return Comparison(self._work.source.scan(), self._work.manifest.read_plans())

    def append(self) -> Next | None:
        """What is new; None where nothing is.

        Raises:
            SourceError: the corpus cannot be listed, or has an id twice.
        """
        with self.compare() as comparison:
            if not comparison.changes().new:
                return None
            return Next(
                APPEND, self._plan(self._by_channel(comparison.new())), comparison.generations
            )

    def retry(self, kinds: Sequence[str]) -> Next | None:
        """What failed, as the corpus has it now; None where nothing did.

        Args:
            kinds: of failures; none are those that may be mended, and whatever has another file
                now.

        Raises:
            SourceError: the corpus cannot be listed.
            OutputError: another run is at work.
        """
        manifest = self._work.manifest
        others = at_work(manifest.storage, self._work.run)
        if others:
            # It may be at the same recordings: where the store did not hand one out, every run
            # tries again.
            raise OutputError(
                f"{manifest.storage.root}: another run is at work on it ({', '.join(others)}): "
                "--retry-failed begins when it has ended"
            )
        number = len(manifest.generations())  # before the failures are read: see `Next`
        failed = {
            failure.id: failure.kind for record in manifest.records() for failure in record.errors
        }
        wanted = set(kinds) or MENDABLE
        if not any(kind in wanted for kind in failed.values()) and (kinds or not failed):
            return None
        with self.compare() as comparison:
            changed = set() if kinds else comparison.changed()
            again = {
                id
                for id, kind in failed.items()
                if kind in wanted or id in changed or _origin(id) in changed
            }
            if not again:
                return None
            rows = list(self._again(comparison, again))
            if not rows:
                return None
            mended = again & ({row.id for row in rows} | {_whole(row) for row in rows})
            plan = self._plan(iter(rows))
            return Next(RETRY, plan, number, len(mended), len(again) - len(mended))

    def _again(self, comparison: Comparison, ids: set[str]) -> Iterator[Recording]:
        """Recordings that failed, as the corpus has them now; of one that is planned by channel
        those channels."""
        origins = ids | ({_origin(id) for id in ids} if self._config.channels == SPLIT else set())
        listed = (one for one in comparison.listing.recordings if one.id in origins)
        for row in self._by_channel(listed):
            if row.id in ids or _whole(row) in ids:
                yield row

    def texts(self, comparison: Comparison) -> int:
        """Rows of which the corpus says another text, language or speaker now than they have."""
        wanted: dict[str, tuple[str | None, ...]] = {}
        for said in comparison.other_text():
            wanted[said.id] = (said.text, said.language, said.speaker)
            if len(wanted) > _MOST_LOOKED_UP:
                return sum(1 for _ in comparison.other_text())
        if not wanted:
            return 0
        differ = set()
        for row in Rows(self._work.manifest.storage.root).rows(
            ["id", "text", "language", "speaker"]
        ):
            id = row["id"] if row["id"] in wanted else _origin(row["id"])
            if id in wanted and wanted[id] != (row["text"], row["language"], row["speaker"]):
                differ.add(id)
        return len(differ)

    def _by_channel(self, recordings: Iterator[Recording]) -> Iterator[Recording]:
        config, patience = self._config, self._work.options.decode_timeout
        return planned(self._work.source, config.channels, config.stream, patience, recordings)

    def _plan(self, recordings: Iterator[Recording]) -> Plan:
        source = self._work.source
        return make_plan(
            recordings,
            shard_hours=self._config.shard_hours,
            split=self._config.split,
            notes=lambda: source.notes,
        )


def _origin(id: str) -> str:
    """The recording that a row may be one channel of, by its id."""
    whole, hash, channel = id.rpartition("#")
    return whole if hash and channel.isdigit() else id


def _whole(row: Recording) -> str:
    """The recording that a row is one channel of; itself where it is all of one."""
    return row.id if row.channel is None else str(row.meta.get(RECORDING, row.id))
