"""A real S3 server (moto's) and a proxy before it that injects faults, for tests of what lies on
object stores."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ACCOUNT = {
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}
"""credentials that moto takes, as every other"""
START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked for."""

    method: str
    path: str
    """without the host, with the query"""
    headers: dict[str, str]
    number: int
    """how many the proxy had seen before"""

    @property
    def key(self) -> str:
        return self.path.split("?", 1)[0]

    @property
    def conditional(self) -> bool:
        return "if-none-match" in self.headers


@dataclass(frozen=True, slots=True)
class Fault:
    """What becomes of a request."""

    status: int | None = None
    """an answer of this status in place of the server's; None is the server's own answer"""
    code: str = "InternalError"
    """what S3 calls the error"""
    done: bool = False
    """whether the server does what it was asked for before the answer is lost or replaced"""
    lost: bool = False
    """the connection is closed without an answer"""
    cut: bool = False
    """the connection is closed in the middle of the answer's body"""
    pause: float = 0.0
    """seconds before each piece of the answer's body"""
    piece: int = 1 << 16
    """bytes of a piece"""


Rule = Callable[[Request], Fault | None]


@dataclass
class Proxy:
    """Passes requests on to a server, but for what its rule says. Gone and back on the same
    port."""

    upstream: int
    port: int = 0
    rule: Rule = field(default=lambda request: None)
    seen: list[Request] = field(default_factory=list)
    faults: int = 0
    """how many were injected"""
    _server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = _Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()

    def stop(self) -> None:
        """Go away: what comes now is refused, and connections that are kept are closed."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            for connection in list(self._server.connections):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._server = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *args: Any) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__(*args)

    def finish_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        try:
            super().finish_request(request, client_address)
        except OSError:
            pass
        finally:
            self.connections.discard(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that go away are what tests do


class _Handler(BaseHTTPRequestHandler):
    owner: Proxy
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        with suppress(OSError):
            super().handle_one_request()
            return
        self.close_connection = True

    def log_message(self, *args: Any) -> None:
        pass

    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, len(self.owner.seen))
        self.owner.seen.append(request)
        body = self._body(headers)
        fault = self.owner.rule(request)
        if fault is None:
            self._pass_on(body, Fault())
            return
        self.owner.faults += 1
        if fault.done and (fault.status or fault.lost):
            self._upstream(body)
        if fault.lost:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif fault.status:
            self._refuse(fault)
        else:
            self._pass_on(body, fault)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _answer

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(headers.get("content-length") or 0))
        content = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _upstream(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.owner.upstream, timeout=60)
        dropped = ("transfer-encoding", "content-length", "expect", "connection")
        headers = {
            name: value for name, value in self.headers.items() if name.lower() not in dropped
        }
        connection.request(
            self.command, self.path, body, {**headers, "Content-Length": str(len(body))}
        )
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer, content

    def _refuse(self, fault: Fault) -> None:
        text = f"<Error><Code>{fault.code}</Code><Message>injected</Message></Error>".encode()
        self.send_response(fault.status or 500)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(0 if self.command == "HEAD" else len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def _pass_on(self, body: bytes, fault: Fault) -> None:
        answer, content = self._upstream(body)
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in (
                "transfer-encoding",
                "connection",
                "content-length",
                "date",
                "server",
            ):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        if fault.cut:
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        for at in range(0, len(content), fault.piece):
            time.sleep(fault.pause)
            self.wfile.write(content[at : at + fault.piece])
            self.wfile.flush()


@contextmanager
def moto_server() -> Iterator[int]:
    """A server in a process of its own; its port."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield port
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise TimeoutError(f"nothing listens on port {port}")


@dataclass
class Bucket:
    """A bucket of its own for one test, seen with boto3 past the proxy and by the program through
    it."""

    name: str
    client: Any
    """boto3's, straight to the server: the independent view"""
    proxy: Proxy

    def url(self, path: str) -> str:
        return f"s3://{self.name}/{path}"

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=content)

    def get(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return content

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=prefix
        )
        return sorted(item["Key"] for page in pages for item in page.get("Contents", ()))

    def upload(self, folder: Path, prefix: str) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())


@contextmanager
def fresh_bucket(port: int) -> Iterator[Bucket]:
    """A new bucket behind a proxy of its own, which injects nothing yet."""
    proxy = Proxy(port)
    proxy.start()
    client = boto_client(port)
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    try:
        yield Bucket(name, client, proxy)
    finally:
        proxy.stop()


@cache
def boto_client(port: int) -> Any:
    """boto3's, straight to the server; it takes longer to make than a test's own work."""
    import boto3

    keys = {
        "aws_access_key_id": "tests",
        "aws_secret_access_key": "secret",
        "region_name": "us-east-1",
    }
    return boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", **keys)


def forget_clients() -> None:
    """Clients keep the endpoint and the credentials that they were made with."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
