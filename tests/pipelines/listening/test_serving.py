"""The server and its clients: honest, forgetful, slow and hostile."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipelines.listening.folder import Design, read_tokens
from pipelines.listening.options import ServeOptions
from pipelines.listening.serving import limits
from pipelines.listening.serving.limits import Rates
from pipelines.listening.serving.server import MOST_BODY, Listening, Refusal, Server, start
from tokenizer.errors import OutputError, UsageError


def call(server: Server, path: str, value: Any, **headers: str) -> tuple[int, Mapping[str, Any]]:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    status, answer = send(server, "POST", path, body, headers)
    return status, json.loads(answer)


def send(
    server: Server, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = {}
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=10)
    try:
        both = {"Content-Type": "application/json", **headers}
        connection.request(method, path, body or None, both)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def rating(folder: Path, design: Design, rater: int = 1, **more: Any) -> dict[str, Any]:
    """A good message of a rater; `more` changes it."""
    screen = design.screens[0]
    return {
        "test": design.id,
        "token": read_tokens(folder)[rater - 1],
        "session": "abc",
        "kind": "screen",
        "screen": screen.id,
        "scores": {one.id: 50 for one in screen.stimuli},
        "comment": "a | b\n\ud800 <b>",
        "seconds": 12,
        **more,
    }


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "ratings/served.jsonl").open()]


def test_a_rating_is_on_the_disk_before_the_rater_is_told(
    made: tuple[Path, Design], server: Server
) -> None:
    folder, design = made
    status, who = call(server, "/api/begin", rating(folder, design, 3))
    assert (status, who) == (200, {"rater": "3", "done": {}})
    assert call(server, "/api/rate", rating(folder, design, 3)) == (200, {})
    (line,) = lines(folder)
    assert (line["rater"], line["screen"], line["comment"]) == ("3", "s001", "a | b\n\ud800 <b>")
    assert "token" not in line
    status, who = call(server, "/api/begin", rating(folder, design, 3))
    assert who["done"]["s001"]["scores"] == line["scores"]


def test_the_page_is_sent_and_nothing_else_is(made: tuple[Path, Design], server: Server) -> None:
    folder, _ = made
    for path in ("/", "/index.html", "/?token=x", "/audio/s001.js", "/test.js"):
        assert send(server, "GET", path)[0] == 200
    assert send(server, "GET", "/server.js")[1] == b"window.SERVED = true;\n"
    assert send(server, "HEAD", "/")[1] == b""
    assert send(server, "GET", "/audio/s001.js")[1] == (folder / "page/audio/s001.js").read_bytes()
    (folder / "page" / "late.js").write_text("")
    for path in (
        "/../test.json",
        "/..%2ftest.json",
        "/%2e%2e/raters.csv",
        "//etc/passwd",
        "/audio/../../raters.csv",
        "/audio",
        "/late.js",
        "/a%00b",
        "/" + "a" * 5000,
        "/api/rate",
    ):
        assert send(server, "GET", path)[0] == 404, path
    assert send(server, "PUT", "/test.js", b"x")[0] == 501


@pytest.mark.parametrize(
    "more",
    [
        {"scores": {}},
        {"scores": [1, 2]},
        {"scores": None},
        {"screen": "s999"},
        {"screen": ["s001"]},
        {"comment": "x" * 2001},
        {"comment": {"a": 1}},
        {"session": ""},
        {"session": "x" * 65},
        {"seconds": -1},
        {"seconds": float("nan")},
        {"kind": "other"},
        {"kind": "about", "device": "ear trumpet"},
    ],
)
def test_messages_that_the_page_does_not_send_are_refused(
    made: tuple[Path, Design], server: Server, more: dict[str, Any]
) -> None:
    folder, design = made
    assert call(server, "/api/rate", rating(folder, design, **more))[0] == 400
    assert lines(folder) == []


def test_scores_are_whole_numbers_up_to_100(made: tuple[Path, Design], server: Server) -> None:
    folder, design = made
    for score in (101, -1, 50.5, True, "50", None, float("nan"), 10**30):
        message = rating(folder, design)
        message["scores"][design.screens[0].stimuli[0].id] = score
        assert call(server, "/api/rate", message)[0] == 400
    assert lines(folder) == []


def test_bodies_are_small_and_json(made: tuple[Path, Design], server: Server) -> None:
    folder, design = made
    good = json.dumps(rating(folder, design)).encode()
    assert call(server, "/api/rate", b"[" * 20_000)[0] == 400
    assert call(server, "/api/rate", b"\xff\xfe")[0] == 400
    assert call(server, "/api/rate", b"[]")[0] == 400
    assert call(server, "/api/rate", b"x" * (MOST_BODY + 1))[0] == 413
    assert call(server, "/api/rate", good, **{"Content-Type": "text/plain"})[0] == 415
    for length in ("", "-1", "1e3", "٣", "9" * 400):
        with socket.create_connection(server.server_address[:2], timeout=10) as raw:
            head = "POST /api/rate HTTP/1.0\r\nContent-Type: application/json\r\n"
            head += f"Content-Length: {length}\r\n\r\n"
            raw.sendall(head.encode("utf-8"))
            assert raw.recv(100).split()[1] in (b"400", b"411", b"413"), length
    assert lines(folder) == []


def test_strangers_get_nothing(made: tuple[Path, Design], server: Server) -> None:
    folder, design = made
    statuses = [
        call(server, "/api/rate", rating(folder, design, token=f"guess {n}"))[0] for n in range(25)
    ]
    assert statuses[0] == 403 and statuses[-1] == 429  # few guesses a minute
    assert call(server, "/api/rate", rating(folder, design))[0] == 200  # who has a token goes on
    assert call(server, "/api/join", {"test": design.id})[0] == 403
    assert call(server, "/api/begin", {"test": "other"})[0] == 409
    assert len(lines(folder)) == 1


def test_one_rater_cannot_fill_the_disk(made: tuple[Path, Design]) -> None:
    folder, design = made
    listening = Listening(folder, ServeOptions(quiet=True))
    listening.ratings = Rates(per_minute=1e9, burst=10**6)
    message = rating(folder, design)
    for _ in range(50 * (design.per_rater + 2)):
        listening.rate(message, "::1")
    with pytest.raises(Refusal, match="too much"):
        listening.rate(message, "::1")
    listening.rate(rating(folder, design, 2), "::1")
    listening.store.close()


def test_rates_are_limited_by_rater() -> None:
    now = [0.0]
    rates = Rates(per_minute=60, burst=3, clock=lambda: now[0])
    assert [rates.allows("a") for _ in range(4)] == [True, True, True, False]
    assert rates.allows("b")
    now[0] = 1.0
    assert [rates.allows("a") for _ in range(2)] == [True, False]
    for n in range(limits._MOST_KEYS + 10):
        rates.allows(str(n))
    assert len(rates._left) == limits._MOST_KEYS


def test_slow_clients_are_cut_off_and_hold_nobody_up(
    made: tuple[Path, Design], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.listening.serving.server.SECONDS_TO_ASK", 0.3)
    slow = [socket.create_connection(server.server_address[:2], timeout=10) for _ in range(80)]
    for one in slow[:64]:
        one.sendall(b"POST /api/rate HTTP/1.1\r\nX: ")
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            if send(server, "GET", "/")[0] == 200:
                break
        except OSError:
            time.sleep(0.05)
    else:
        pytest.fail("nobody else is served")
    for one in slow:
        one.close()


def test_open_tests_give_each_who_comes_the_next_token(made: tuple[Path, Design]) -> None:
    folder, design = made
    listening = Listening(folder, ServeOptions(open=True, quiet=True))
    tokens = [listening.join({"test": design.id}, "::1")["token"] for _ in range(3)]
    listening.rate(rating(folder, design, 4), "::1")
    listening.store.close()
    again = Listening(folder, ServeOptions(open=True, quiet=True))
    tokens += [again.join({"test": design.id}, "::1")["token"] for _ in range(2)]
    assert tokens == [read_tokens(folder)[n] for n in (0, 1, 2, 4, 5)]
    with pytest.raises(Refusal, match="places"):
        again.join({"test": design.id}, "::1")
    again.store.close()


def test_what_a_kill_has_torn_costs_that_line_only(made: tuple[Path, Design]) -> None:
    folder, design = made
    first = Listening(folder, ServeOptions(quiet=True))
    first.rate(rating(folder, design), "::1")
    with pytest.raises(OutputError, match="another `mushra serve`"):
        Listening(folder, ServeOptions())
    first.store.close()
    path = folder / "ratings" / "served.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    second = Listening(folder, ServeOptions(quiet=True))
    second.rate(rating(folder, design, 2), "::1")
    second.store.close()
    text = path.read_bytes().splitlines()
    assert len(text) == 3 and json.loads(text[0])["rater"] == "1"
    assert json.loads(text[2])["rater"] == "2"


def test_a_full_disk_is_said_and_the_page_tries_again(
    made: tuple[Path, Design], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, design = made

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        assert call(server, "/api/rate", rating(folder, design))[0] == 503
    assert call(server, "/api/rate", rating(folder, design))[0] == 200


def test_refusals_of_serve(made: tuple[Path, Design], server: Server, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no test\.json there"):
        start(str(tmp_path), ServeOptions())
    with pytest.raises(OutputError, match="another `mushra serve` has it"):
        start(str(made[0]), ServeOptions(port=0))
    with pytest.raises(UsageError, match="--port 70000"):
        ServeOptions(port=70_000)
