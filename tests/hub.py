"""A stand-in for the Hugging Face Hub, as far as data sets are written and read: its HTTP API from
its documentation and from what `huggingface_hub` asks for."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

TOKEN = "hf_stand_in"
LARGE = (".parquet", ".tar", ".csa")
"""endings that git keeps elsewhere"""


@dataclass
class Hub:
    """What it holds, and what it was asked."""

    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """by data set, by path"""
    blobs: dict[str, bytes] = field(default_factory=dict)
    """large files by SHA-256"""
    commits: list[tuple[str, list[str], list[str]]] = field(default_factory=list)
    """message, files and removed files of each"""
    puts: list[str] = field(default_factory=list)
    """SHA-256 of large files as they came"""
    private: dict[str, bool] = field(default_factory=dict)
    branches: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    """by data set, by branch, by path: what is not on main"""
    asked: list[str] = field(default_factory=list)
    """method and path of what was read"""
    bytes: int = 0
    """of files of which parts were read"""
    fail_after: int | None = None
    """puts after which it answers 500"""

    def at(self, name: str, revision: str) -> dict[str, bytes]:
        """The files of a branch; every other revision is main."""
        return self.branches.get(name, {}).get(revision, self.files.get(name, {}))


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    """head and body in one packet, which a client's kernel acknowledges at once"""

    def log_message(self, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        path, body = urlsplit(self.path).path, self._body()
        if path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif match := re.fullmatch(r"/api/datasets/(.+?)/paths-info/([^/]+)", path):
            if self._may_read(match[1], match[2]):
                form = dict(parse_qsl(body.decode())) if body[:1] != b"{" else json.loads(body)
                paths = form["paths"]
                self._paths(match[1], [paths] if isinstance(paths, str) else paths)
        elif not self._allowed():
            return
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif match := re.fullmatch(r"/api/datasets/(.+?)/preupload/([^/]+)", path):
            files = json.loads(body)["files"]
            answers = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                }
                for one in files
            ]
            self._answer({"files": answers})
        elif re.fullmatch(r"/datasets/(.+?)\.git/info/lfs/objects/batch", path):
            objects = []
            for one in json.loads(body)["objects"]:
                known = one["oid"] in self.hub.blobs
                href = f"{self.hub.url}/blobs/{one['oid']}"
                actions = {} if known else {"actions": {"upload": {"href": href}}}
                objects.append({"oid": one["oid"], "size": one["size"], **actions})
            self._answer({"transfer": "basic", "objects": objects})
        elif match := re.fullmatch(r"/api/datasets/(.+?)/branch/(.+)", path):
            self._branch(match[1], match[2])
        elif match := re.fullmatch(r"/api/datasets/(.+?)/commit/([^/]+)", path):
            self._commit(
                match[1], match[2], [json.loads(line) for line in body.splitlines() if line]
            )
        else:
            self._answer({"error": f"no {path}"}, 404)

    def do_PUT(self) -> None:
        body, hub = self._body(), self.hub
        digest = hashlib.sha256(body).hexdigest()
        if hub.fail_after is not None and len(hub.puts) >= hub.fail_after:
            self._answer({"error": "storage is down"}, 500)
            return
        assert self.path == f"/blobs/{digest}", "the content is not what was announced"
        hub.blobs[digest] = body
        hub.puts.append(digest)
        self._answer({})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        asked = dict(parse_qsl(urlsplit(self.path).query))
        self.hub.asked.append(f"{self.command} {path}")
        if match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            if self._may_read(match[1], match[2]):
                self._answer({"id": match[1], "sha": "0" * 40, "private": False, "siblings": []})
        elif match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/tree/([^/]+)(?:/(.*))?", path):
            if self._may_read(match[1], match[2]):
                self._tree(
                    self.hub.at(match[1], match[2]),
                    match[3] or "",
                    asked.get("recursive") in ("true", "True"),
                )
        elif match := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            if not self._may_read(match[1], match[2]):
                return
            content = self.hub.at(match[1], match[2]).get(match[3])
            if content is None:
                self._answer({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            else:
                self._content(content)
        else:
            self._answer({"error": f"no {path}"}, 404)

    def _may_read(self, name: str, revision: str | None) -> bool:
        """What the Hub says of repositories that are not there, and of those that are private."""
        authorized = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if name not in self.hub.files or (self.hub.private.get(name) and not authorized):
            error = {"X-Error-Code": "RepoNotFound"} if authorized else {}
            text = "Repository not found" if authorized else "Invalid username or password."
            self._answer({"error": text}, 404 if authorized else 401, error)
            return False
        if revision not in (None, "main", "0" * 40, *self.hub.branches.get(name, ())):
            code = {"X-Error-Code": "RevisionNotFound"}
            self._answer({"error": f"Invalid rev id: {revision}"}, 404, code)
            return False
        return True

    def _tree(self, files: dict[str, bytes], folder: str, recursive: bool) -> None:
        """Files and folders below one, as the Hub lists them."""
        start = f"{folder}/" if folder else ""
        found: dict[str, dict[str, Any]] = {}
        for path, content in sorted(files.items()):
            if not path.startswith(start):
                continue
            rest = path.removeprefix(start).split("/")
            for deep in range(1, len(rest)):
                place = start + "/".join(rest[:deep])
                if deep == 1 or recursive:
                    entry = {"type": "directory", "oid": "1" * 40, "size": 0, "path": place}
                    found.setdefault(place, entry)
            if len(rest) == 1 or recursive:
                found[path] = self._entry(path, content)
        if folder and not found:
            code = {"X-Error-Code": "EntryNotFound"}
            self._answer({"error": f"{folder} does not exist on main"}, 404, code)
        else:
            self._answer(list(found.values()))

    def _paths(self, name: str, paths: list[str]) -> None:
        files = self.hub.files[name]
        self._answer([self._entry(path, files[path]) for path in paths if path in files])

    def _content(self, content: bytes) -> None:
        headers = {
            "ETag": f'"{hashlib.sha1(content).hexdigest()}"',
            "X-Repo-Commit": "0" * 40,
            "Accept-Ranges": "bytes",
        }
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            self._send(200, content, headers)
            return
        start, end = int(wanted[1]), min(int(wanted[2] or len(content)), len(content) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        self.hub.bytes += end + 1 - start
        self._send(206, content[start : end + 1], headers)

    def _create(self, asked: dict[str, Any]) -> None:
        name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
        there = name in self.hub.files
        self.hub.files.setdefault(name, {".gitattributes": b"*.parquet filter=lfs"})
        private = bool(asked.get("private")) or asked.get("visibility") == "private"
        self.hub.private.setdefault(name, private)
        url = f"{self.hub.url}/datasets/{name}"
        self._answer({"url": url, "name": name, "id": name}, 409 if there else 200)

    def _branch(self, name: str, branch: str) -> None:
        known = self.hub.branches.setdefault(name, {})
        there = branch in known
        known.setdefault(branch, dict(self.hub.files[name]))
        self._answer({"error": "Reference already exists"} if there else {}, 409 if there else 201)

    def _commit(self, name: str, revision: str, lines: list[dict[str, Any]]) -> None:
        files, added, gone = self.hub.at(name, revision), [], []
        message = ""
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                message = value["summary"]
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
                added.append(value["path"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
                added.append(value["path"])
            elif line["key"] == "deletedFile":
                del files[value["path"]]
                gone.append(value["path"])
        self.hub.commits.append((message, added, gone))
        url = f"{self.hub.url}/datasets/{name}/commit/{'0' * 40}"
        answer = {"commitUrl": url, "commitOid": "0" * 40, "pullRequestUrl": None}
        self._answer({"success": True, "hookOutput": "", **answer})

    def _entry(self, path: str, content: bytes) -> dict[str, Any]:
        entry = {"type": "file", "path": path, "size": len(content)}
        entry["oid"] = hashlib.sha1(content).hexdigest()
        if path.endswith(LARGE):
            digest = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
        return entry

    def _allowed(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self._answer({"error": "Invalid username or password."}, 401)
        return False

    def _body(self) -> bytes:
        """Raises `ConnectionAbortedError` where the client died before it had sent all."""
        announced = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(announced)
        if len(body) < announced:
            raise ConnectionAbortedError
        return body

    def _answer(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(value).encode(), headers or {})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up when they have heard enough; everything else is a fault to see."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def stand_in() -> Iterator[Hub]:
    """A Hub of its own, on the loopback address."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = _Server(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    ).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
