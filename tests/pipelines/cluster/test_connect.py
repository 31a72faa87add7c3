"""Connections that are refused, without a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.cluster import connect as connecting
from tokenizer.errors import UsageError


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


def test_what_ray_s_daemons_say_stays_out_of_the_output(
    refusals: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It prints it though its logs are not asked for; once it is left, it is as it was."""
    worker = connecting.ray._private.worker
    message = {"lines": ["A worker died"], "pid": "raylet", "is_err": False}
    monkeypatch.setattr(connecting, "_watch_head", lambda address: None)
    monkeypatch.setattr(connecting, "_cluster", lambda *given: None)
    monkeypatch.setattr(connecting.ray, "shutdown", lambda: None)
    with connecting.connect("ray://head:10001", None, None):
        worker.print_to_stdstream(message, ignore_prefix=False)
    assert capsys.readouterr().out == ""
    worker.print_to_stdstream({**message, "lines": ["another"]}, ignore_prefix=False)
    assert "another" in capsys.readouterr().out
