"""What comes after the first run: recordings that are new in the corpus, and those that failed and
may be mended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.corpus.by_channel import RECORDING, planned
from pipelines.corpus.sources.identity import differ
from pipelines.corpus.web_versions import with_web_versions
from pipelines.output.manifest.generations import APPEND, RETRY
from pipelines.output.manifest.leases import at_work
from pipelines.output.plan import Plan, plan_with
from pipelines.output.plans.placing import UNSPLIT, Placing
from pipelines.output.rows import Rows
from pipelines.planning.corpus import open_cutting
from pipelines.planning.watching import SAID_EVERY, seldom
from pipelines.running.comparison import Comparison, remembered
from pipelines.running.work import Work
from pipelines.system.words import many
from tokenizer.cuts import CUT_FROM
from tokenizer.errors import MENDABLE, OutputError
from tokenizer.types import Recording

_EXAMPLES = 3
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
        return Comparison(
            with_web_versions(self._work.source.scan()), self._work.manifest.read_plans()
        )

    def is_untouched(self) -> bool:
        """Whether a look at the corpus's files says that it is as it was planned; False where none
        can, or none is cheaper than to list it.

        Raises:
            SourceError: they cannot be looked at.
        """
        files = self._work.source.files()
        if files is None or any(version is None for version in files.values()):
            return False
        planned = remembered(self._work.manifest.read_plans())
        return planned.keys() == files.keys() and all(
            version is not None and not differ(version, str(files[uri]))
            for uri, versions in planned.items()
            for version in versions
        )

    def append(self) -> Next | None:
        """What is new; None where nothing is.

        Raises:
            SourceError: the corpus cannot be listed, or has an id twice.
            OutputError: what is there has other ids now.
        """
        with self.compare() as comparison:
            if not comparison.changes().new:
                return None
            renamed = comparison.renamed()
            if renamed is not None:
                raise OutputError(
                    f"{self._work.manifest.storage.root}: SOURCE gives "
                    f"{many(renamed.count, 'recording')} of it another id now ({renamed.before!r} "
                    f"is {renamed.now!r}), and they would be there twice: name them as they were "
                    "(`--layout`, `--map`), or choose another OUT"
                )
            return Next(APPEND, self._plan(self._planned(comparison.new())), comparison.generations)

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
                if kind in wanted or not changed.isdisjoint(_origins(id))
            }
            if not again:
                return None
            rows = list(self._again(comparison, again))
            if not rows:
                return None
            mended = again & set[str]().union(*map(_wholes, rows))
            plan = self._plan(iter(rows))
            return Next(RETRY, plan, number, len(mended), len(again) - len(mended))

    def _again(self, comparison: Comparison, ids: set[str]) -> Iterator[Recording]:
        """Recordings that failed, as the corpus has them now; of one that is planned by channel
        or in segments those."""
        origins = {one for id in ids for one in _origins(id)}
        listed = (one for one in comparison.listing.recordings if one.id in origins)
        for row in self._planned(listed):
            if not ids.isdisjoint(_wholes(row)):
                yield row

    def texts(self, comparison: Comparison) -> tuple[int, list[str]]:
        """Recordings of which the corpus says another text, language or speaker now than their rows
        have: how many, and the ids of a few."""
        wanted: dict[str, tuple[str | None, ...]] = {}
        for said in comparison.other_text():
            wanted[said.id] = (said.text, said.language, said.speaker)
            if len(wanted) > _MOST_LOOKED_UP:
                return sum(1 for _ in comparison.other_text()), sorted(wanted)[:_EXAMPLES]
        if not wanted:
            return 0, []
        differ = set()
        for row in Rows(self._work.manifest.storage.root).rows(
            ["id", "text", "language", "speaker"]
        ):
            id = next((one for one in _origins(row["id"]) if one in wanted), row["id"])
            if id in wanted and wanted[id] != (row["text"], row["language"], row["speaker"]):
                differ.add(id)
        return len(differ), sorted(differ)[:_EXAMPLES]

    def _planned(self, recordings: Iterator[Recording]) -> Iterator[Recording]:
        config, patience = self._config, self._work.options.decode_timeout
        source, say = self._work.source, seldom(self._work.display.message, SAID_EVERY)
        cutting = open_cutting(config, source, patience, say)
        return planned(source, config.channels, config.stream, patience, recordings, cutting)

    def _plan(self, recordings: Iterator[Recording]) -> Plan:
        source = self._work.source
        config = self._config
        placing = Placing(config.shard_hours, config.split, else_in=UNSPLIT)
        return plan_with(placing, recordings, lambda: source.notes)


def _origins(id: str) -> list[str]:
    """A row's id, and those of what it may be one channel of, or a segment, or a segment's
    channel."""
    found = [id]
    for _ in range(2):
        whole, hash, number = found[-1].rpartition("#")
        if not (whole and hash and number.isdigit()):
            break
        found.append(whole)
    return found


def _wholes(row: Recording) -> set[str]:
    """Ids under which a row, or what it is a part of, may have been planned before."""
    found = {row.id}
    if row.channel is not None and RECORDING in row.meta:
        found.add(str(row.meta[RECORDING]))
    if CUT_FROM in row.meta:
        found.add(str(row.meta[CUT_FROM]))
    return found
