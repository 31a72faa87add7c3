"""A pool of actors that all do one kind of work, item by item; the work is the caller's own.

An item whose actor has died is tried again, alone in a fresh process, until it is done or there is
evidence that it kills its processes (`pipelines.system.blame`). The others go on meanwhile.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import ray
from ray.exceptions import RayActorError, RayTaskError

from pipelines.cluster.connect import Cluster, recount, store_settings
from pipelines.cluster.deaths import Place, how_it_died, settle_down, why_it_failed
from pipelines.cluster.team import Member, Team, Watchman
from pipelines.system.blame import Death, DeathKind, Trial
from pipelines.tokenizing.progress import Display
from tokenizer.errors import CodecshardsError

POLL_SECONDS = 0.5
COUNT_SECONDS = 10.0
"""between looks at how many nodes there are"""
STARVED_SECONDS = 10.0
"""that a suspect waits for a fresh process while an actor idles, which is then ended in its
favour"""
AHEAD = 2
"""items for each actor that are taken before it can do them"""
MOST_BYTES = 256 << 20
"""of items that are held here, unless one is larger"""

Item = TypeVar("Item")
Result = TypeVar("Result")
Item_contra = TypeVar("Item_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)


class Worker(Protocol[Item_contra, Result_co]):
    """What every actor of a pool gets a copy of; picklable before `load`."""

    def load(self) -> None:
        """Get ready.

        Raises:
            CodecshardsError: it cannot be done here; the pool ends.
        """

    def run(self, item: Item_contra) -> Result_co:
        """Do one item.

        Raises:
            CodecshardsError: the pool ends.
        """


@dataclass(frozen=True)
class Caller(Generic[Item, Result]):
    """What a pool tells the one who has it work; called where the pool is driven."""

    name: Callable[[Item], str]
    """what messages call an item"""
    finished: Callable[[Item, Result], None]
    failed: Callable[[Item, str], None]
    """with why it could not be done: it kills its process, or a fault in the program"""
    size: Callable[[Item], int] = lambda item: 0
    """bytes of an item, where they matter"""


class PoolActor:
    """Holds one worker."""

    def __init__(self, worker: Worker[Any, Any]) -> None:
        self._words, self._place = settle_down()
        self._worker = worker

    @ray.method(concurrency_group="status")
    def where(self) -> Place:
        return self._place

    def load(self) -> CodecshardsError | None:
        """Load the worker now; an error is returned, since one that is raised loses its type."""
        try:
            self._worker.load()
        except CodecshardsError as error:
            return error
        return None

    def run(self, item: Any) -> Any:
        try:
            return self._worker.run(item)
        except CodecshardsError as error:
            return error


@dataclass(eq=False)
class _Try(Generic[Item]):
    """An item, and what has become of it so far."""

    item: Item
    trial: Trial
    suspect: bool = False
    alone: bool = False
    """its process has, or had, done nothing else"""
    not_before: float = 0.0


class Pool(Generic[Item, Result]):
    """Has items done by as many actors as there is room for, and replaces those that die."""

    def __init__(
        self, cluster: Cluster, worker: Worker[Item, Result], what: str, display: Display
    ) -> None:
        """`what` is what messages call one of its actors: "an auditor"."""
        self._cluster, self._worker, self._display = cluster, worker, display
        self._team = Team(what, self._new)
        self._watchman = Watchman(display, "GPU" if cluster.gpus else "CPU")
        self._todo: deque[_Try[Item]] = deque()
        self._suspects: list[_Try[Item]] = []
        """those whose process died: each must have one that has done nothing else"""
        self._busy: dict[Any, tuple[Member, _Try[Item]]] = {}
        self._used: set[int] = set()
        """numbers of members that have begun an item"""
        self._coming: Iterator[Item] | None = None
        """None once all have been taken"""
        self._held = 0
        self._counted = self._starved = 0.0

    def run(self, items: Iterable[Item], caller: Caller[Item, Result]) -> None:
        """Do every item. They are taken as there is room for them, so that there may be any number.

        Raises:
            CodecshardsError: what a worker raised, or `finished`.
        """
        self._coming = iter(items)
        self._take(caller)
        while self._todo or self._suspects or self._busy:
            if time.monotonic() - self._counted > COUNT_SECONDS:
                self._count()
            self._team.look()
            self._watchman.look(self._team)
            self._hand_out()
            for answer in self._answers():
                self._settle(answer, caller)
            self._take(caller)

    def add(self, items: Iterable[Item], caller: Caller[Item, Result]) -> None:
        """More to do, before what is there: parts of an item that failed."""
        for item in items:
            self._held += caller.size(item)
            self._todo.appendleft(_Try(item, Trial(caller.name(item))))

    @property
    def _room(self) -> int:
        return self._cluster.gpus or self._cluster.cores

    def _take(self, caller: Caller[Item, Result]) -> None:
        """Take as many items as actors can soon do, and memory holds."""
        while self._coming is not None and len(self._todo) < max(AHEAD * self._room, 1):
            if self._todo and self._held >= MOST_BYTES:
                return
            try:
                item = next(self._coming)
            except StopIteration:
                self._coming = None
                return
            self._held += caller.size(item)
            self._todo.append(_Try(item, Trial(caller.name(item))))

    def _new(self, number: int) -> Any:
        options: dict[str, Any] = {
            "max_restarts": 0,
            "scheduling_strategy": "SPREAD",
            "concurrency_groups": {"status": 1},
        }
        options |= {"num_gpus": 1, "num_cpus": 0} if self._cluster.gpus else {"num_cpus": 1}
        actor_class: Any = ray.remote(**options, **store_settings(self._cluster))(PoolActor)
        return actor_class.remote(self._worker)

    def _count(self) -> None:
        """Fit the number of actors to what there is now, and to what is left to do."""
        self._counted = time.monotonic()
        self._cluster = recount(self._cluster)
        left = len(self._todo) + len(self._suspects) + len(self._busy)
        room = self._room
        self._team.resize(max(room if self._coming is not None else min(room, left), 1))

    def _hand_out(self) -> None:
        """Give idle actors items: fresh ones to suspects, and what is left to the others."""
        now = time.monotonic()
        busy = {member.number for member, _ in self._busy.values()}
        idle = [member for member in self._team.ready if member.number not in busy]
        fresh = deque(member for member in idle if self._is_fresh(member))
        used = deque(member for member in idle if not self._is_fresh(member))
        due = deque(one for one in self._suspects if one.not_before <= now)
        while due and fresh:
            one = due.popleft()
            self._suspects.remove(one)
            self._give(fresh.popleft(), one)
        # Suspects that go on waiting keep as many of the fresh ones, ready or not.
        spare = sum(map(self._is_fresh, self._team.members)) - len(self._suspects)
        while self._todo and (used or (fresh and spare > 0)):
            if used:
                self._give(used.popleft(), self._todo.popleft())
            else:
                spare -= 1
                self._give(fresh.popleft(), self._todo.popleft())
        if not due or not used:
            self._starved = now
        elif spare < 0 or now - self._starved > STARVED_SECONDS:
            self._starved = now
            self._team.renew(used[0])

    def _is_fresh(self, member: Member) -> bool:
        return member.number not in self._used

    def _give(self, member: Member, one: _Try[Item]) -> None:
        one.alone = self._is_fresh(member)
        self._used.add(member.number)
        self._busy[member.actor.run.remote(one.item)] = (member, one)

    def _answers(self) -> list[Any]:
        """Those of actors that are done, waited for a little."""
        asked = [*self._busy, *self._team.asked]
        if not asked:
            time.sleep(POLL_SECONDS)
            return []
        done, _ = ray.wait(asked, num_returns=1, timeout=POLL_SECONDS)
        return [answer for answer in done if answer in self._busy]

    def _settle(self, answer: Any, caller: Caller[Item, Result]) -> None:
        """Take in what became of an item."""
        member, one = self._busy.pop(answer)
        try:
            result = ray.get(answer)
        except RayActorError as error:
            self._team.bury(member, error)
            self._judge(one, how_it_died(member.place, error), caller)
            return
        except RayTaskError as error:
            self._held -= caller.size(one.item)
            caller.failed(one.item, why_it_failed(error))
            return
        if isinstance(result, CodecshardsError):
            raise result
        self._held -= caller.size(one.item)
        caller.finished(one.item, result)

    def _judge(self, one: _Try[Item], death: Death, caller: Caller[Item, Result]) -> None:
        """What follows from the death of an actor that had an item."""
        name = one.trial.recording
        verdict = one.trial.died(death, alone=one.alone)
        if verdict is not None:
            self._display.message(f"{name}: {verdict}")
            self._held -= caller.size(one.item)
            caller.failed(one.item, verdict)
            return
        how = "is gone with" if death.kind is DeathKind.LOST else "died of"
        self._display.message(f"{name}: its process {how} {death.what}, trying again")
        one.not_before = time.monotonic() + one.trial.pause
        one.suspect = one.suspect or death.kind is not DeathKind.LOST
        if one.suspect:
            self._suspects.append(one)
        else:
            self._todo.appendleft(one)
