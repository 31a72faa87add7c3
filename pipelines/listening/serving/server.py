"""`mushra serve`: the page and its three calls, for raters who are strangers.

    POST api/join    {test}                                → {token}         with `--open`
    POST api/begin   {test, token}                         → {rater, done}
    POST api/rate    {test, token, session, kind, …}       → {}              kept before it answers

It knows the files of the page when it starts and sends no others, so that no path leads anywhere.
Bodies are small, requests a minute and connections are limited, and whoever is slow is cut off.
Tokens stand in no line that it prints.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import AF_INET6, socket
from typing import Any
from urllib.parse import unquote, urlsplit

from pipelines.listening import messages
from pipelines.listening.folder import PAGE, Design, local_folder, read_design, read_tokens
from pipelines.listening.messages import Refused
from pipelines.listening.options import ServeOptions
from pipelines.listening.serving.limits import Connections, Rates
from pipelines.listening.serving.store import Full, Store
from pipelines.system.words import many, printable
from tokenizer.errors import OutputError, UsageError

MOST_BODY = 32 * 1024
SECONDS_TO_ASK, SECONDS_TO_TAKE = 15.0, 20.0
"""for a whole request; for each piece of an answer"""
_PIECE = 64 * 1024
_TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_DEVICES = ("", "headphones", "loudspeakers", "built-in loudspeaker")


class Refusal(Exception):
    """An answer that is none of what was asked for."""

    def __init__(self, status: HTTPStatus, words: str) -> None:
        super().__init__(words)
        self.status = status


class Listening:
    """What is served: a test, its raters, what they have sent."""

    def __init__(self, folder: Path, options: ServeOptions) -> None:
        self.design: Design = read_design(folder)
        tokens = read_tokens(folder)
        if not tokens:
            raise UsageError(f"{folder}: no raters.csv there: make the test again")
        self.tokens = tokens
        self._raters = {token: str(number) for number, token in enumerate(tokens, 1)}
        self.files = _files(folder / PAGE)
        self.open = options.open
        self.quiet = options.quiet
        # Each screen many times over, and no more.
        self.store = Store(folder, 50 * (self.design.per_rater + 2))
        self.connections = Connections(most=256, most_of_one=64)
        self.asks = Rates(per_minute=1200, burst=600)  # a class behind one address
        self.strangers = Rates(per_minute=20, burst=20)
        self.ratings = Rates(per_minute=60, burst=60)

    def join(self, values: Mapping[str, Any], address: str) -> dict[str, Any]:
        """A token for who has none."""
        self._require_test(values)
        if not self.open:
            raise Refusal(
                HTTPStatus.FORBIDDEN,
                "This test needs the link that you were sent: its end is missing.",
            )
        self._require_rate(self.strangers, address)
        rater = self.store.join(len(self.tokens), _now())
        if rater is None:
            raise Refusal(HTTPStatus.FORBIDDEN, "All places of this test are taken. Thank you!")
        return {"token": self.tokens[int(rater) - 1]}

    def begin(self, values: Mapping[str, Any], address: str) -> dict[str, Any]:
        """Who a token is, and what they have rated already."""
        self._require_test(values)
        rater = self._rater(values, address)
        return {"rater": rater, "done": self.store.done(rater)}

    def rate(self, values: Mapping[str, Any], address: str) -> dict[str, Any]:
        """Keep what a rater says."""
        self._require_test(values)
        rater = self._rater(values, address)
        self._require_rate(self.ratings, rater)
        line = {
            "rater": rater,
            "session": messages.short(values, "session"),
            "time": _now(),
            "test": self.design.id,
        }
        if values.get("kind") == "screen":
            found = messages.rated(self.design, values.get("screen"), values)
            line |= {"kind": "screen", **found.to_json()}
        elif values.get("kind") == "about":
            device = messages.words(values, "device")
            if device not in _DEVICES:
                raise Refused("no such device")
            line |= {
                "kind": "about",
                "device": device,
                "comment": messages.words(values, "comment"),
            }
        else:
            raise Refused("kind: screen or about")
        try:
            self.store.add(line)
        except Full:
            raise Refusal(HTTPStatus.CONFLICT, "this rater has sent too much") from None
        if not self.quiet and line["kind"] == "screen":
            done = len(set(self.store.done(rater)) - {self.design.training.id})
            print(f"rater {rater}: {done} of {self.design.per_rater}", flush=True)
        return {}

    def _require_test(self, values: Mapping[str, Any]) -> None:
        if values.get("test") != self.design.id:
            raise Refusal(HTTPStatus.CONFLICT, "This page is of another test: please reload it.")

    def _rater(self, values: Mapping[str, Any], address: str) -> str:
        token = values.get("token")
        rater = self._raters.get(token) if isinstance(token, str) else None
        if rater is None:
            self._require_rate(self.strangers, address)  # whoever tries tokens gets few
            raise Refusal(HTTPStatus.FORBIDDEN, "This link is not of this test.")
        return rater

    @staticmethod
    def _require_rate(rates: Rates, key: str) -> None:
        if not rates.allows(key):
            raise Refusal(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests: please wait a minute.")


class Server(ThreadingHTTPServer):
    """One thread a connection, as many as are allowed."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], listening: Listening) -> None:
        self.listening = listening
        if ":" in address[0]:
            self.address_family = AF_INET6
        super().__init__(address, Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        connections = self.listening.connections
        if not connections.enter(request, str(client_address[0]), SECONDS_TO_ASK):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.listening.connections.leave(request)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        self.listening.connections.cut_overdue()

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if not isinstance(error, OSError):  # who went away is no news
            print(f"a request failed: {printable(repr(error))}", file=sys.stderr)


class Handler(BaseHTTPRequestHandler):
    """One request: connections are not kept, so that none is idle."""

    server: Server
    connection: socket
    server_version, sys_version = "codecshards", ""
    timeout = SECONDS_TO_ASK

    def do_GET(self) -> None:
        self._guarded(self._file)

    def do_HEAD(self) -> None:
        self._guarded(self._file)

    def do_POST(self) -> None:
        self._guarded(self._call)

    def _guarded(self, act: Callable[[], None]) -> None:
        listening = self.server.listening
        try:
            if not listening.asks.allows(self.client_address[0]):
                raise Refusal(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests")
            act()
        except Refusal as refusal:
            self._answer(refusal.status, _json({"error": str(refusal)}), "application/json")
        except Refused as refused:
            answer = _json({"error": str(refused)})
            self._answer(HTTPStatus.BAD_REQUEST, answer, "application/json")
        except OutputError as error:  # a full disk: the page keeps the rating and tries again
            print(f"codecshards: {printable(str(error))}", file=sys.stderr)
            answer = _json({"error": "cannot be kept now"})
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, answer, "application/json")

    def _file(self) -> None:
        name = unquote(urlsplit(self.path).path).lstrip("/") or "index.html"
        if name == "server.js":
            self._answer(HTTPStatus.OK, b"window.SERVED = true;\n", _TYPES[".js"])
            return
        path = self.server.listening.files.get(name)
        if path is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "no such file")
        self._answer(HTTPStatus.OK, path.read_bytes(), _TYPES[path.suffix])

    def _call(self) -> None:
        listening = self.server.listening
        calls = {
            "/api/join": listening.join,
            "/api/begin": listening.begin,
            "/api/rate": listening.rate,
        }
        call = calls.get(urlsplit(self.path).path)
        if call is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "no such call")
        self._answer(
            HTTPStatus.OK, _json(call(self._body(), self.client_address[0])), "application/json"
        )

    def _body(self) -> Mapping[str, Any]:
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "application/json":  # what a form of another site cannot send
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json")
        said = self.headers.get("Content-Length", "")
        if not (said.isascii() and said.isdecimal() and len(said) < 10):
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "say how long it is")
        if int(said) > MOST_BODY:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"send up to {MOST_BODY} bytes")
        data = self.rfile.read(int(said))
        if len(data) < int(said):
            raise Refused("it ended early")
        try:
            values = json.loads(data)
        except (ValueError, RecursionError):
            raise Refused("no JSON") from None
        if not isinstance(values, dict):
            raise Refused("send an object")
        return values

    def _answer(self, status: HTTPStatus, data: bytes, kind: str) -> None:
        self.server.listening.connections.extend(self.connection, SECONDS_TO_TAKE)
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": kind}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        for at in range(0, len(data), _PIECE):
            self.wfile.write(data[at : at + _PIECE])
            self.server.listening.connections.extend(self.connection, SECONDS_TO_TAKE)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: addresses hold tokens."""


def _files(page: Path) -> dict[str, Path]:
    """What may be sent, by its path below the page."""
    found = {
        path.relative_to(page).as_posix(): path
        for path in sorted(page.rglob("*"))
        if path.suffix in _TYPES and path.is_file() and not path.is_symlink()
    }
    if "index.html" not in found:
        raise UsageError(f"{page}: no page there: make the test again")
    return found


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def start(test: str, options: ServeOptions) -> Server:
    """A server that is bound, and does not serve yet.

    Raises:
        UsageError: there is no test, or the address cannot be had.
    """
    listening = Listening(local_folder(test, "a test"), options)
    try:
        return Server((options.host, options.port), listening)
    except (OSError, UnicodeError) as error:
        listening.store.close()
        why = getattr(error, "strerror", None) or error
        raise UsageError(
            f"--host {options.host} --port {options.port}: cannot be had ({why})"
        ) from error


def serve(test: str, options: ServeOptions) -> None:
    """Serve until interrupted."""
    server = start(test, options)
    listening = server.listening
    host = f"[{options.host}]" if ":" in options.host else options.host
    address = f"http://{host}:{server.server_address[1]}/"
    print(f"{printable(listening.design.title)}: {address}")
    if listening.open:
        print("anyone with this address can rate")
    else:
        print(
            f"each of {many(len(listening.tokens), 'rater')} has a link of their own: this "
            f"address and what raters.csv has, ?token=…"
        )
    print(f"ratings go to {listening.store.path}; stop with Ctrl-C", flush=True)
    try:
        server.serve_forever(poll_interval=0.5)
    finally:
        server.server_close()
        listening.store.close()
        print(f"codecshards mushra analyse {test}", flush=True)


def in_thread(server: Server) -> threading.Thread:
    """Serve beside what else this process does, until `server.shutdown()`."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    return thread
