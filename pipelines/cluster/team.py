"""Actors of one kind, as many as there is room for: started, watched, replaced."""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from pipelines.cluster.deaths import Place, how_it_died, is_alive, last_line
from pipelines.system.blame import DeathKind
from pipelines.tokenizing.progress import Display
from tokenizer.errors import CodecshardsError, UsageError

STARTS = {DeathKind.CRASHED: 5, DeathKind.MEMORY: 5, DeathKind.KILLED: 33, DeathKind.LOST: 33}
"""times in a row that processes may die so before one is ready; who is killed from outside may be
killed again"""
LOOK_SECONDS = 2.0
"""between looks at whether members are there"""
SAY_SECONDS = 30.0
"""between messages while nothing can be done"""


@dataclass(slots=True, eq=False)
class Member:
    """One actor, on its way into use: placed, then loaded, then asked now and then whether it is
    there."""

    actor: Any
    number: int
    asked: Any
    """an answer that is waited for; an error in its place says that the actor is dead"""
    place: Place | None = None
    ready: bool = False


class Team:
    """Actors of one kind: as many as there is room for. Those that die are replaced, wherever there
    is room then.

    An actor that cannot be placed waits for a place and holds nobody up.
    """

    def __init__(self, what: str, new: Callable[[int], Any]) -> None:
        self.what = what
        self.members: list[Member] = []
        self._new = new
        self._started = 0
        self._false_starts: Counter[DeathKind] = Counter()
        """since a member was ready, by what they died of"""
        self._looked = 0.0

    @property
    def ready(self) -> list[Member]:
        return [member for member in self.members if member.ready]

    @property
    def asked(self) -> list[Any]:
        """Answers that members owe: worth a `look` as soon as one comes."""
        return [member.asked for member in self.members if member.asked is not None]

    def resize(self, count: int) -> None:
        """Grow to `count`, or let go of those above it that have no place."""
        while len(self.members) < count:
            self._add()
        surplus = len(self.members) - count
        for member in [member for member in self.members if member.place is None][
            : max(surplus, 0)
        ]:
            self.members.remove(member)
            ray.kill(member.actor)

    def look(self) -> bool:
        """Take in what has changed; returns whether other members are ready than before.

        Raises:
            CodecshardsError: what the actors hold cannot be loaded.
        """
        asked = {member.asked: member for member in self.members if member.asked is not None}
        done, _ = ray.wait(list(asked), num_returns=len(asked), timeout=0) if asked else ([], [])
        changed = [self._take(asked[answer]) for answer in done]
        now = time.monotonic()
        if now - self._looked > LOOK_SECONDS:
            self._looked = now
            for member in self.members:
                if member.asked is None:
                    member.asked = member.actor.where.remote()
        return any(changed)

    def bury(self, member: Member, error: BaseException) -> None:
        """A member is dead: another in its place."""
        if member not in self.members:
            return
        self.members.remove(member)
        require_package(error)
        if member.ready:
            self._false_starts.clear()
        elif member.place is None or is_alive(member.place.node):
            self._count(how_it_started(member.place, error), error)
        self._add()

    def _count(self, death: DeathKind, error: BaseException) -> None:
        """Take in that a member died before it was ready."""
        self._false_starts[death] += 1
        times = self._false_starts[death]
        if times >= STARTS.get(death, times + 1):
            raise UsageError(
                f"{self.what} died {times} times in a row as it started ({last_line(error)}): if "
                "memory is short, "
                "take fewer with --workers, as each holds a codec; then run the same command again"
            )

    def renew(self, member: Member) -> None:
        """End a member, and have a fresh one in its place."""
        self.members.remove(member)
        ray.kill(member.actor)
        self._add()

    def _add(self) -> None:
        actor = self._new(self._started)
        self.members.append(Member(actor, self._started, actor.where.remote()))
        self._started += 1

    def _take(self, member: Member) -> bool:
        answer, member.asked = member.asked, None
        try:
            found = ray.get(answer)
        except (RayActorError, RayTaskError) as error:
            self.bury(member, error)
            return member.ready
        if isinstance(found, CodecshardsError):
            raise found
        if member.place is None:
            member.place = found
            member.asked = member.actor.load.remote()
            return False
        if not member.ready:
            member.ready = True
            self._false_starts.clear()
            return True
        return False


class Watchman:
    """Says every half minute what is waited for, while a team has nobody ready."""

    def __init__(self, display: Display, resource: str) -> None:
        """`resource` is what the actors take of a cluster: "CPU" or "GPU"."""
        self._display, self._resource = display, resource
        self._said = time.monotonic()

    def look(self, *teams: Team) -> None:
        now = time.monotonic()
        lacking = [team for team in teams if not team.ready]
        if not lacking:
            self._said = now
        elif now - self._said > SAY_SECONDS:
            self._said = now
            self._display.message(what_is_lacking(lacking, self._resource))


def what_is_lacking(teams: Sequence[Team], resource: str) -> str:
    """One line: what is waited for, and what the cluster has of it."""
    unplaced = [team for team in teams if not any(member.place for member in team.members)]
    if not unplaced:
        return f"waiting for {' and '.join(team.what for team in teams)} to load …"
    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    held = (
        f"{free.get(resource, 0):g} of {total.get(resource, 0):g} {resource}s of the cluster are "
        "free"
    )
    return f"waiting for a place for {' and '.join(team.what for team in unplaced)}: {held} …"


def how_it_started(place: Place | None, error: BaseException) -> DeathKind:
    """What a process died of before it was ready. An error of its own that is raised as it is made
    is a crash: whoever takes its place would raise it too."""
    if getattr(error, "actor_init_failed", False):
        return DeathKind.CRASHED
    return how_it_died(place, error).kind


def require_package(error: BaseException) -> None:
    """Say what to install, where a node lacks it.

    Raises:
        UsageError: a process died of a missing module.
    """
    missing = re.search(r"No module named '([\w.]+)'", str(error))
    if missing is None:
        return
    python = ".".join(map(str, sys.version_info[:2]))
    raise UsageError(
        f"a node of the cluster lacks the module {missing[1]}: install codecshards "
        f"{version('codecshards')} there, with Python "
        f"{python} and ray=={ray.__version__} as here, then run the same command again"
    )
