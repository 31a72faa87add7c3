"""Decisions of the module that runs on Ray, without a cluster."""

from __future__ import annotations

from typing import Any

import pytest
from ray.exceptions import RayActorError

from pipelines.cluster import connect as connecting
from pipelines.cluster import team as teams
from pipelines.cluster.deaths import Place
from pipelines.cluster.encoder import Feed
from pipelines.cluster.judgement import MOST_DEATHS, Judgement
from pipelines.cluster.team import Team, require_package
from pipelines.system.blame import Death, DeathKind
from pipelines.tokenizing.jobs import ShardJob
from tokenizer.errors import UsageError


def feed(nearby: bool) -> Feed:
    places = tuple(Place(node, "") for node in ("one", "one", "two", "two"))
    return Feed(("a", "b", "c", "d"), places, nearby, 16, 4)


def test_runners_near_gpus_send_to_those_and_take_turns_at_the_first() -> None:
    assert [feed(True).seen_from("two", number) for number in range(3)] == [
        ("c", "d"),
        ("d", "c"),
        ("c", "d"),
    ]
    assert feed(True).seen_from("three", 1) == ("b", "c", "d", "a"), (
        "a node without GPUs sends to all"
    )


def test_runners_on_cpus_send_everywhere() -> None:
    assert feed(False).seen_from("two", 2) == ("c", "d", "a", "b")


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A cluster that refuses a connection for each reason in the list, the first one first."""
    reasons: list[str] = []

    def init(**_: Any) -> None:
        if reasons:
            raise ConnectionAbortedError(reasons.pop(0))

    monkeypatch.setattr(connecting.ray, "init", init)
    monkeypatch.setattr(connecting, "_knock", lambda address: None)
    monkeypatch.setattr(connecting, "CLIENT_PAUSES", (0.0, 0.0))
    return reasons


def test_a_head_that_is_not_ready_for_a_client_is_asked_again(refusals: list[str]) -> None:
    refusals += ["not yet"] * 2
    connecting._init("ray://head:10001", None, None)
    assert not refusals


def test_a_head_that_never_serves_a_client_is_one_line_with_the_reason(refusals: list[str]) -> None:
    refusals += [
        "Initialization failure from server:\nTraceback …\n  at x\nRuntimeError: no memory\n"
    ] * 9
    with (
        pytest.raises(UsageError, match="RuntimeError: no memory"),
        connecting.connect("ray://head:10001", None, None),
    ):
        pass
    assert len(refusals) == 6, "three tries"


def test_other_addresses_are_asked_once(refusals: list[str]) -> None:
    refusals += ["no"] * 2
    with (
        pytest.raises(UsageError, match="no Ray cluster"),
        connecting.connect("10.0.0.1:6379", None, None),
    ):
        pass
    assert len(refusals) == 1


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


def test_a_node_without_the_package_is_told_what_to_install() -> None:
    with pytest.raises(
        UsageError, match=r"lacks the module pipelines: install codecshards .* ray=="
    ):
        require_package(
            RuntimeError("failed to import\n\nModuleNotFoundError: No module named 'pipelines'")
        )
    require_package(RuntimeError("something else"))


class Answers:
    """Stands for ray: answers are values, errors are raised, and whatever is in `open` has not come
    yet."""

    def __init__(self) -> None:
        self.open: set[Any] = set()
        self.killed: list[Any] = []

    def wait(self, refs: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        return [ref for ref in refs if ref not in self.open], []

    def get(self, ref: Any) -> Any:
        if isinstance(ref.value, BaseException):
            raise ref.value
        return ref.value

    def kill(self, actor: Any) -> None:
        self.killed.append(actor)


class Answer:
    def __init__(self, value: Any) -> None:
        self.value = value


class Actor:
    """An actor whose methods answer at once."""

    def __init__(self, ray: Answers, placed: bool = True) -> None:
        self._place = Answer(Place("node", "words"))
        if not placed:
            ray.open.add(self._place)
        self.where = self.load = self
        self.died: BaseException | None = None
        self._asked = 0

    def remote(self) -> Answer:
        self._asked += 1
        if self.died is not None:
            return Answer(self.died)
        return self._place if self._asked == 1 else Answer(None)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Answers:
    answers = Answers()
    for name in ("wait", "get", "kill"):
        monkeypatch.setattr(teams.ray, name, getattr(answers, name))
    monkeypatch.setattr(teams, "LOOK_SECONDS", -1.0)
    monkeypatch.setattr(teams, "is_alive", lambda node: True)
    return answers


def test_an_actor_without_a_place_holds_nobody_up_and_goes_when_there_is_no_room_for_it(
    stage: Answers,
) -> None:
    actors = [Actor(stage), Actor(stage, placed=False), Actor(stage)]
    team = Team("an encoder", lambda number: actors[number])
    team.resize(3)
    for _ in range(3):
        team.look()
    assert [member.number for member in team.ready] == [0, 2]
    team.resize(2)
    assert stage.killed == [actors[1]] and len(team.members) == 2


def test_a_dead_actor_is_replaced_and_one_that_never_starts_ends_the_run(stage: Answers) -> None:
    actors = [Actor(stage) for _ in range(20)]
    team = Team("an encoder", lambda number: actors[number])
    team.resize(1)
    for _ in range(3):
        team.look()
    actors[0].died = RayActorError()
    for _ in range(6):
        team.look()
    assert [member.number for member in team.ready] == [1]
    for actor in actors[1:]:
        actor.died = RayActorError()
    with pytest.raises(UsageError, match="5 times in a row as it started"):
        for _ in range(20):
            team.look()
