"""What follows from deaths, without a process that dies."""

from __future__ import annotations

import pytest

from pipelines.cluster.judgement import MOST_DEATHS, Judgement
from pipelines.system.blame import Death, DeathKind
from pipelines.tokenizing.jobs import ShardJob
from tokenizer.errors import UsageError


class Messages:
    """A display that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, text: str) -> None:
        self.said.append(text)


class Notes(dict[str, str]):
    """A journal in memory."""

    def read(self, shard: str) -> str | None:
        return self.get(shard)

    def clear(self, shard: str) -> None:
        self.pop(shard, None)


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def judgement(notes: Notes) -> Judgement:
    return Judgement(notes, Messages())  # type: ignore[arg-type]


KILL, CRASH, LOST = (
    Death(kind, "x") for kind in (DeathKind.KILLED, DeathKind.CRASHED, DeathKind.LOST)
)


def test_thirty_deaths_from_outside_quarantine_nobody(judgement: Judgement, notes: Notes) -> None:
    job = ShardJob("s", ())
    for death in [KILL, LOST] * 30:
        notes["s"] = "a"
        job = judgement.after(job, death)
        assert not job.quarantined


def test_a_crash_is_tried_alone_and_counts_once_the_same_one_crashes_again(
    judgement: Judgement, notes: Notes
) -> None:
    job = judgement.after(ShardJob("s", ()), CRASH)
    assert job.careful and not job.quarantined
    for suspect in ("a", "b"):
        notes["s"] = suspect
        job = judgement.after(job, CRASH)
    assert not job.quarantined, "one death alone each"
    notes["s"] = "b"
    assert judgement.after(job, CRASH).quarantined == ("b",)


def test_a_death_before_anything_was_begun_accuses_nobody(
    judgement: Judgement, notes: Notes
) -> None:
    job = judgement.after(ShardJob("s", ()), CRASH)
    notes["s"] = "a"
    for _ in range(6):
        job = judgement.after(job, CRASH)
    assert not job.quarantined


def test_deaths_without_end_end_the_run(judgement: Judgement, notes: Notes) -> None:
    job = ShardJob("s", ())
    with pytest.raises(UsageError, match="run the same command again"):
        for _ in range(MOST_DEATHS):
            job = judgement.after(job, KILL)
