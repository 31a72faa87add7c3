"""Clusters that ask for a token: a server that answers as Ray's do."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from pipelines.cluster.token import require_token
from tokenizer.errors import UsageError

TOKEN = "0123456789abcdef"


class Guarded(grpc.GenericRpcHandler):
    """Lets nobody in without the token, and then knows no method."""

    def service(self, handler_call_details: Any) -> Any:
        headers = dict(handler_call_details.invocation_metadata)

        def answer(request: bytes, context: Any) -> bytes:
            if headers.get("authorization") != f"Bearer {TOKEN}":
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2), handlers=[Guarded()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait()


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize("client", [True, False])
def test_without_a_token_a_run_is_refused_in_one_line(guarded: str, client: bool) -> None:
    with pytest.raises(
        UsageError, match=rf"{guarded} asks for a token: copy .*RAY_AUTH_MODE=token"
    ) as caught:
        require_token(guarded, client)
    assert "\n" not in str(caught.value)


def test_a_wrong_token_is_called_that(guarded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of another cluster")
    with pytest.raises(UsageError, match="another token than the one that is set here"):
        require_token(guarded, client=True)


@pytest.mark.parametrize("place", ["variable", "file", "home"])
def test_the_token_is_found_where_ray_finds_it(
    guarded: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    if place == "variable":
        monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    elif place == "file":
        (tmp_path / "secret").write_text(f"{TOKEN}\n")
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "secret"))
    else:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text(TOKEN)
    require_token(guarded, client=False)


def test_a_mode_that_is_off_shows_no_token(guarded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(UsageError, match="asks for a token"):
        require_token(guarded, client=False)


def test_other_answers_are_left_to_ray(guarded: str) -> None:
    require_token("127.0.0.1:1", client=False)  # nobody is there
