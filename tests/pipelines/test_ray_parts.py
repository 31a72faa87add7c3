"""Decisions of the module that runs on Ray, without a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines import ray as runs
from tokenizer.errors import UsageError


def feed(nearby: bool) -> runs._Feed:
    places = tuple(runs._Place(node, "") for node in ("one", "one", "two", "two"))
    return runs._Feed(("a", "b", "c", "d"), places, nearby, 16, 4)


def test_runners_near_gpus_send_to_those_and_take_turns_at_the_first() -> None:
    assert [feed(True).seen_from("two", number) for number in range(3)] == [("c", "d"), ("d", "c"), ("c", "d")]
    assert feed(True).seen_from("three", 1) == ("b", "c", "d", "a"), "a node without GPUs sends to all"


def test_runners_on_cpus_send_everywhere() -> None:
    assert feed(False).seen_from("two", 2) == ("c", "d", "a", "b")


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A cluster that refuses a connection for each reason in the list, the first one first."""
    reasons: list[str] = []

    def init(**_: Any) -> None:
        if reasons:
            raise ConnectionAbortedError(reasons.pop(0))

    monkeypatch.setattr(runs.ray, "init", init)
    monkeypatch.setattr(runs, "_knock", lambda address: None)
    monkeypatch.setattr(runs, "CLIENT_PAUSES", (0.0, 0.0))
    return reasons


def test_a_head_that_is_not_ready_for_a_client_is_asked_again(refusals: list[str]) -> None:
    refusals += ["not yet"] * 2
    runs._init("ray://head:10001", None, None)
    assert not refusals


def test_a_head_that_never_serves_a_client_is_one_line_with_the_reason(refusals: list[str]) -> None:
    refusals += ["Initialization failure from server:\nTraceback …\n  at x\nRuntimeError: no memory\n"] * 9
    with pytest.raises(UsageError, match="RuntimeError: no memory"), runs.connect("ray://head:10001", None, None):
        pass
    assert len(refusals) == 6, "three tries"


def test_other_addresses_are_asked_once(refusals: list[str]) -> None:
    refusals += ["no"] * 2
    with pytest.raises(UsageError, match="no Ray cluster"), runs.connect("10.0.0.1:6379", None, None):
        pass
    assert len(refusals) == 1
