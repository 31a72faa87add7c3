"""A pool of actors without a cluster: what becomes of items whose actors die."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ray.exceptions import RayActorError

from pipelines.cluster import pool as pools
from pipelines.cluster import team as teams
from pipelines.cluster.connect import Cluster
from pipelines.cluster.deaths import Place
from pipelines.cluster.pool import Caller, Pool
from pipelines.system.blame import LIMITS, Death, DeathKind
from tokenizer.errors import CodecLoadError

CRASH, KILL, GONE = (
    Death(DeathKind.CRASHED, "SIGSEGV"),
    Death(DeathKind.KILLED, "SIGKILL"),
    Death(DeathKind.LOST, "the loss of its node"),
)


class Ref:
    """An answer that has come; `None` in `open` has not."""

    def __init__(self, value: Any, open: bool = False) -> None:
        self.value, self.open = value, open


class Actor:
    """Runs items at once; `fate` says what an item does to its process, if anything."""

    def __init__(self, stage: Stage, number: int) -> None:
        self.where, self.load, self.run = (Call(self, n) for n in ("where", "load", "run"))
        self.stage, self.number = stage, number
        self.items: list[str] = []
        self.dead = False


class Call:
    def __init__(self, actor: Actor, name: str) -> None:
        self.actor, self.name = actor, name

    def remote(self, item: str = "") -> Ref:
        actor, stage = self.actor, self.actor.stage
        if actor.dead:
            return Ref(RayActorError())
        if self.name == "where":
            return Ref(Place("node", str(actor.number)), actor.number in stage.unplaced)
        if self.name == "load":
            return Ref(stage.refusal)
        actor.items.append(item)
        death = stage.fate(item, actor)
        if death is None:
            return Ref(item.upper())
        stage.deaths[str(actor.number)] = death
        actor.dead = True
        return Ref(RayActorError())


class Stage:
    """Stands for Ray."""

    def __init__(self) -> None:
        self.actors: list[Actor] = []
        self.deaths: dict[str, Death] = {}
        self.unplaced: set[int] = set()
        self.refusal: CodecLoadError | None = None
        self.fate: Callable[[str, Actor], Death | None] = lambda item, actor: None
        self.said: list[str] = []
        self.done: list[str] = []
        self.failed: dict[str, str] = {}

    def message(self, text: str) -> None:
        self.said.append(text)

    def new(self, number: int) -> Actor:
        self.actors.append(Actor(self, number))
        return self.actors[-1]

    def wait(self, refs: list[Ref], **_: Any) -> tuple[list[Ref], list[Ref]]:
        return [ref for ref in refs if not ref.open], []

    def get(self, ref: Ref) -> Any:
        if isinstance(ref.value, RayActorError):
            raise ref.value
        return ref.value

    def kill(self, actor: Actor) -> None:
        actor.dead = True

    def run(self, items: str, cores: int = 2) -> None:
        caller = Caller[str, str](str, lambda _, result: self.done.append(result), self.fail)
        self.pool(cores).run(list(items), caller)

    def pool(self, cores: int = 2) -> Pool[str, str]:
        pool: Pool[str, str] = Pool(Cluster(cores, 0, True), None, "a worker", self)  # type: ignore[arg-type]
        pool._team._new = self.new
        return pool

    def fail(self, item: str, reason: str) -> None:
        self.failed[item] = reason


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    found = Stage()
    for module in (pools, teams):
        for name in ("wait", "get", "kill"):
            monkeypatch.setattr(module.ray, name, getattr(found, name))
    monkeypatch.setattr(teams, "LOOK_SECONDS", -1.0)
    monkeypatch.setattr(teams, "is_alive", lambda node: True)
    monkeypatch.setattr(pools, "how_it_died", lambda place, error: found.deaths[place.words])
    monkeypatch.setattr(pools.time, "sleep", lambda seconds: None)
    return found


def test_every_item_is_done_once(stage: Stage) -> None:
    stage.run("abcdefg", cores=3)
    assert sorted(stage.done) == list("ABCDEFG") and len(stage.actors) == 3
    assert not stage.failed and not stage.said


def test_there_are_no_more_actors_than_items(stage: Stage) -> None:
    stage.run("a", cores=8)
    assert len(stage.actors) == 1


@pytest.mark.parametrize(("death", "alone"), [(CRASH, 2), (KILL, 33)])
def test_an_item_that_kills_its_processes_fails_and_the_others_are_done(
    stage: Stage, death: Death, alone: int
) -> None:
    assert LIMITS[death.kind] == alone
    stage.fate = lambda item, actor: death if item == "d" else None
    stage.run("abcdefg")
    assert sorted(stage.done) == list("ABCEFG")
    assert list(stage.failed) == ["d"] and f"{alone} times" in stage.failed["d"]
    tried = [actor.items for actor in stage.actors if "d" in actor.items]
    assert [items for items in tried if len(items) > 1] == tried[:1], "the first had done others"
    assert len(tried) == 1 + alone


def test_two_suspects_at_once_are_told_apart(stage: Stage) -> None:
    stage.fate = lambda item, actor: CRASH if item in "ce" else None
    stage.run("abcdefgh")
    assert sorted(stage.done) == list("ABDFGH") and sorted(stage.failed) == ["c", "e"]


def test_deaths_from_outside_cost_no_item(stage: Stage) -> None:
    deaths = iter([KILL, GONE] * 20)
    stage.fate = lambda item, actor: next(deaths, None)
    stage.run("abc")
    assert sorted(stage.done) == list("ABC") and not stage.failed
    assert any("is gone with the loss of its node, trying again" in line for line in stage.said)


def test_a_suspect_gets_a_process_though_its_replacement_finds_no_place(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that idles is ended for it."""
    monkeypatch.setattr(pools, "STARVED_SECONDS", 0.0)
    stage.unplaced = {2}
    stage.fate = lambda item, actor: CRASH if item == "d" and len(actor.items) > 1 else None
    stage.run("abcd")
    assert sorted(stage.done) == list("ABCD")
    assert [actor.items for actor in stage.actors[2:]] == [[], ["d"]]


def test_what_cannot_be_loaded_ends_it(stage: Stage) -> None:
    stage.refusal = CodecLoadError("other weights")
    with pytest.raises(CodecLoadError, match="other weights"):
        stage.run("abc")


def test_it_says_what_it_waits_for(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teams, "SAY_SECONDS", -1.0)
    for name, free in (("cluster_resources", 4.0), ("available_resources", 0.0)):
        monkeypatch.setattr(teams.ray, name, lambda free=free: {"CPU": free})
    stage.unplaced = {0}

    def message(text: str) -> None:
        stage.said.append(text)
        raise KeyboardInterrupt

    stage.message = message  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        stage.run("a")
    assert stage.said == ["waiting for a place for a worker: 0 of 4 CPUs of the cluster are free …"]


def test_items_are_taken_as_there_is_room_for_them(stage: Stage) -> None:
    taken: list[str] = []

    def coming() -> Iterator[str]:
        for item in "abcdefghijklmnop":
            assert len(taken) - len(stage.done) <= 2 * pools.AHEAD + 2
            taken.append(item)
            yield item

    caller = Caller[str, str](str, lambda _, result: stage.done.append(result), stage.fail)
    stage.pool().run(coming(), caller)
    assert sorted(stage.done) == list("ABCDEFGHIJKLMNOP") and len(stage.actors) == 2


def test_no_more_bytes_are_held_than_one_actor_needs(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "MOST_BYTES", 10)
    held: list[int] = []

    def coming() -> Iterator[str]:
        for item in "abcdefgh":
            held.append(len(held) - len(stage.done) - len(stage.failed))
            yield item

    stage.fate = lambda item, actor: CRASH if item == "c" else None
    caller = Caller[str, str](
        str, lambda _, result: stage.done.append(result), stage.fail, size=lambda item: 10
    )
    stage.pool().run(coming(), caller)
    assert sorted(stage.done) == list("ABDEFGH") and list(stage.failed) == ["c"]
    assert max(held) <= 4, "one that waits, and those at work"


def test_parts_of_what_failed_are_done_one_by_one(stage: Stage) -> None:
    stage.fate = lambda item, actor: CRASH if "c" in item else None
    pool = stage.pool()

    def fail(item: str, reason: str) -> None:
        if len(item) > 1:
            pool.add(reversed(item), caller)
        else:
            stage.fail(item, reason)

    caller = Caller[str, str](str, lambda _, result: stage.done.append(result), fail)
    pool.run(["ab", "cd", "ef"], caller)
    assert sorted(stage.done) == ["AB", "D", "EF"] and list(stage.failed) == ["c"]
