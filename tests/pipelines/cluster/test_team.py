"""Actors that die, and those that never begin, without a cluster."""

from __future__ import annotations

import errno
from itertools import count
from typing import Any

import pytest
from ray.exceptions import RayActorError, RayTaskError

from pipelines.cluster import team as teams
from pipelines.cluster.deaths import Place, why_it_failed
from pipelines.cluster.team import Team, require_package
from pipelines.system.blame import Death, DeathKind
from tokenizer.errors import UsageError


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
        self.dying = DeathKind.CRASHED

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
    monkeypatch.setattr(
        teams, "how_it_died", lambda place, error: Death(answers.dying, "some death")
    )
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


def test_those_that_are_killed_from_outside_as_they_start_are_started_again(
    stage: Answers,
) -> None:
    """As many times as kills may be taken for bad luck; an error of their own is none."""
    actors = [Actor(stage) for _ in range(40)]
    for actor in actors[:30]:
        actor.died = RayActorError()
    stage.dying = DeathKind.KILLED
    team = Team("an encoder", lambda number: actors[number])
    team.resize(1)
    for _ in range(35):
        team.look()
    assert [member.number for member in team.ready] == [30]
    made_wrongly = RayActorError(actor_init_failed=True)
    assert teams.how_it_started(None, made_wrongly) is DeathKind.CRASHED


def test_a_lack_of_memory_while_they_start_is_told_after_a_few_tries(
    stage: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though a process that had not begun yet says nothing of how it died."""
    kills = count()
    monkeypatch.setattr(teams, "memory_kills", lambda: next(kills))
    stage.dying = DeathKind.LOST
    actors = [Actor(stage) for _ in range(40)]
    for actor in actors:
        actor.where = Gone()
    team = Team("an encoder", lambda number: actors[number])
    team.resize(1)
    with pytest.raises(UsageError, match="5 times in a row as it started"):
        for _ in range(20):
            team.look()


class Gone:
    """A method of an actor that is dead."""

    def remote(self) -> Answer:
        return Answer(RayActorError())


def test_what_a_machine_refuses_is_no_fault_of_ours() -> None:
    refused = RayTaskError("run", "Traceback\nOSError: x", OSError(errno.EMFILE, "", "/a"))
    assert "raise `ulimit -n`" in why_it_failed(refused) and "fault" not in why_it_failed(refused)
    assert "a fault in codecshards" in why_it_failed(RayTaskError("run", "x", KeyError("x")))
