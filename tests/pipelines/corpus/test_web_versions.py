"""Files on the web that a list names: another one under the same URL is noticed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import soundfile
from sounds import sound

from pipelines.cli.main import main
from pipelines.corpus.sources.base import open_file
from pipelines.corpus.sources.identity import differ
from pipelines.corpus.web_versions import with_web_versions
from pipelines.output.inspect import inspect
from pipelines.output.rows import Rows
from tokenizer.errors import FailureKind, RecordingError
from tokenizer.types import Recording

LONG_AGO = 1_600_000_000


class _Quiet(SimpleHTTPRequestHandler):
    asked: list[str]
    fresh = False
    mute = False
    shut = False

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.asked.append(self.path)
        if self.mute or self.shut:
            self.send_error(403 if self.shut else 500)
        else:
            super().do_HEAD()

    def do_GET(self) -> None:
        if self.mute or self.shut:
            self.asked.append(self.path)
            self.send_error(403 if self.shut else 404)
        else:
            super().do_GET()

    def send_header(self, keyword: str, value: str) -> None:
        if keyword == "Last-Modified" and self.fresh:
            value = formatdate(time.time(), usegmt=True)
        super().send_header(keyword, value)


@contextmanager
def host(folder: Path, **how: bool) -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    kind = type("Handler", (_Quiet,), {"asked": asked, **how})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(kind, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def audio(folder: Path, name: str, seed: int, seconds: float = 0.5) -> None:
    folder.mkdir(exist_ok=True)
    samples = sound(int(48_000 * seconds), seed=seed).samples
    soundfile.write(folder / name, samples.T, 48_000)
    os.utime(folder / name, (LONG_AGO + seed, LONG_AGO + seed))


def listed(path: Path, url: str, count: int) -> str:
    path.write_text("path\n" + "".join(f"{url}/{n}.wav\n" for n in range(count)))
    return str(path)


def test_another_file_under_a_url_is_changed_and_never_that_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the same size, so that only its time tells; between planning and reading, and after."""
    for number in range(4):
        audio(tmp_path / "web", f"{number}.wav", number)
    with host(tmp_path / "web") as (url, _):
        table, out = listed(tmp_path / "list.csv", url, 4), str(tmp_path / "out")
        command = ["tokenize", table, out, "--codec", "mulaw", "--workers", "0", "--quiet"]
        command += ["--shard-hours", str(1.0 / 3600), "--follow-links"]
        assert main([*command, "--part", "1/2"]) == 0
        audio(tmp_path / "web", "3.wav", 77)
        assert main([*command, "--part", "2/2"]) == 3
        failures = inspect(out).failures
        assert [(one.id.rpartition("/")[2], one.kind) for one in failures] == [("3.wav", "changed")]
        assert main([*command, "--retry-failed"]) == 0
        assert len(list(Rows(out).rows(["id"]))) == 4
        audio(tmp_path / "web", "0.wav", 78)
        capsys.readouterr()
        assert main([word for word in command if word != "--quiet"]) == 4
        assert "SOURCE has changed since: 1 changed" in capsys.readouterr().err


def test_a_host_whose_files_are_always_new_is_believed_their_size(tmp_path: Path) -> None:
    audio(tmp_path / "web", "0.wav", 0)
    with host(tmp_path / "web", fresh=True) as (url, _):
        out = str(tmp_path / "out")
        command = ["tokenize", listed(tmp_path / "list.csv", url, 1), out, "--codec", "mulaw"]
        command += ["--workers", "0", "--quiet", "--follow-links"]
        assert main(command) == 0
        time.sleep(1.1)
        assert main(command) == 0
        audio(tmp_path / "web", "0.wav", 0, seconds=0.7)
        assert main(command) == 4


def test_a_host_that_says_nothing_is_soon_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODECSHARDS_PATIENCE", "0")
    with host(tmp_path, mute=True) as (url, asked):
        given = [Recording(f"{n}", f"{url}/{n}.wav") for n in range(300)]
        assert list(with_web_versions(iter(given))) == given
        assert len(set(asked)) < 100


def test_what_is_not_on_the_web_passes_by_in_order() -> None:
    given = [Recording(f"{n}", f"/corpus/{n}.wav") for n in range(10)]
    assert list(with_web_versions(iter(given))) == given


@pytest.mark.parametrize(
    ("planned", "now", "other"),
    [
        ("10-Mon, 01 Jan 2024 00:00:00 GMT", "10-Mon, 01 Jan 2024 00:00:00 GMT", False),
        ("10-Mon, 01 Jan 2024 00:00:00 GMT", "10-Tue, 02 Jan 2024 00:00:00 GMT", True),
        ('10-"abc"', "10-Tue, 02 Jan 2024 00:00:00 GMT", False),
        ('10-"abc"', '10-"abd"', True),
        ("10", '11-"abc"', True),
        ("-Mon, 01 Jan 2024 00:00:00 GMT", "10-Mon, 01 Jan 2024 00:00:00 GMT", False),
    ],
)
def test_versions_are_compared_as_far_as_both_tell(planned: str, now: str, other: bool) -> None:
    assert differ(planned, now) is other


def test_a_file_that_its_host_refuses_is_not_said_to_be_missing() -> None:
    with host(Path.cwd(), shut=True) as (url, _), pytest.raises(RecordingError) as caught:
        open_file(f"{url}/a.wav")
    assert caught.value.kind is FailureKind.UNREADABLE and "HTTP 403" in caught.value.message
