"""What follows for a shard from the death of the process that worked on it."""

from __future__ import annotations

from dataclasses import replace

from pipelines.system.blame import Death, DeathKind, Trial
from pipelines.tokenizing.jobs import Journal, ShardJob
from pipelines.tokenizing.progress import Display
from tokenizer.errors import UsageError

DEATHS_BEFORE_ISOLATION = {DeathKind.CRASHED: 1, DeathKind.MEMORY: 2, DeathKind.KILLED: 16}
"""deaths of a shard's processes, by kind, before its recordings are taken one at a time"""
MOST_DEATHS = 120
"""of one shard's processes, when no recording can be named"""


class Judgement:
    """Remembers the deaths of a run. A shard that goes on losing its process is done one recording
    at a time, and a recording that then kills its process is quarantined."""

    def __init__(self, journal: Journal, display: Display) -> None:
        self._journal, self._display = journal, display
        self._deaths: dict[str, dict[DeathKind, int]] = {}
        """of processes that worked on a shard, by shard and kind"""
        self._trials: dict[str, Trial] = {}
        """by recording"""

    def after(self, job: ShardJob, death: Death) -> ShardJob:
        """How a shard is tried again after the death of its runner.

        Raises:
            UsageError: its runners die again and again, and no recording can be named.
        """
        if death.kind is DeathKind.LOST:  # says nothing about the shard
            self._display.message(
                f"shard {job.name}: its process is gone with {death.what}, trying again"
            )
            return job
        deaths = self._deaths.setdefault(job.name, {})
        deaths[death.kind] = deaths.get(death.kind, 0) + 1
        self._display.message(
            f"shard {job.name}: its process died of {death.what} ({deaths[death.kind]}), trying "
            "again"
        )
        if sum(deaths.values()) >= MOST_DEATHS:
            raise UsageError(
                f"shard {job.name}: its process died {MOST_DEATHS} times, the last time of "
                f"{death.what}, and no recording is at "
                "fault; look for lack of memory on its machine, then run the same command again"
            )
        if not job.careful:
            return replace(
                job, careful=deaths[death.kind] >= DEATHS_BEFORE_ISOLATION.get(death.kind, 1)
            )
        return self._try_alone(job, death)

    def _try_alone(self, job: ShardJob, death: Death) -> ShardJob:
        """A runner died that took one recording at a time: it may have been that one's doing."""
        suspect = self._journal.read(job.name)
        self._journal.clear(job.name)  # the next process may die before it writes its own
        if suspect is None or suspect in job.quarantined:
            return job
        trial = self._trials.setdefault(suspect, Trial(suspect))
        if trial.died(death, alone=True) is None:
            return job
        self._display.message(
            f"shard {job.name}: {suspect} kills its process ({death.what}) and is quarantined"
        )
        return replace(job, quarantined=(*job.quarantined, suspect))
